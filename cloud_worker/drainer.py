"""From every spool into the distillation log, also from those of gateways that no longer run.

Rules:
 * Records leave a spool after the log's commit has been seen; a writer killed in between finds them in both, and the
   log takes each once.
 * What the log had before is told apart from what never came.
"""

from __future__ import annotations

from pathlib import Path

from cloud_worker.distillation_log import DistillationLog
from cloud_worker.repeats import Repeats
from cloud_worker.spool import SpoolDrain, spools_in

MOST_ROWS_IN_A_COMMIT = 5000


class Drainer:
    """Moves records from the spools of a folder into a log."""

    def __init__(self, folder: Path, target: DistillationLog, repeats: Repeats) -> None:
        """Drain the spools in ``folder`` into ``target``; ``repeats`` hears of what that had before."""
        self._folder = folder
        self._target = target
        self._repeats = repeats
        self._drains: dict[Path, SpoolDrain] = {}

    def drain(self) -> int:
        """Move everything that waits, and return how many records were new to the log."""
        return sum(self._drain_one(self._opened(path)) for path in spools_in(self._folder))

    def close(self) -> None:
        """Close the spools."""
        for drain in self._drains.values():
            drain.close()
        self._drains.clear()

    def _opened(self, path: Path) -> SpoolDrain:
        drain = self._drains.get(path)
        if drain is None:
            drain = self._drains[path] = SpoolDrain(path)
            drain.remove(self._target.taken_in(drain.id))  # what a killed writer had committed, and not yet removed
        return drain

    def _drain_one(self, drain: SpoolDrain) -> int:
        moved = 0
        while rows := drain.read(MOST_ROWS_IN_A_COMMIT):
            last, records = rows[-1][0], [record for _, record in rows]
            self._repeats.note(self._target.known(records))
            moved += self._target.append(records, drain.id, last)
            drain.remove(last)
        return moved
