"""The SQLite file of a spool: its tables, how it is made, opened and changed.

Rules:
 * A file appears whole or not at all, and gives back to the disk what it needs no longer.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from cloud_worker.state.database.sqlite_files import DAMAGED, guarded, is_damaged, put_aside
from router.io.atomic_write import sync_folder

log = logging.getLogger(__name__)

_INCREMENTAL = 2  # of SQLite's auto_vacuum
LOG_BYTES_KEPT = 4 * 1024 * 1024  # of the write-ahead log, once its content is in the file

_MOST_ROWS = 64  # of one statement
_BYTES_USED = """
SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size
"""

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
QUARANTINE = """
CREATE TABLE IF NOT EXISTS quarantine (
    position INTEGER PRIMARY KEY, body BLOB NOT NULL, why TEXT NOT NULL, since REAL NOT NULL
)
"""


def open_or_make(path: Path, busy_milliseconds: int) -> sqlite3.Connection:
    """A connection to the spool at ``path``, made if it is missing; it waits so long for another's lock."""
    if not path.exists():
        _make(path)
    return open_existing(path, busy_milliseconds)


def open_existing(path: Path, busy_milliseconds: int) -> sqlite3.Connection:
    """A connection to the spool at ``path``.

    Raises:
        sqlite3.Error: There is none, or it can't be used; ``is_damaged`` tells whether that lies in the file.
    """
    if not path.is_file():
        raise sqlite3.OperationalError(f"no file at {path.name}")
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.execute(f"PRAGMA busy_timeout = {busy_milliseconds}")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES_KEPT}")
        for table in ("identity", "records", "answers"):
            connection.execute(f"SELECT count(*) FROM (SELECT 1 FROM {table} LIMIT 1)").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """A transaction: all or nothing, durable when the context ends."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def insert(connection: sqlite3.Connection, what: str, rows: Sequence[tuple[object, ...]]) -> None:
    """Insert rows by few statements.

    Each statement gives up the interpreter while it runs and has to get it back from whoever computes meanwhile, which
    ``executemany`` does for each row.

    Args:
        connection: In a transaction.
        what: The statement up to its ``VALUES``.
        rows: Of one width.
    """
    start = 0
    while start < len(rows):
        count = min(1 << ((len(rows) - start).bit_length() - 1), _MOST_ROWS)
        some = rows[start : start + count]
        connection.execute(_statement(what, count, len(some[0])), [value for row in some for value in row])
        start += count


@cache
def _statement(what: str, rows: int, width: int) -> str:
    row = f"({','.join('?' * width)})"
    return f"{what} VALUES {','.join([row] * rows)}"


def bytes_used(connection: sqlite3.Connection) -> int:
    """How much of the file is in use, in bytes."""
    return int(connection.execute(_BYTES_USED).fetchone()[0])


def give_back(connection: sqlite3.Connection, most_pages: int, least_free: int) -> None:
    """Shrink the file by ``most_pages`` at most, once more than ``least_free`` and a quarter of it stand empty.

    A file of an older version can't do that page by page: it is written anew, once, as soon as little of it is in use.
    A disk that is full, or a file that another holds, puts it off.
    """
    pages, free = _pages(connection)
    if free <= least_free or free * 4 <= pages:
        return
    try:
        if connection.execute("PRAGMA auto_vacuum").fetchone()[0] == _INCREMENTAL:
            # Not ``execute``: it takes one step of a statement without columns, and each step gives back one page.
            connection.executescript(f"PRAGMA incremental_vacuum({most_pages})")
        elif pages - free <= most_pages:  # some milliseconds, in which nobody else writes
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("VACUUM")
    except sqlite3.Error as error:
        if is_damaged(error):
            raise
        log.warning("a spool can't be made smaller now: %s", error)


def _pages(connection: sqlite3.Connection) -> tuple[int, int]:
    names = ("page_count", "freelist_count")
    pages, free = (int(connection.execute(f"PRAGMA {name}").fetchone()[0]) for name in names)
    return pages, free


def _make(path: Path) -> None:
    """Put a new spool in place whole: the log writer may open it in the moment that it appears."""
    with guarded(path):
        if path.exists():  # made by another in the same moment
            return
        if path.with_name(f"{path.name}-wal").exists():
            put_aside(path, DAMAGED)  # what is left of a file that somebody removed
        new = path.with_name(f".{path.name}.{uuid.uuid4().hex}.new")
        try:
            with contextlib.closing(sqlite3.connect(new, isolation_level=None)) as connection:
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(f"BEGIN; {_SCHEMA} {QUARANTINE}; COMMIT;")
                connection.execute("INSERT INTO identity (only, id) VALUES (1, ?)", (uuid.uuid4().hex,))
            new.rename(path)
        finally:
            new.unlink(missing_ok=True)
        sync_folder(path.parent)
