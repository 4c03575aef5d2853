"""The point of acknowledgement: a record is safe once it is here.

One SQLite file per gateway. The gateway appends; the log writer, another process, drains.

Rules:
 * An append returns after its commit has reached the disk; everything that waits shares one commit.
 * A record stands here once per key, and leaves when the log's commit has been seen.
 * The answer of a query is kept with it for ten minutes, so that asking again, also after a kill, gives the same one.
 * Positions only grow and are never reused, over the whole life of the file.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import uuid
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from router.distillation import Record
from router.errors import UnavailableError
from router.files import sync_folder

log = logging.getLogger(__name__)

STORED_ANSWER_SECONDS = 600.0

_BUSY_MILLISECONDS = 10_000
_FORGET_EVERY_SECONDS = 30.0
_RECORD = TypeAdapter(Record)
_SCHEMA = """
CREATE TABLE identity (only INTEGER PRIMARY KEY CHECK (only = 1), id TEXT NOT NULL);
CREATE TABLE records (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    caller TEXT NOT NULL, query_id TEXT NOT NULL, teacher_version TEXT NOT NULL,
    body BLOB NOT NULL,
    UNIQUE (caller, query_id, teacher_version)
);
CREATE TABLE answers (
    caller TEXT NOT NULL, query_id TEXT NOT NULL,
    digest TEXT NOT NULL, answered_at REAL NOT NULL, response BLOB NOT NULL,
    PRIMARY KEY (caller, query_id)
);
CREATE INDEX answers_by_time ON answers (answered_at);
"""


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """What a caller was answered.

    Attributes:
        caller: Who asked.
        query_id: The query.
        digest: Of the query, in hex.
        answered_at: Unix time in seconds.
        response: The answer as it went out, in the contract's bytes.
    """

    caller: str
    query_id: str
    digest: str
    answered_at: float
    response: bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """One append: an answer to keep, and its record unless it goes unlogged."""

    answer: StoredAnswer
    record: Record | None


class Spool:
    """The gateway's end of a spool. All methods belong to one event loop."""

    def __init__(self, path: Path) -> None:
        """Open or make the file at ``path``."""
        self._connection = _open(path)
        self._reader = _open(path)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self._waiting: list[tuple[Entry, asyncio.Future[None]]] = []
        self._committing: asyncio.Task[None] | None = None
        self._forgotten_at = 0.0
        self.bytes_used = _bytes_used(self._connection)

    async def append(self, entry: Entry) -> None:
        """Make an entry durable.

        Raises:
            UnavailableError: The disk is full or broken; nothing of the entry is kept.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, done))
        if self._committing is None:
            self._committing = asyncio.create_task(self._commit_waiting())
        await done

    def find(self, caller: str, query_id: str, now: float) -> StoredAnswer | None:
        """What this query was answered within the last ten minutes before ``now`` (Unix seconds)."""
        row = self._reader.execute(
            "SELECT digest, answered_at, response FROM answers WHERE caller = ? AND query_id = ? AND answered_at > ?",
            (caller, query_id, now - STORED_ANSWER_SECONDS),
        ).fetchone()
        return None if row is None else StoredAnswer(caller, query_id, *row)

    def record(self, caller: str, query_id: str) -> Record | None:
        """The record of a query that waits here for the log."""
        where = "SELECT body FROM records WHERE caller = ? AND query_id = ? ORDER BY position DESC LIMIT 1"
        row = self._reader.execute(where, (caller, query_id)).fetchone()
        return None if row is None else _RECORD.validate_json(row[0])

    async def close(self) -> None:
        """Commit what waits, then close the file."""
        while self._committing is not None:
            await asyncio.wait([self._committing])
        self._thread.shutdown()
        self._reader.close()
        self._connection.close()

    async def _commit_waiting(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                try:
                    await loop.run_in_executor(self._thread, self._commit, [entry for entry, _ in batch])
                except sqlite3.Error as error:
                    log.error("the spool can't keep %d answers: %s", len(batch), error)
                    _settle(batch, failed=True)
                else:
                    _settle(batch, failed=False)
        finally:
            self._committing = None

    def _commit(self, entries: Sequence[Entry]) -> None:
        newest = max(entry.answer.answered_at for entry in entries)
        with _transaction(self._connection):
            self._connection.executemany(
                "INSERT OR IGNORE INTO records (caller, query_id, teacher_version, body) VALUES (?, ?, ?, ?)",
                [(*entry.record.key, _RECORD.dump_json(entry.record)) for entry in entries if entry.record is not None],
            )
            self._connection.executemany(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)",
                [_columns(entry.answer) for entry in entries],
            )
            if newest > self._forgotten_at + _FORGET_EVERY_SECONDS:
                self._forgotten_at = newest
                self._connection.execute(
                    "DELETE FROM answers WHERE answered_at <= ?", (newest - STORED_ANSWER_SECONDS,)
                )
        self.bytes_used = _bytes_used(self._connection)


class SpoolDrain:
    """The log writer's end of a spool."""

    def __init__(self, path: Path) -> None:
        """Open the file at ``path``, which a gateway has made or is making."""
        self._connection = _open(path)
        self.id = str(self._connection.execute("SELECT id FROM identity").fetchone()[0])

    def read(self, most: int) -> list[tuple[int, Record]]:
        """The oldest records, at most ``most``, each with its position."""
        rows = self._connection.execute("SELECT position, body FROM records ORDER BY position LIMIT ?", (most,))
        return [(position, _RECORD.validate_json(body)) for position, body in rows.fetchall()]

    def remove(self, last: int) -> None:
        """Forget every record up to the position ``last``: the log has them."""
        with _transaction(self._connection):
            self._connection.execute("DELETE FROM records WHERE position <= ?", (last,))

    def pending(self) -> int:
        """How many records wait for the log."""
        return int(self._connection.execute("SELECT count(*) FROM records").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def spools_in(folder: Path) -> list[Path]:
    """The spools in ``folder``, also those of gateways that no longer run."""
    return sorted(folder.glob("*.sqlite"))


def pending_in(folder: Path) -> int:
    """How many records wait in all spools of ``folder``."""
    total = 0
    for path in spools_in(folder):
        with contextlib.closing(SpoolDrain(path)) as drain:
            total += drain.pending()
    return total


def _open(path: Path) -> sqlite3.Connection:
    if not path.exists():
        _make(path)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_MILLISECONDS}")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _make(path: Path) -> None:
    """Put a new spool in place whole: the log writer may open it in the moment that it appears."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{uuid.uuid4().hex}.new")
    with contextlib.closing(sqlite3.connect(new, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
        connection.execute("INSERT INTO identity (only, id) VALUES (1, ?)", (uuid.uuid4().hex,))
    with contextlib.suppress(FileExistsError):  # made by another in the same moment
        path.hardlink_to(new)
    new.unlink()
    sync_folder(path.parent)


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _bytes_used(connection: sqlite3.Connection) -> int:
    pages = int(connection.execute("PRAGMA page_count").fetchone()[0])
    free = int(connection.execute("PRAGMA freelist_count").fetchone()[0])
    return (pages - free) * int(connection.execute("PRAGMA page_size").fetchone()[0])


def _columns(answer: StoredAnswer) -> tuple[str, str, str, float, bytes]:
    return (answer.caller, answer.query_id, answer.digest, answer.answered_at, answer.response)


def _settle(batch: Iterable[tuple[Entry, asyncio.Future[None]]], *, failed: bool) -> None:
    for _, done in batch:
        if done.done():  # its caller went away
            continue
        if failed:
            done.set_exception(UnavailableError("the answer can't be kept now; try again"))
        else:
            done.set_result(None)
