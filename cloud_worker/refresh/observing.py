"""What would have stayed on the devices, while the operator has everything asked of the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cloud_worker.figures import Observed
from router.distillation import Record, Source
from router.lessons import would_stay
from router.trial import Judging


class Observing:
    """Counts the rows of one release since one moment, each once."""

    def __init__(self, release: int, since: float, judging: Judging) -> None:
        """Count for ``release`` from Unix time ``since`` in seconds."""
        self.seen = 0
        self.figures = Observed(release, since)
        self._judging = judging

    def look(self, rows: Sequence[Record]) -> Observed:
        """Look at the rows that came since.

        Args:
            rows: All of the task, in the log's order.
        """
        new, self.seen = rows[self.seen :], len(rows)
        for row in new:
            if row.release == self.figures.release and row.received_at >= self.figures.since and _is_observed(row):
                self._count(row)
        return self.figures

    def _count(self, row: Record) -> None:
        known = replace(self.figures, rows=self.figures.rows + 1)
        if would_stay(row):
            known = replace(
                known,
                kept=known.kept + 1,
                disagreed=known.disagreed + (not self._judging(row.text, row.local_answer or "", row.answer)),
                usd=known.usd + row.usd,
                seconds=known.seconds + row.milliseconds / 1000,
                tokens=known.tokens + row.tokens_in + row.tokens_out,
            )
        self.figures = known


def _is_observed(row: Record) -> bool:
    return row.covered and not row.degraded and row.source is Source.ESCALATED and row.is_reference
