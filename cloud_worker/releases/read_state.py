"""The fleet's database opened to look at: a command that only tells needs no room, no lock and no right to write.

Rules:
 * The file is never changed, made or put aside: one that is damaged is told, for ``open_store`` to mend.
 * One of an older version is refused, and told what brings it to this one.
 * What others commit meanwhile is seen.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.pool import StaticPool

from cloud_worker.state.database.engine import BUSY_SECONDS, as_text, is_ours, say, told
from cloud_worker.state.database.sqlite_files import is_damaged, is_locked


class DamagedStoreError(Exception):
    """The file is damaged, or no database of ours. Never leaves this package."""


def open_to_read(path: Path) -> Engine:
    """An engine over the file at ``path``, for one thread.

    Raises:
        DamagedStoreError: It can't be read as it is.
        UnavailableError: Another holds it, or its disk or its rights forbid to open it.
    """
    connection = _opened(path)
    engine = create_engine(URL.create("sqlite", database=str(path)), poolclass=StaticPool)
    event.listen(engine, "do_connect", lambda *_: connection)
    event.listen(engine, "handle_error", say)
    return engine


def _opened(path: Path) -> sqlite3.Connection:
    """A connection by the first way that works."""
    if not path.is_file() or not path.stat().st_size:
        raise DamagedStoreError
    failed: sqlite3.Error | None = None  # beside whoever writes: the other ways tell less
    for way, settings in _ways(path):
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?{way}", uri=True, check_same_thread=False)
        connection.text_factory = as_text
        try:
            for setting in (f"busy_timeout={BUSY_SECONDS * 1000:.0f}", "temp_store=MEMORY", *settings):
                connection.execute(f"PRAGMA {setting}")
            if is_ours(connection):
                return connection
        except sqlite3.Error as error:
            connection.close()
            if is_damaged(error):
                raise DamagedStoreError from error
            failed = failed or error
            if is_locked(failed):
                break
        else:
            connection.close()
            raise DamagedStoreError
    assert failed is not None
    raise told(failed) from failed


def _ways(path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Ways to open it, each with settings: beside whoever writes, then those that need no new file on a full disk."""
    yield "mode=ro", ()
    log = path.with_name(path.name + "-wal")
    if not log.exists() or not log.stat().st_size:
        yield "mode=ro&immutable=1", ()
    yield "mode=rw", ("locking_mode=EXCLUSIVE",)  # its index of the log lies in memory: sqlite.org/wal.html#noshm
