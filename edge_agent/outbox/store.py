"""Queries that wait to be taught: answered locally, and still to be asked of the reference.

Rules:
 * What was written survives a kill and a power cut (SQLite, WAL, synchronous FULL).
 * ``keep`` returns once the query is on the disk, together with all that came meanwhile. A disk that is slow, full,
   locked or damaged holds no answer up: it is waited for ``PATIENCE_SECONDS`` once, and then not again until a write
   has succeeded.
 * What can't be written now waits in memory, and is tried again. What goes at a bound (``bounds.py``) is counted by
   why. A foreign lock is no full disk, and is told by its own name.
 * What is drawn and kept is numbered, task by task, so that the cloud knows what has not come. The numbers go on after
   a restart; after a kill others begin: what was lost unwritten has used some, and none is used twice.
 * An id waits once. One that comes again while it waits uses no number.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from edge_agent.outbox.bounds import Bounds, Row, WhenFull, Why, steady_clock
from edge_agent.outbox.file import OK, FileTroubleError, OutboxFile, Written
from edge_agent.outbox.reading import Waiting, number_of, query_of, select
from router.core.certification.missing_rows import SEQUENCE_LENGTH
from router.core.domain.query import Query
from router.core.privacy.erasure import digest_of
from router.io.sealed import seal
from router.transport.wire import query_to_proto

log = logging.getLogger(__name__)

_T = TypeVar("_T")

PATIENCE_SECONDS = 0.5  # that an answer waits for its row; a sound disk takes milliseconds
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0  # seconds before a disk that would not take something is tried again
CHECK_SECONDS = 60.0  # between looks at what has become too old
LAST_TRIES = 10  # to write what waits when the agent stops
MOST_UNWRITTEN_BYTES = 32 * 1024 * 1024  # that wait in memory
DAMAGED = "database_damaged"


class Outbox:
    """A queue of queries on disk. One event loop uses it; one thread of its own touches the file."""

    def __init__(self, path: Path, bounds: Bounds, clock: Callable[[], float] | None = None) -> None:
        """Open the file, or make it. One that can't be opened now is tried again with every write.

        Args:
            path: The SQLite file.
            bounds: How much waits, and what goes above it.
            clock: Unix seconds that don't jump; by the machine's own where none is given.
        """
        self._bounds = bounds
        self._clock = clock or steady_clock()
        self._checked = -CHECK_SECONDS  # when the file was last held against the bounds
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="outbox")
        self._file = OutboxFile(path, self._clock)
        self._unwritten: dict[str, Row] = {}  # by id, oldest first
        self._unwritten_bytes = 0
        self._gone: set[int] = set()  # positions that were taken out, and still lie in the file
        self._ids: set[str] = set()
        self._rows = 0
        self._numbers: dict[str, int] = {}
        self._changed = asyncio.Event()
        self._arrived = asyncio.Event()
        self.arrivals = 0  # queries that were put in
        self._written = asyncio.Event()
        self._writing = asyncio.Lock()
        self._hindrance = OK
        self._known = False
        self.drops: Counter[Why] = Counter()  # since the start
        try:
            self._known_now(self._thread.submit(self._read_state).result())
        except FileTroubleError as error:
            self._hinder(error)

    @property
    def pending(self) -> int:
        """How many queries wait, written or not."""
        return self._rows - len(self._gone) + len(self._unwritten)

    @property
    def dropped(self) -> int:
        """How many queries left it untaught since the start."""
        return self.drops.total()

    @property
    def state(self) -> str:
        """``ok``, or what hinders it now; ``database_damaged`` until the next start once a file was set aside."""
        return DAMAGED if self._hindrance == OK and self._file.was_damaged else self._hindrance

    @property
    def is_hindered(self) -> bool:
        """Whether the file could not be used when it was last tried."""
        return self._hindrance != OK

    def sequence_number(self, task: str) -> int:
        """The number given last in a task's sequence, which begins with the time: no file repeats another's."""
        return self._numbers.setdefault(task, time.time_ns() // 1_000_000 * SEQUENCE_LENGTH)

    def next_sequence_number(self, task: str) -> int:
        """The next number in a task's sequence."""
        self._numbers[task] = self.sequence_number(task) + 1
        return self._numbers[task]

    async def keep(self, query: Query, *, numbered: bool, seconds: float = PATIENCE_SECONDS) -> None:
        """Add a query whose answer is about to go out, and wait a little until it is on the disk.

        Args:
            query: With its attempt.
            numbered: It is given the next number of its task's sequence.
            seconds: Most that its answer can wait.
        """
        if query.id in self._ids:
            return
        if numbered and query.attempt is not None:
            query = replace(
                query, attempt=replace(query.attempt, sequence_number=self.next_sequence_number(query.task))
            )
        self.put(query)
        if self.is_hindered:
            return
        try:
            async with asyncio.timeout(min(seconds, PATIENCE_SECONDS)):
                while query.id in self._unwritten and not self.is_hindered:
                    self._written.clear()
                    await self._written.wait()
        except TimeoutError:
            if seconds >= PATIENCE_SECONDS:
                self._hinder(FileTroubleError("disk_slow", f"a write takes longer than {PATIENCE_SECONDS} s"))

    def put(self, query: Query) -> None:
        """Add a query to the end of the queue, without waiting."""
        if query.id in self._ids:
            return
        row = Row(query.id, seal(query_to_proto(query).SerializeToString()), self._clock())
        self._unwritten[row.id] = row
        self._unwritten_bytes += len(row.query)
        self._ids.add(row.id)
        while (why := self._over()) is not None:
            newest = self._bounds.when_full is WhenFull.DROP_NEWEST
            gone = self._unwritten.pop(row.id if newest else next(iter(self._unwritten)))
            self._unwritten_bytes -= len(gone.query)
            self._drop([(why, gone.id)])
        self._changed.set()
        self._arrived.set()
        self.arrivals += 1

    async def more(self, arrivals: int) -> None:
        """Return when more than so many have ever been put in."""
        while self.arrivals <= arrivals:
            self._arrived.clear()
            await self._arrived.wait()

    async def wait(self) -> None:
        """Return when a query waits."""
        while not self.pending:
            self._arrived.clear()
            await self._arrived.wait()

    async def write_loop(self) -> None:
        """Write what is put, many at once, until cancelled; pause between tries of a disk that refuses."""
        pause = FIRST_PAUSE
        while True:
            await self._changed.wait()
            self._changed.clear()
            if await self.flush():
                pause = FIRST_PAUSE
                continue
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def flush(self) -> bool:
        """Return when everything that was put is on disk; ``False`` when the disk would not take it now."""
        async with self._writing:
            rows, gone = list(self._unwritten.values()), tuple(self._gone)
            due = self._rows > 0 and self._clock() - self._checked >= CHECK_SECONDS
            if not rows and not gone and not self.is_hindered and not due:
                return True
            try:
                if not self._known:
                    self._known_now(await self._call(self._read_state))
                written = await self._call(self._file.write, rows, gone, self._bounds)
            except FileTroubleError as error:
                self._hinder(error)
                return False
            else:
                self._has_written(rows, gone, written)
                return True
            finally:
                self._written.set()

    async def head(self, most: int, besides: frozenset[str] = frozenset()) -> list[Waiting]:
        """The first ``most`` queries of the queue, tasks ``besides`` left out; none while it can't be read.

        What can't be read any more is dropped.
        """
        await self.flush()
        try:
            waiting, broken = await self._call(select, self._file, most, besides, frozenset(self._gone))
        except FileTroubleError as error:
            self._hinder(error)
            return []
        if broken:
            log.error("%d queries of the outbox can't be read, and are dropped", len(broken))
            self.drops[Why.UNREADABLE] += len(broken)
            await self.remove(broken)
        return waiting

    async def remove(self, positions: Sequence[int]) -> bool:
        """Take queries out of the queue; ``False`` when the disk does not let them go yet. They come out no more."""
        self._gone.update(positions)
        return await self.flush()

    async def erase(self, subject: str) -> tuple[int, tuple[tuple[str, int], ...]] | None:
        """Erase the queries of a subject, from memory and disk.

        Args:
            subject: Digest of its name, in hex; empty for all queries, whomever they concern.

        Returns:
            How many, and task and number of those that were numbered; ``None`` while the disk does not let them go.
        """

        def concerns(data: object) -> bool:
            query = query_of(data)
            return query is None or not subject or digest_of(query.subject) == subject

        if not await self.flush():
            return None
        async with self._writing:
            rows = [(row.id, row.query) for row in self._unwritten.values() if concerns(row.query)]
            try:
                gone: list[tuple[str, object]] = await self._call(self._file.erase, concerns)
                self._rows = await self._call(self._file.count)
            except FileTroubleError as error:
                self._hinder(error)
                return None
            for name, data in rows:
                if self._unwritten.pop(name, None) is not None:
                    self._unwritten_bytes -= len(data)
            self._ids.difference_update([name for name, _ in (*gone, *rows)])
        queries = [query for _, data in (*gone, *rows) if (query := query_of(data)) is not None]
        return len(gone) + len(rows), tuple(numbered for query in queries if (numbered := number_of(query)))

    async def close(self) -> None:
        """Write what was put, and close the file."""
        for _ in range(LAST_TRIES):
            if await self.flush():
                break
        else:
            log.error("%d queries can't be written before the agent stops, and are lost", len(self._unwritten))
        try:
            await self._call(self._file.keep_sequence_numbers, self._numbers)
        except FileTroubleError as error:
            log.error("the outbox can't be closed in order; its numbers begin anew: %s", error)
        await self._call(self._file.close)
        self._thread.shutdown()

    def _read_state(self) -> tuple[int, set[str], Mapping[str, int]]:
        return self._file.count(), self._file.ids(), self._file.take_sequence_numbers()

    def _known_now(self, found: tuple[int, set[str], Mapping[str, int]]) -> None:
        """Take over what the file holds. A sequence that has begun meanwhile goes on."""
        self._rows, ids, numbers = found
        self._ids |= ids
        self._numbers = {**numbers, **self._numbers}
        self._known = True

    def _has_written(self, rows: Sequence[Row], gone: Sequence[int], written: Written) -> None:
        self._rows, self._checked = written.waiting, self._clock()
        for row in rows:
            if self._unwritten.pop(row.id, None) is not None:
                self._unwritten_bytes -= len(row.query)
        self._gone.difference_update(gone)
        self._ids.difference_update(written.taken)
        self._drop(written.dropped)
        if self.is_hindered:
            log.warning("the outbox can be written again")
            self._hindrance = OK

    def _over(self) -> Why | None:
        """Why not so much may wait in memory."""
        if len(self._unwritten) > self._bounds.max_rows:
            return Why.ROWS
        return Why.MEMORY if self._unwritten_bytes > min(MOST_UNWRITTEN_BYTES, self._bounds.max_bytes) else None

    def _drop(self, dropped: Sequence[tuple[Why, str]]) -> None:
        if dropped and not self.drops:
            log.warning("the outbox drops queries that were to be taught, first for its bound of %s", dropped[0][0])
        self.drops.update(why for why, _ in dropped)
        self._ids.difference_update(name for _, name in dropped)

    def _hinder(self, error: FileTroubleError) -> None:
        """Note what hinders it; told once, until it is over or another."""
        if error.state != self._hindrance:
            log.error("%s: %s; what is to be taught waits in memory", _TOLD.get(error.state, error.state), error)
            self._hindrance = error.state
        self._changed.set()  # the writing goes on trying

    async def _call(self, work: Callable[..., _T], *arguments: Any) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)


_TOLD = {
    "database_locked": "another program holds a lock on the outbox",
    "disk_full": "the disk is full, and the outbox can't be written",
    "disk_unwritable": "the outbox can't be written",
    "disk_slow": "the outbox is slow",
}
