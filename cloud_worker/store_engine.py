"""The database of the fleet's state, and the one family of errors that comes out of it.

Rules:
 * Who finds it held by another waits a bounded time, and then hears so: nothing was changed.
 * A conflict of keys stays what it is: callers reckon with it.
"""

from __future__ import annotations

import logging
import sqlite3
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.engine import ExceptionContext

from cloud_worker.sqlite_files import is_damaged, is_locked
from router.errors import HeadraceError, UnavailableError

log = logging.getLogger(__name__)

BUSY_SECONDS = 5.0
_MOST_JOURNAL_BYTES = 8 * 1024 * 1024  # of SQLite's write-ahead log once its pages are in the database


def open_engine(url: str | URL) -> Engine:
    """An engine for ``url``; what fails in an SQLite file is raised as ``UnavailableError``."""
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _tune)
        event.listen(engine, "handle_error", _say)
    return engine


def _tune(connection: Any, _: object) -> None:
    try:
        connection.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000:.0f}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(f"PRAGMA journal_size_limit={_MOST_JOURNAL_BYTES}")
    except sqlite3.DatabaseError as error:
        raise _told(error) from error


def _say(context: ExceptionContext) -> None:
    error = context.original_exception
    if isinstance(error, sqlite3.OperationalError) or is_damaged(error):
        raise _told(error) from error


def _told(error: BaseException) -> HeadraceError:
    log.warning("the fleet's database fails: %s", error)
    if is_locked(error):
        return UnavailableError(
            f"another program has held the fleet's database for {BUSY_SECONDS:.0f} s; nothing was changed, try again"
        )
    if is_damaged(error):
        return UnavailableError("the fleet's database is damaged; put a copy of fleet.sqlite in its place")
    return UnavailableError(f"the fleet's database can't be used now: {error}")
