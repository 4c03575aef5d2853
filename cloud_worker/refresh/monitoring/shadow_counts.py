"""What would have stayed on the devices, while the operator has everything asked of the reference.

Disagreement is told by traffic and by devices: what one device says weighs as one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from statistics import median_low

from cloud_worker.state.task_figures import Observed
from router.core.certification.trial import Judging
from router.core.domain.record import Record, Source
from router.core.learning.training_rows import would_stay
from router.core.monitoring.exploration_check import MOST_MEDIANS


class ShadowCounts:
    """Counts the rows of one release since one moment, each once."""

    def __init__(self, release: int, since: float, judging: Judging) -> None:
        """Count for ``release`` from Unix time ``since`` in seconds."""
        self.figures = Observed(release, since)
        self._judging = judging
        self._rows: Counter[str] = Counter()
        self._disagreed: Counter[str] = Counter()

    def observe(self, rows: Iterable[Record]) -> Observed:
        """Observe the rows that came since.

        Args:
            rows: Of the task, each once.
        """
        for row in rows:
            if row.release == self.figures.release and row.received_at >= self.figures.since and _is_observed(row):
                self._count(row)
        self.figures = replace(self.figures, disagreed_by_devices=self._by_devices())
        return self.figures

    def _by_devices(self) -> float:
        """Share of rows that disagree, in [0, 1], no device counting for more than twice the median one."""
        if not self._rows:
            return 0.0
        most = MOST_MEDIANS * median_low(self._rows.values())
        parts = {device: min(1.0, most / rows) for device, rows in self._rows.items()}
        whole = math.fsum(parts[device] * rows for device, rows in self._rows.items())
        return math.fsum(parts[device] * count for device, count in self._disagreed.items()) / whole

    def _count(self, row: Record) -> None:
        known = replace(self.figures, rows=self.figures.rows + 1)
        self._rows[row.caller] += 1
        if would_stay(row):
            disagrees = not self._judging(row.text, row.local_answer or "", row.answer)
            self._disagreed[row.caller] += disagrees
            known = replace(
                known,
                kept=known.kept + 1,
                disagreed=known.disagreed + disagrees,
                usd=known.usd + row.usd,
                seconds=known.seconds + row.milliseconds / 1000,
                tokens=known.tokens + row.tokens_in + row.tokens_out,
            )
        self.figures = known


def _is_observed(row: Record) -> bool:
    return row.covered and not row.degraded and row.source is Source.ESCALATED and row.is_reference
