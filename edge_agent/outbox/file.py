"""The outbox's file: SQLite, and what to do when it is locked, full or damaged.

Rules:
 * One thread uses it. A call succeeds whole or changes nothing.
 * What goes wrong comes out as ``FileTroubleError``, which names the state that the agent reports.
 * A file that is damaged, of another make, gone or swapped for another is set aside; what can still be read of it is
   written into a new one, and the call is made again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

from edge_agent.damaged_files import set_aside
from edge_agent.outbox.bounds import Bounds, Row, Why, date, take_out, write_within
from router.io.sqlite_header import mend_header, says_of_header

log = logging.getLogger(__name__)

_T = TypeVar("_T")

OK, LOCKED, FULL, UNWRITABLE = "ok", "database_locked", "disk_full", "disk_unwritable"
LOCK_SECONDS = 0.05  # that one call waits for a foreign lock
MOST_SALVAGED = 100_000  # rows
MOST_LOG_BYTES = 4 * 1024 * 1024  # of SQLite's log beside the file, once nobody reads it any more

_SCHEMA = """
CREATE TABLE IF NOT EXISTS waiting (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    id    TEXT UNIQUE NOT NULL,
    query BLOB NOT NULL,  -- an AnswerRequest with its attempt
    at    REAL NOT NULL DEFAULT 0  -- when it came, in Unix seconds
);
CREATE TABLE IF NOT EXISTS places (
    task  TEXT PRIMARY KEY,
    place INTEGER NOT NULL
)
"""
_COLUMNS = {"waiting": ["place", "id", "query", "at"], "places": ["task", "place"]}

_LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_DISK = {
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_AUTH,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PROTOCOL,
}


class Written(NamedTuple):
    """What a write did: how many rows wait now, the ids taken out, and why and which ids went at a bound."""

    waiting: int
    taken: list[str]
    dropped: list[tuple[Why, str]]


class FileTroubleError(Exception):
    """The file can't be used now. ``state`` is ``database_locked``, ``disk_full`` or ``disk_unwritable``."""

    def __init__(self, state: str, why: object) -> None:
        """Name the state, and what SQLite says."""
        super().__init__(str(why))
        self.state = state


class _DamagedError(Exception):
    """What lies there is no outbox, or no longer the one that was opened."""


