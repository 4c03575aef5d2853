"""Which queries of the last days the log holds: read on, never anew, so that asking for one costs the same in any log.

Rules:
 * Known are the newest ``MOST`` queries of a task within ``DAYS``; older ones count as never answered.
 * What is not known is told without opening a file of the log. What is known is read from the files of its day that
   hold its batch.
"""

from __future__ import annotations

import datetime
import hashlib
from itertools import islice

from cloud_worker.log.distillation_log import DistillationLog
from router.core.domain.record import Record

DAYS = 7
MOST = 200_000

_COLUMNS = ("caller", "query_id", "day", "batch")
_DayBatch = tuple[str, int]  # day and batch


class Answered:
    """The queries of every task, by caller and id. Belongs to one thread at a time; ``log`` is its alone."""

    def __init__(self, log: DistillationLog, most: int = MOST) -> None:
        """Know at most ``most`` queries of each task."""
        self._log, self._most = log, most
        self._batches: dict[str, dict[int, _DayBatch]] = {}  # by task, then by digest; longest known first
        self._read_to: dict[str, tuple[int, int]] = {}  # by task: version of the log, and batch

    def find(self, task: str, caller: str, query_id: str, now: float) -> Record | None:
        """The newest record of one query within the last days before ``now`` (Unix seconds); ``None`` without one."""
        oldest = datetime.datetime.fromtimestamp(now, datetime.UTC).date() - datetime.timedelta(days=DAYS)
        self._read_on(task, oldest.isoformat())
        day_batch = self._batches.get(task, {}).get(_digest(caller, query_id))
        if day_batch is None or day_batch[0] < oldest.isoformat():
            return None
        return self._log.find(task, caller, query_id, day_batch)

    def _read_on(self, task: str, since_day: str) -> None:
        version = self._log.version()
        before, batch = self._read_to.get(task, (-1, -1))
        if version == before:
            return
        known = self._batches.setdefault(task, {})
        table = self._log.read(task, batch, _COLUMNS, since_day)
        shared: dict[_DayBatch, _DayBatch] = {}  # one object for all rows of a batch
        columns = (table.column(name).to_pylist() for name in _COLUMNS)
        for caller, query_id, day, its_batch in zip(*columns, strict=True):
            digest, day_batch = _digest(caller, query_id), (day, its_batch)
            known.pop(digest, None)
            known[digest] = shared.setdefault(day_batch, day_batch)
            batch = max(batch, its_batch)
        for digest in list(islice(known, max(0, len(known) - self._most))):
            del known[digest]
        self._read_to[task] = (version, batch)


def _digest(caller: str, query_id: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{caller}\x1f{query_id}".encode(), digest_size=8).digest(), "big")
