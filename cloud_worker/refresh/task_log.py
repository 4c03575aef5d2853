"""The distillation log as the refresher reads it for one task: what is new, or all of it in pieces.

Rules:
 * Only columns that somebody looks at are read; what teaches is read whole, when a fit is due.
 * A long log is read in pieces of some thousands of rows, in the order of its batches; each is given back before the
   next.
 * What a device with twins asked speaks for nothing, whenever it is read.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence, Set

import pyarrow as pa
import pyarrow.compute as pc

from cloud_worker.log.distillation_log import RECORD_COLUMNS, DistillationLog, quoted
from cloud_worker.log.table_rows import numbered_records_of
from cloud_worker.running.process_memory import give_back_memory
from router.core.certification.missing_rows import Spans, set_apart
from router.core.domain.believed_times import not_from_the_future
from router.core.domain.record import Record
from router.core.domain.task import Task
from router.core.learning.training_rows import Key

PIECE_ROWS = 20_000
FEW_BATCHES = 20  # that are read together, however many rows they have
_OF_TEACHING = frozenset({"labels", "log_probabilities", "tail_log_probability", "rationale", "tokens"})
_OF_POOL = frozenset({"tried"})
_OF_NOBODY = frozenset({"tenant", "subject", "conversation"})

Rows = list[tuple[int, Record]]  # batch and record, in the log's order


class TaskLog:
    """The rows of one task.

    Attributes:
        twins: When devices had twins, as applied to what is read.
    """

    def __init__(self, log: DistillationLog, task: Task) -> None:
        """Read what ``log`` holds of ``task``."""
        self._log = log
        self._task = task
        left_out = _OF_TEACHING | _OF_NOBODY | (frozenset() if task.cheaper.teachers else _OF_POOL)
        self._columns = tuple(name for name in RECORD_COLUMNS if name not in left_out)
        self.twins: Mapping[str, Spans] = {}

    def new(self, after_batch: int, last_batch: int) -> Rows:
        """The rows of later batches, up to the last, without what only a fit reads."""
        return [pair for piece in self.pieces(after_batch, last_batch) for pair in piece]

    def pieces(
        self, after_batch: int = -1, until_batch: int | None = None, *, only: pc.Expression | None = None
    ) -> Iterator[Rows]:
        """Rows in pieces, without what only a fit reads."""
        return self._pieces(self._columns, after_batch, until_batch, only)

    def drawn_or_certain(self, until_batch: int) -> Iterator[Record]:
        """The rows that may certify or had to be asked, at least; their devices are who is there."""
        asked = (pc.field("propensity") == 1.0) & ~pc.field("kept")
        speaks = pc.field("covered") & ~pc.field("degraded") & pc.field("is_reference")
        for piece in self.pieces(until_batch=until_batch, only=speaks & (pc.field("explored") | asked)):
            yield from (record for _, record in piece)

    def of_release(self, release: int, since: float, until_batch: int) -> Iterator[Record]:
        """The rows that met a release and came since a Unix time in seconds."""
        mine = (pc.field("release") == release) & (pc.field("received_at") >= since)
        for piece in self.pieces(until_batch=until_batch, only=mine):
            yield from (record for _, record in piece)

    def of_keys(self, keys: Set[Key], until_batch: int) -> list[Record]:
        """The rows of some keys, in the log's order."""
        if not keys:
            return []
        named = pc.field("query_id").isin(sorted({query_id for _, query_id, _ in keys}))
        pieces = self.pieces(until_batch=until_batch, only=named)
        return [record for piece in pieces for _, record in piece if record.key in keys]

    def whole(self, until_batch: int) -> Iterator[Record]:
        """The rows with everything that is known of them, for a fit."""
        for piece in self._pieces(RECORD_COLUMNS, -1, until_batch, None):
            yield from (record for _, record in piece)

    def keys(self) -> Iterator[Key]:
        """The key of every row."""
        table = self._log.read(self._task.name, columns=("caller", "query_id", "teacher_version"))
        for piece in table.to_batches(PIECE_ROWS):
            yield from zip(*(column.to_pylist() for column in piece.columns), strict=True)

    def _pieces(
        self, columns: Sequence[str], after_batch: int, until_batch: int | None, only: pc.Expression | None
    ) -> Iterator[Rows]:
        is_short = until_batch is not None and until_batch - after_batch <= FEW_BATCHES
        for first, last in [(after_batch, until_batch)] if is_short else self._stretches(after_batch, until_batch):
            names = (*columns, "batch")
            table = self._log.read(self._task.name, first, names, until_batch=last, only=only)
            yield self._rows_of(table)
            del table
            give_back_memory()

    def _stretches(self, after_batch: int, until_batch: int | None) -> Iterator[tuple[int, int]]:
        """After which batch, and up to which one, each piece goes."""
        bound = "" if until_batch is None else f"and batch <= {until_batch}"
        mine = f"task = {quoted(self._task.name)} and batch > {after_batch} {bound}"
        counts = self._log.ask(f"select batch, count(*) as rows from log where {mine} group by batch order by batch")
        first, rows, last = after_batch, 0, after_batch
        for one in counts:
            if rows and rows + one["rows"] > PIECE_ROWS:
                yield first, last
                first, rows = last, 0
            last, rows = one["batch"], rows + one["rows"]
        if rows:
            yield first, last

    def _rows_of(self, table: pa.Table) -> Rows:
        batches = table.column("batch").to_pylist()
        found = numbered_records_of(table)
        sound = not_from_the_future([record for _, record in found], time.time())
        rows = [(batches[position], record) for (position, _), record in zip(found, sound, strict=True)]
        return [(batch, set_apart(record, self.twins)) for batch, record in rows] if self.twins else rows