class OutboxFile:
    """The file at one path, opened when it is first needed and again whenever it has to be."""

    def __init__(self, path: Path, now: Callable[[], float]) -> None:
        """Use ``path``; nothing is touched yet. ``now`` gives Unix seconds that don't jump."""
        self.path = path
        self._now = now
        self.was_damaged = False
        self._database: sqlite3.Connection | None = None
        self._inode = 0
        self._rescued: list[Row] = []  # of a damaged file, not yet in the new one

    def count(self) -> int:
        """How many rows wait."""
        return self._do(_count)

    def ids(self) -> set[str]:
        """The ids of all rows."""
        return self._do(lambda database: {str(name) for (name,) in database.execute("SELECT id FROM waiting")})

    def take_sequence_numbers(self) -> dict[str, int]:
        """The numbers that the life before ended with, for this one alone; none where they can't be taken."""
        return self._do(_take_sequence_numbers)

    def keep_sequence_numbers(self, numbers: Mapping[str, int]) -> None:
        """Leave the numbers to the next life."""
        self._do(lambda database: _keep_sequence_numbers(database, numbers))

    def write(self, rows: Sequence[Row], gone: Sequence[int], bounds: Bounds) -> Written:
        """Add rows at the end and take others out, at once.

        Args:
            rows: To add.
            gone: Positions to take out.
            bounds: How much may wait, and what goes above it.

        Raises:
            FileTroubleError: Nothing was changed.
        """

        def work(database: sqlite3.Connection) -> Written:
            _bound_log(database, self.path, bounds)
            return _write(database, rows, gone, bounds, self._now())

        return self._do(work)

    def read(self, reader: Callable[[Iterator[tuple[int, object]]], _T]) -> _T:
        """What ``reader`` makes of position and request of each row, first come first.

        Raises:
            FileTroubleError: The file can't be read now.
        """
        return self._do(lambda database: reader(database.execute("SELECT place, query FROM waiting ORDER BY place")))

    def erase(self, concerns: Callable[[object], bool]) -> list[tuple[str, object]]:
        """Take out the rows whose request ``concerns`` says to, and leave nothing of them in any page or file.

        Returns:
            Id and request of each.

        Raises:
            FileTroubleError: Some of it may still lie there; once more does the rest.
        """
        gone = self._do(lambda database: _erase(database, concerns))
        for aside in self.path.parent.glob(f"{self.path.name}.damaged-*"):  # has been read, and can't be searched
            with contextlib.suppress(OSError):
                aside.unlink()
        return gone

    def close(self) -> None:
        """Close it."""
        if self._database is not None:
            with contextlib.suppress(sqlite3.Error):
                self._database.close()
            self._database = None

    def _do(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        try:
            return self._once(work)
        except _DamagedError as error:
            try:
                self._begin_anew(error)
                return self._once(work)
            except (OSError, _DamagedError) as again:
                raise FileTroubleError(UNWRITABLE, again) from again

    def _once(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        try:
            if self._database is None:
                self._open()
            elif self._inode != _inode(self.path):
                raise _DamagedError("it was deleted, or swapped for another, while it was in use")
            assert self._database is not None
            return work(self._database)
        except sqlite3.Error as error:
            if not self._is_mended(error):
                raise _meaning(error) from error
            return self._once(work)
        except OSError as error:
            raise FileTroubleError(UNWRITABLE, error) from error

    def _is_mended(self, error: sqlite3.Error) -> bool:
        """Whether only the header was spoilt, and is right again."""
        if not says_of_header(error):
            return False
        self.close()
        mended = mend_header(self.path, error)
        self.was_damaged = self.was_damaged or mended
        return mended

    def _open(self) -> None:
        for path in (self.path, *_sidecars(self.path)):
            if os.path.lexists(path) and not path.is_file():
                raise _DamagedError(f"{path.name} is no file")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(self.path, timeout=LOCK_SECONDS, isolation_level=None)
        try:
            self.path.chmod(0o600)
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            database.execute(f"PRAGMA journal_size_limit = {MOST_LOG_BYTES}")
            database.executescript(_SCHEMA)
            _take_over(database)
            _check(database)
            with _transaction(database):
                add = "INSERT OR IGNORE INTO waiting (id, query, at) VALUES (?, ?, ?)"
                database.executemany(add, self._rescued)
                date(database, self._now())
        except BaseException:
            database.close()
            raise
        self._database, self._inode, self._rescued = database, _inode(self.path), []

    def _begin_anew(self, why: Exception) -> None:
        """Set aside what lies there, and write what can be read of it into a new file."""
        self.was_damaged = True
        rows = _salvage(self._database) if self._database is not None else []
        self.close()  # before another takes its name: SQLite clears away what lies beside it
        aside = set_aside(self.path, why, *_sidecars(self.path))
        rows = rows or _salvage_file(aside)
        self._rescued += rows
        log.warning("a new outbox begins with %d queries of the one before: %s", len(self._rescued), why)


def _meaning(error: sqlite3.Error) -> Exception:
    """Locked, full and unwritable pass; whatever else a sound file never says."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in _LOCKED:
        return FileTroubleError(LOCKED, error)
    if code == sqlite3.SQLITE_FULL:
        return FileTroubleError(FULL, error)
    if code in _DISK:
        return FileTroubleError(UNWRITABLE, error)
    return _DamagedError(f"{type(error).__name__}: {error}")


def _take_over(database: sqlite3.Connection) -> None:
    """Add what the outbox of an older agent lacks."""
    found = [str(column[1]) for column in database.execute("PRAGMA table_info(waiting)")]
    if found == ["place", "id", "query"]:
        database.execute("ALTER TABLE waiting ADD COLUMN at REAL NOT NULL DEFAULT 0")


def _check(database: sqlite3.Connection) -> None:
    """Hold the file against what this module writes."""
    for table, columns in _COLUMNS.items():
        found = [str(column[1]) for column in database.execute(f"PRAGMA table_info({table})")]
        if found != columns:
            raise _DamagedError(f"its table {table} has the columns {found}")
    (said,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if said != "ok":
        raise _DamagedError(str(said))


def _salvage_file(path: Path) -> list[Row]:
    if not path.is_file() or path.is_symlink():
        return []
    with contextlib.suppress(sqlite3.Error):
        database = sqlite3.connect(path, timeout=LOCK_SECONDS, isolation_level=None)
        try:
            return _salvage(database)
        finally:
            database.close()
    return []


def _salvage(database: sqlite3.Connection) -> list[Row]:
    """The rows that can be read: from the first on until a page is broken, and from the last back."""
    found: dict[int, Row] = {}
    for order in ("ASC", "DESC"):
        with contextlib.suppress(sqlite3.Error):
            for position, name, query in database.execute(
                f"SELECT place, id, query FROM waiting ORDER BY place {order}"
            ):
                if position in found or len(found) >= MOST_SALVAGED:
                    break
                if isinstance(position, int) and isinstance(name, str) and isinstance(query, bytes):
                    found[position] = Row(name, query)
    return [found[position] for position in sorted(found)]


def _sidecars(path: Path) -> tuple[Path, Path]:
    """SQLite's own files beside a database, whose names begin with its own."""
    return path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0


def _count(database: sqlite3.Connection) -> int:
    return int(database.execute("SELECT count(*) FROM waiting").fetchone()[0])


def _take_sequence_numbers(database: sqlite3.Connection) -> dict[str, int]:
    rows = database.execute("SELECT task, place FROM places").fetchall()
    try:
        database.execute("DELETE FROM places")
    except sqlite3.OperationalError:  # a full disk: the next life goes on with them
        return {}
    return {str(task): int(position) for task, position in rows}


def _keep_sequence_numbers(database: sqlite3.Connection, numbers: Mapping[str, int]) -> None:
    with _transaction(database):
        database.executemany("INSERT OR REPLACE INTO places (task, place) VALUES (?, ?)", numbers.items())


def _bound_log(database: sqlite3.Connection, path: Path, bounds: Bounds) -> None:
    """SQLite's log grows while a foreign reader holds on to what it saw; hold it to the bytes of the file."""
    write_ahead = _sidecars(path)[0]
    is_long = write_ahead.exists() and write_ahead.stat().st_size > bounds.max_bytes
    if is_long and database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
        raise FileTroubleError(LOCKED, f"another program reads it, and {write_ahead.name} has grown too long")


def _write(
    database: sqlite3.Connection, rows: Sequence[Row], gone: Sequence[int], bounds: Bounds, now: float
) -> Written:
    with _transaction(database):
        taken = [name for position in gone for name in take_out(database, position)]
        waiting, dropped = write_within(database, rows, bounds, now)
        return Written(waiting, taken, dropped)


def _erase(database: sqlite3.Connection, concerns: Callable[[object], bool]) -> list[tuple[str, object]]:
    rows = database.execute("SELECT place, id, query FROM waiting").fetchall()
    gone = [(position, str(name), query) for position, name, query in rows if concerns(query)]
    with _transaction(database):
        database.executemany("DELETE FROM waiting WHERE place = ?", [(position,) for position, _, _ in gone])
    database.execute("VACUUM")  # what was deleted before lies in free pages, too
    if database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
        raise FileTroubleError(LOCKED, "another program reads the outbox, whose log still holds what was erased")
    return [(name, query) for _, name, query in gone]


@contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:  # a full disk has rolled back already
            database.execute("ROLLBACK")
        raise
