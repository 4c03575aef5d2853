"""Two bytes of an SQLite file's header that a disk may spoil, and that the file itself tells how to set right.

Bytes 18 and 19 are the versions of the format for writing and for reading: 1 and 1, or 2 and 2 with a write-ahead log
(sqlite.org/fileformat2.html, 1.3.3). Where one of them is anything else, SQLite holds a sound file to be read-only, or
no database at all.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from pathlib import Path

log = logging.getLogger(__name__)

_MAGIC = b"SQLite format 3\0"
_VERSIONS = {1, 2}
_FIRST = 18
_PRIMARY = 0xFF  # an extended result code holds the primary one in its low byte
_SAID_OF_IT = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_NOTADB}


def says_of_header(error: BaseException) -> bool:
    """Whether SQLite says what it says of such a file."""
    return getattr(error, "sqlite_errorcode", 0) & _PRIMARY in _SAID_OF_IT


def mend_header(path: Path, error: BaseException) -> bool:
    """Set the versions of the file at ``path`` right, if that is why it failed; whether there was something to mend.

    Close this process's connections to the file first: opening it here drops the locks that they hold (POSIX).

    Args:
        path: The database.
        error: What SQLite said.
    """
    if not says_of_header(error):
        return False
    try:
        with path.open("r+b") as file:
            header = file.read(_FIRST + 2)
            told = set(header[_FIRST:])
            if not header.startswith(_MAGIC) or len(told) != len(_VERSIONS) or not told & _VERSIONS:
                return False
            file.seek(_FIRST)
            file.write(bytes([max(told & _VERSIONS)] * 2))
            file.flush()
            os.fsync(file.fileno())
    except OSError:  # it is the disk that is read-only, or no file
        return False
    log.error("the header of %s was damaged, and is mended: nothing else of it was; look at the disk", path)
    return True
