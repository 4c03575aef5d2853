"""Queries that wait to be taught: answered locally, and still to be asked of the reference.

Rules:
 * What was written survives a kill and a power cut (SQLite, WAL, synchronous FULL).
 * ``put`` never waits: a user's answer does not wait for a disk.
 * What is drawn and kept is numbered, task by task, so that the cloud knows what has not come. The numbers go on after
   a restart; after a kill others begin: what was lost unwritten has used some, and none is used twice.
 * At the cap the oldest are dropped, and counted.
 * A disk that is full stops the outbox, not the answering: what can't be written is dropped, and counted.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf.message import DecodeError

from router.errors import CallerError, StartError
from router.line import LINE
from router.query import Query
from router.v1 import cascade_pb2
from router.wire import query_from_proto, query_to_proto

log = logging.getLogger(__name__)

_T = TypeVar("_T")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS waiting (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    id    TEXT UNIQUE NOT NULL,
    query BLOB NOT NULL  -- an AnswerRequest with its attempt
);
CREATE TABLE IF NOT EXISTS places (
    task  TEXT PRIMARY KEY,
    place INTEGER NOT NULL
)
"""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One query of the outbox and its place in the line."""

    place: int
    query: Query


class Outbox:
    """A line of queries on disk. One event loop uses it; one thread of its own touches the file."""

    def __init__(self, path: Path, max_rows: int) -> None:
        """Open the file, or make it.

        Args:
            path: The SQLite file.
            max_rows: Most queries that wait.

        Raises:
            StartError: The file can't be opened.
        """
        self._max_rows = max_rows
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="outbox")
        self._unwritten: list[Query] = []
        self._changed = asyncio.Event()
        self._writing = asyncio.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._thread.submit(_open, path).result()
            self._rows = self._thread.submit(_count, self._file).result()
            self._places = self._thread.submit(_take_places, self._file).result()
        except (OSError, sqlite3.Error) as error:
            raise StartError(f"outbox {path} can't be opened: {error}") from error
        self.dropped = 0
        self.state = "ok"

    @property
    def pending(self) -> int:
        """How many queries wait, written or not."""
        return self._rows + len(self._unwritten)

    def place(self, task: str) -> int:
        """The number given last in a task's line. A line begins with the time, so that no file repeats another's."""
        return self._places.setdefault(task, time.time_ns() // 1_000_000 * LINE)

    def take_place(self, task: str) -> int:
        """The next number in a task's line."""
        self._places[task] = self.place(task) + 1
        return self._places[task]

    def put(self, query: Query) -> None:
        """Add a query to the end of the line."""
        self._unwritten.append(query)
        self._changed.set()

    async def wait(self) -> None:
        """Return when a query waits."""
        while not self.pending:
            self._changed.clear()
            await self._changed.wait()

    async def write_loop(self) -> None:
        """Write what is put, many at once, until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self.flush()

    async def flush(self) -> None:
        """Return when everything that was put is on disk, or dropped."""
        async with self._writing:
            queries = self._unwritten[:]
            if not queries:
                return
            try:
                self._rows, dropped = await self._call(_insert, self._file, queries, self._max_rows)
                self.state = "ok"
            except sqlite3.Error as error:
                log.error("%d queries can't be put into the outbox, and are dropped: %s", len(queries), error)
                self.state, dropped = "disk_full", len(queries)
            self.dropped += dropped
            del self._unwritten[: len(queries)]

    async def head(self, most: int, besides: frozenset[str] = frozenset()) -> list[Waiting]:
        """The first ``most`` queries of the line, those of the tasks ``besides`` left out.

        What can't be read any more is dropped.
        """
        await self.flush()
        waiting, broken = await self._call(_select, self._file, most, besides)
        if broken:
            log.error("%d queries of the outbox can't be read, and are dropped", len(broken))
            self.dropped += len(broken)
            await self.remove(broken)
        return waiting

    async def remove(self, places: Sequence[int]) -> bool:
        """Take queries out of the line; ``False`` when the disk would not let it."""
        async with self._writing:
            try:
                self._rows = await self._call(_delete, self._file, places)
            except sqlite3.Error as error:
                log.error("%d queries can't be taken out of the outbox: %s", len(places), error)
                self.state = "disk_full"
                return False
        return True

    async def close(self) -> None:
        """Write what was put, and close the file."""
        await self.flush()
        try:
            await self._call(_keep_places, self._file, self._places)
        except sqlite3.Error as error:
            log.error("the outbox can't be closed in order; its numbers begin anew: %s", error)
        await self._call(self._file.close)
        self._thread.shutdown()

    async def _call(self, work: Callable[..., _T], *arguments: Any) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)


def _open(path: Path) -> sqlite3.Connection:
    file = sqlite3.connect(path, isolation_level=None)
    path.chmod(0o600)
    file.execute("PRAGMA journal_mode = WAL")
    file.execute("PRAGMA synchronous = FULL")
    file.executescript(_SCHEMA)
    return file


def _count(file: sqlite3.Connection) -> int:
    return int(file.execute("SELECT count(*) FROM waiting").fetchone()[0])


def _take_places(file: sqlite3.Connection) -> dict[str, int]:
    """The numbers that the life before ended with, for this one alone; none where they can't be taken."""
    places = {str(task): int(place) for task, place in file.execute("SELECT task, place FROM places")}
    try:
        file.execute("DELETE FROM places")
    except sqlite3.OperationalError:  # a full disk: the next life goes on with them
        return {}
    return places


def _keep_places(file: sqlite3.Connection, places: Mapping[str, int]) -> None:
    with _transaction(file):
        file.executemany("INSERT OR REPLACE INTO places (task, place) VALUES (?, ?)", places.items())


def _insert(file: sqlite3.Connection, queries: Sequence[Query], max_rows: int) -> tuple[int, int]:
    """Write the queries; return how many wait then, and how many old ones were dropped."""
    rows = [(query.id, query_to_proto(query).SerializeToString()) for query in queries]
    with _transaction(file):
        file.executemany("INSERT OR IGNORE INTO waiting (id, query) VALUES (?, ?)", rows)
        dropped = max(0, _count(file) - max_rows)
        if dropped:
            oldest = "SELECT place FROM waiting ORDER BY place LIMIT ?"
            file.execute(f"DELETE FROM waiting WHERE place IN ({oldest})", (dropped,))
        return _count(file), dropped


def _select(file: sqlite3.Connection, most: int, besides: frozenset[str]) -> tuple[list[Waiting], list[int]]:
    """The first ``most`` queries of other tasks than ``besides``, and the places of those that can't be read."""
    waiting: list[Waiting] = []
    broken: list[int] = []
    for place, data in file.execute("SELECT place, query FROM waiting ORDER BY place"):
        if len(waiting) + len(broken) >= most:
            break
        try:
            query = query_from_proto(cascade_pb2.AnswerRequest.FromString(data))
        except (DecodeError, CallerError):
            broken.append(place)
        else:
            if query.task not in besides:
                waiting.append(Waiting(place, query))
    return waiting, broken


def _delete(file: sqlite3.Connection, places: Sequence[int]) -> int:
    with _transaction(file):
        file.executemany("DELETE FROM waiting WHERE place = ?", [(place,) for place in places])
        return _count(file)


@contextmanager
def _transaction(file: sqlite3.Connection) -> Iterator[None]:
    file.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if file.in_transaction:  # a full disk has rolled back already
            file.execute("ROLLBACK")
        raise
    file.execute("COMMIT")
