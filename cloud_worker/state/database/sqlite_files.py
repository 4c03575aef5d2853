"""SQLite files that others may damage: tell damage from bad times, put what is damaged aside, know a file again.

Rules:
 * A file is put aside with its write-ahead log, under a name that says so and when; nothing is deleted.
 * Who holds a file open must know it again before it believes that what it wrote is where others look.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

DAMAGED = "damaged"
NO_SPOOL = "no-spool"

_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_ELSEWHERE = {sqlite3.SQLITE_READONLY_DBMOVED, sqlite3.SQLITE_IOERR_SHORT_READ}
_OF_THE_DISK = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}
_MAGIC = b"SQLite format 3\0"
_PRIMARY = 0xFF  # an extended result code holds the primary one in its low byte

Identity = tuple[int, int]  # device and inode


def is_damaged(error: BaseException) -> bool:
    """Whether an error of SQLite lies in the file itself, and not in a lock, a full disk or a missing right."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return False
    return code & _PRIMARY in _DAMAGE or code in _ELSEWHERE or "no such table" in str(error)


def is_locked(error: BaseException) -> bool:
    """Whether another holds the file: it may be tried again."""
    return getattr(error, "sqlite_errorcode", 0) & _PRIMARY in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def needs_an_operator(error: BaseException) -> bool:
    """Whether the disk is full, or the file may not be opened or written: trying again mends nothing."""
    return getattr(error, "sqlite_errorcode", 0) & _PRIMARY in _OF_THE_DISK


def identity_of(path: Path) -> Identity | None:
    """Which file lies at ``path`` now; ``None`` without one."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino)


class Watched:
    """A file that is known again: not moved, not removed, not written over with something else.

    It keeps a handle of its own until it is closed: closing any handle of a file drops the locks that this process
    holds on it through another (POSIX), so close it after the connections.
    """

    def __init__(self, path: Path) -> None:
        """Watch the file at ``path``; ``OSError`` without one."""
        self._path = path
        self._handle = os.open(path, os.O_RDONLY)
        found = os.fstat(self._handle)
        self._identity = (found.st_dev, found.st_ino)

    def is_there(self) -> bool:
        """Whether the path still leads to it, and it still begins as SQLite's files do."""
        return self.is_in_place() and os.pread(self._handle, len(_MAGIC), 0) == _MAGIC

    def is_in_place(self) -> bool:
        """Whether the path still leads to it, whatever it holds."""
        return identity_of(self._path) == self._identity

    def close(self) -> None:
        """Watch no longer."""
        os.close(self._handle)


@contextlib.contextmanager
def guarded(path: Path) -> Iterator[None]:
    """Be alone in making or putting aside the file at ``path``, among all processes of this machine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.guard").open("a") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        yield


def put_aside(path: Path, why: str = DAMAGED) -> Path:
    """Rename what lies at ``path``, and what belongs to it; returns where it lies now. Call it ``guarded``.

    The write-ahead log goes first: a new file must never meet the log of another.
    """
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    aside = path.with_name(f"{path.name}.{why}-{stamp}-{uuid.uuid4().hex[:4]}")
    for end in ("-wal", "-shm", "-journal", ""):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + end).rename(aside.with_name(aside.name + end))
    return aside


def aside_in(folder: Path) -> list[Path]:
    """What was put aside in ``folder``."""
    found = [path for why in (DAMAGED, NO_SPOOL) for path in folder.glob(f"*.{why}-*")]
    return sorted(path for path in found if not path.name.endswith(("-wal", "-shm", "-journal")))
