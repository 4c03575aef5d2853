"""The spool of a gateway, where its answers are acknowledged: a record is safe once it is here.

One SQLite file per gateway. The gateway appends; the log writer, another process, drains.

Rules:
 * An append returns after its commit has reached the disk; everything that waits shares one commit.
 * An append waits a bounded time for a lock that another holds; then it fails, and nothing of it was promised.
 * A file that is damaged, moved or no spool is put aside for the log writer to read, and a new one takes its place.
 * A record stands here once per key, and leaves when the log's commit has been seen.
 * The answer of a query is kept with it for ten minutes, so that asking again, also after a kill, gives the same one.
   Which queries those are is held in memory: a new one costs no read.
 * The event loop waits for nothing here: files are opened, read and written by threads; one group is committed while
   the next gathers.
 * Positions only grow and are never reused, over the whole life of the file.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloud_worker.log.recent_queries import RecentQueries
from cloud_worker.log.spool_drain import SpoolDrain, pending_in, spools_in
from cloud_worker.log.spool_file import bytes_used, insert, open_or_make, transaction
from cloud_worker.log.spool_records import body_of, record_of
from cloud_worker.state.database.sqlite_files import Watched, guarded, is_damaged, put_aside
from router.core.domain.record import Record
from router.core.errors import UnavailableError
from router.io.sealed import seal, unseal
from router.io.sqlite_header import mend_header, says_of_header

__all__ = [
    "MOST_PATIENCE_SECONDS",
    "STORED_ANSWER_SECONDS",
    "Entry",
    "Spool",
    "SpoolDrain",
    "StoredAnswer",
    "pending_in",
    "spools_in",
]

log = logging.getLogger(__name__)

STORED_ANSWER_SECONDS = 600.0
MOST_PATIENCE_SECONDS = 2.0
_HELD_UP_SECONDS = 0.1

_BUSY_MILLISECONDS = 2_000
_READING_BUSY_MILLISECONDS = 50
_LARGE_CHARACTERS = 16_384  # a record of more is encoded by the thread
_FORGET_EVERY_SECONDS = 30.0


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


_Waiting = tuple[Entry, bytes | None, asyncio.Future[None]]  # the record's bytes, where they are made already


class Spool:
    """The gateway's end of a spool. All methods belong to one event loop."""

    def __init__(self, path: Path) -> None:
        """Open or make the file at ``path``; while that can't be, appends fail and try again."""
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._watched: Watched | None = None
        self._held = threading.Lock()  # over what is open: one thread reads while the other puts a new file in place
        self._is_suspect = False
        self._recent = RecentQueries(STORED_ANSWER_SECONDS)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self._readers = ThreadPoolExecutor(1, thread_name_prefix="spool-reader")
        self._waiting: list[_Waiting] = []
        self._committing: asyncio.Task[None] | None = None
        self._forgotten_at = 0.0
        self.bytes_used = 0
        try:
            self.bytes_used = bytes_used(self._ready())
        except (sqlite3.Error, OSError) as error:
            log.error("the spool can't be opened yet: %s", error)

    async def append(self, entry: Entry, patience: float = MOST_PATIENCE_SECONDS) -> None:
        """Make an entry durable.

        Args:
            entry: What is to be kept.
            patience: Longest wait in seconds.

        Raises:
            UnavailableError: The disk is full or broken, or another held the file for too long. Nothing of the entry
                was promised; in the last case it may yet be kept.
        """
        body = None if entry.record is None or _is_large(entry.record) else body_of(entry.record)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, body, done))
        if self._committing is None:
            self._committing = asyncio.create_task(self._commit_waiting())
        loop = asyncio.get_running_loop()
        late = loop.call_later(patience, _too_late, done, loop, loop.time() + patience)
        try:
            await done
        finally:
            late.cancel()

    async def find(self, caller: str, query_id: str, now: float) -> StoredAnswer | None:
        """What this query was answered within the last ten minutes before ``now`` (Unix seconds)."""
        if not self._recent.may_know(caller, query_id, now):
            return None
        row = await self._row(
            "SELECT digest, answered_at, response FROM answers WHERE caller = ? AND query_id = ? AND answered_at > ?",
            (caller, query_id, now - STORED_ANSWER_SECONDS),
        )
        with suppress(ValueError):  # one that a disk has spoilt is asked for anew
            return None if row is None else StoredAnswer(caller, query_id, row[0], row[1], unseal(row[2]))
        return None

    async def record(self, caller: str, query_id: str) -> Record | None:
        """The record of a query that waits here for the log."""
        where = "SELECT body FROM records WHERE caller = ? AND query_id = ? ORDER BY position DESC LIMIT 1"
        row = await self._row(where, (caller, query_id))
        with suppress(ValueError):  # the log writer tells of one that can't be read
            return None if row is None else record_of(row[0])
        return None

    def quarantined(self) -> int:
        """How many records can't be written to the log, and are kept here; for other threads than the loop's."""
        row = self._read("SELECT count(*) FROM quarantine", ())
        return 0 if row is None else int(row[0])

    async def close(self) -> None:
        """Commit what waits, then close the file."""
        while self._committing is not None:
            await asyncio.wait([self._committing])
        self._thread.shutdown()
        self._readers.shutdown()
        self._close_files()

    async def _row(self, query: str, values: tuple[object, ...]) -> tuple[Any, ...] | None:
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, query, values)

    def _read(self, query: str, values: tuple[object, ...]) -> tuple[Any, ...] | None:
        """The first row; ``None`` also while the file can't be read: then the next commit looks into it."""
        with self._held:
            try:
                found: tuple[Any, ...] | None = None
                if self._reader is not None:
                    found = self._reader.execute(query, values).fetchone()
                return found
            except sqlite3.Error as error:
                self._is_suspect = self._is_suspect or is_damaged(error)
                log.warning("the spool can't be read now: %s", error)
                return None

    async def _commit_waiting(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                batch = [one for one in batch if not one[2].done()]  # else it was told that it is not kept
                if not batch:
                    continue
                try:
                    await loop.run_in_executor(self._thread, self._commit, [one[:2] for one in batch])
                except (sqlite3.Error, OSError, ValueError, OverflowError) as error:
                    log.error("the spool can't keep %d answers: %s", len(batch), error)
                    _settle(batch, failed=True)
                else:
                    for entry, *_ in batch:
                        self._recent.add(entry.answer.caller, entry.answer.query_id, entry.answer.answered_at)
                    _settle(batch, failed=False)
        finally:
            self._committing = None

    def _commit(self, waiting: Sequence[tuple[Entry, bytes | None]]) -> None:
        """Commit to the file that others see: what went to one that was taken away meanwhile goes to the next, too."""
        entries = [(entry, _body(entry, body)) for entry, body in waiting]
        for _ in range(3):
            try:
                self._write(self._ready(), entries)
            except sqlite3.Error as error:
                if self._is_mended(error):
                    continue
                if not is_damaged(error):
                    raise
                log.error("the spool is damaged: %s", error)
                self._is_suspect = True
                continue
            if self._watched is not None and self._watched.is_there():
                return
        raise sqlite3.OperationalError("the spool's file does not stay in its place")

    def _write(self, connection: sqlite3.Connection, entries: Sequence[tuple[Entry, bytes]]) -> None:
        newest = max(entry.answer.answered_at for entry, _ in entries)
        with transaction(connection):
            kept = [(*entry.record.key, body) for entry, body in entries if entry.record is not None]
            insert(connection, "INSERT OR IGNORE INTO records (caller, query_id, teacher_version, body)", kept)
            insert(connection, "INSERT OR REPLACE INTO answers", [_columns(entry.answer) for entry, _ in entries])
            if newest > self._forgotten_at + _FORGET_EVERY_SECONDS:
                self._forgotten_at = newest
                connection.execute("DELETE FROM answers WHERE answered_at <= ?", (newest - STORED_ANSWER_SECONDS,))
        self.bytes_used = bytes_used(connection)

    def _ready(self) -> sqlite3.Connection:
        """The connection to the file in place; what stands there and can't be used is put aside."""
        if self._connection is not None and self._watched is not None:
            if self._watched.is_there() and not self._is_suspect:
                return self._connection
            self._is_suspect = self._watched.is_in_place()  # else another moved it, and what stands there may be sound
            self._close_files()
            self._put_aside_damaged()
        try:
            return self._open()
        except (sqlite3.Error, OSError) as error:
            if self._is_mended(error):
                return self._open()
            if not (is_damaged(error) or self._path.is_dir()):
                raise
            self._is_suspect = True
            self._put_aside_damaged()
            return self._open()

    def _open(self) -> sqlite3.Connection:
        connection = open_or_make(self._path, _BUSY_MILLISECONDS)
        with self._held:
            self._connection = connection
            self._reader = open_or_make(self._path, _READING_BUSY_MILLISECONDS)
            self._watched = Watched(self._path)
            self._is_suspect = False
        recent = RecentQueries(STORED_ANSWER_SECONDS)
        for row in connection.execute("SELECT caller, query_id, answered_at FROM answers ORDER BY answered_at"):
            recent.add(*row)
        self._recent = recent
        return connection

    def _is_mended(self, error: BaseException) -> bool:
        """Whether only the header was spoilt, and is right again."""
        if not says_of_header(error):
            return False
        self._close_files()
        return mend_header(self._path, error)

    def _put_aside_damaged(self) -> None:
        """Move what stands in our place and is damaged; another may have moved it, and put a sound one there."""
        with guarded(self._path):
            if self._path.is_dir() or (self._path.exists() and (self._is_suspect or not _is_spool(self._path))):
                log.error("the spool %s was put aside as %s", self._path.name, put_aside(self._path).name)

    def _close_files(self) -> None:
        with self._held:
            for connection in (self._reader, self._connection):
                if connection is not None:
                    with suppress(sqlite3.Error):  # a checkpoint into a damaged file
                        connection.close()
            if self._watched is not None:
                self._watched.close()
            self._connection = self._reader = self._watched = None


def _is_spool(path: Path) -> bool:
    try:
        open_or_make(path, _BUSY_MILLISECONDS).close()
    except sqlite3.Error as error:
        return not is_damaged(error)
    return True


def _columns(answer: StoredAnswer) -> tuple[str, str, str, float, bytes]:
    return (answer.caller, answer.query_id, answer.digest, answer.answered_at, seal(answer.response))


def _is_large(record: Record) -> bool:
    return len(record.text) + len(record.chat) + len(record.answer) + len(record.tokens) > _LARGE_CHARACTERS


def _body(entry: Entry, body: bytes | None) -> bytes:
    """A record's bytes, unless they are made already."""
    return body if body is not None else b"" if entry.record is None else body_of(entry.record)


def _too_late(done: asyncio.Future[None], loop: asyncio.AbstractEventLoop, due: float) -> None:
    """Wait no longer. Where this process itself was held up, what is done by now may just not have been heard of."""
    if done.done():
        return
    if loop.time() - due > _HELD_UP_SECONDS:
        loop.call_later(_HELD_UP_SECONDS, _too_late, done, loop, loop.time() + _HELD_UP_SECONDS)
    else:
        done.set_exception(UnavailableError("the answer can't be kept in time"))


def _settle(batch: Iterable[_Waiting], *, failed: bool) -> None:
    for _, _, done in batch:
        if done.done():  # its caller went away
            continue
        if failed:
            done.set_exception(UnavailableError("the answer can't be kept now; try again"))
        else:
            done.set_result(None)
