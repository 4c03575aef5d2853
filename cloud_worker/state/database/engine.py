"""The database of the fleet's state, and the one family of errors that comes out of it.

Rules:
 * Who finds it held by another waits a bounded time, and then hears so: nothing was changed.
 * A conflict of keys stays what it is: callers reckon with it.
 * Of another version's schema it is refused, also where such a file is put in the place of ours.
 * A file of SQLite's that is damaged, gone or no database of ours is put aside and made anew, by one process alone; who
   has the old one open notices before its next use, and goes on with the new one.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DisconnectionError

from cloud_worker.state.database.postgresql import open_server
from cloud_worker.state.database.revisions import check_revision, revision_of
from cloud_worker.state.database.sqlite_files import guarded, identity_of, is_damaged, is_locked, put_aside
from router.core.errors import HeadraceError, UnavailableError
from router.io.sqlite_header import mend_header, says_of_header

log = logging.getLogger(__name__)

BUSY_SECONDS = 5.0
_MOST_JOURNAL_BYTES = 8 * 1024 * 1024  # of SQLite's write-ahead log once its pages are in the database
ANEW = "the fleet's database was damaged and has been made anew; try again"
MENDED = "the header of the fleet's database was damaged, and is mended; nothing else of it was: try again"

Make = Callable[[Path], None]  # writes a new database where there is none


def open_engine(url: str | URL, make: Make | None = None) -> Engine:
    """An engine for ``url``; what fails in an SQLite file is raised as ``UnavailableError``.

    Args:
        url: Of the database.
        make: Makes the file of a database of SQLite's anew; without it a damaged one is told, and left as it is.
    """
    where = make_url(url)
    if where.get_backend_name() != "sqlite":
        return open_server(where)
    engine = create_engine(where)
    name = where.database
    if make is None or name in {None, "", ":memory:"}:
        event.listen(engine, "connect", _tune)
        event.listen(engine, "handle_error", say)
        return engine
    kept = _Kept(Path(str(name)), make)
    event.listen(engine, "do_connect", kept.connect)
    event.listen(engine, "checkout", kept.check)
    event.listen(engine, "handle_error", kept.say)
    return engine


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that writes what follows from what it reads: in SQLite nobody else writes in between.

    On a server it locks the rows that it reads (``with_for_update``).
    """
    with engine.begin() as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        yield connection


class _Kept:
    """The file of one engine, made anew where it can't be used."""

    def __init__(self, path: Path, make: Make) -> None:
        self._path = path
        self._make = make

    def connect(self, dialect: Any, record: Any, arguments: Any, named: Any) -> Any:
        """Open the file, made anew first if need be; it is looked through only when another one lies there."""
        for _ in range(2):
            identity = identity_of(self._path)
            if identity is None or not self._path.is_file() or not self._path.stat().st_size:
                self._renew(identity)
                identity = identity_of(self._path)
            try:
                connection = _checked(dialect.connect(*arguments, **named))
            except sqlite3.DatabaseError as error:
                if mend_header(self._path, error):
                    continue
                if not is_damaged(error):
                    raise told(error) from error
                connection = None
            if connection is not None:
                record.info["identity"] = identity
                return connection
            self._renew(identity)
        raise UnavailableError(ANEW)

    def check(self, _: Any, record: Any, __: Any) -> None:
        """Use no connection to a file that is not there any more."""
        if record.info.get("identity") != identity_of(self._path):
            raise DisconnectionError("the fleet's database is another file now")

    def say(self, context: ExceptionContext) -> None:
        """Tell what failed; a damaged file is made anew at once."""
        error = context.original_exception
        if context.connection is not None and (says_of_header(error) or is_damaged(error)):
            fairy = context.connection.connection
            identity = fairy.record_info["identity"] if fairy.record_info else None
            fairy.invalidate(soft=not says_of_header(error))
            if mend_header(self._path, error):
                raise UnavailableError(MENDED) from error
            if is_damaged(error):
                self._renew(identity)
                raise UnavailableError(ANEW) from error
        say(context)

    def _renew(self, damaged: Any) -> None:
        """Put the file aside if it is still the ``damaged`` one, and make another in its place."""
        try:
            with guarded(self._path):
                if identity_of(self._path) != damaged:
                    return  # another process was first
                new = self._path.with_name(f".{self._path.name}.new")
                for end in ("", "-wal", "-shm", "-journal"):
                    new.with_name(new.name + end).unlink(missing_ok=True)
                self._make(new)
                if damaged is not None or self._path.is_symlink():
                    aside = put_aside(self._path)
                    log.error("the fleet's database %s was damaged; it lies in %s now", self._path, aside.name)
                else:
                    _put_aside_rests(self._path)
                new.rename(self._path)
        except OSError as error:
            log.warning("the fleet's database fails: %s", error)
            raise UnavailableError(f"the fleet's database can't be made: {error.strerror}") from error


def _put_aside_rests(path: Path) -> None:
    """Keep the write-ahead log of a database that is gone away from the next one."""
    if any(path.with_name(path.name + end).exists() for end in ("-wal", "-journal")):
        put_aside(path)
    path.with_name(path.name + "-shm").unlink(missing_ok=True)


def is_ours(connection: Any) -> bool:
    """Whether a database holds the state of a fleet, and all of it can be read."""
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'tasks'").fetchone() is None:
        return False
    return bool(connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))


def revision_in(connection: Any) -> str | None:
    """The revision of the schema in an SQLite database."""
    return revision_of(lambda statement: connection.execute(statement).fetchone(), "sqlite")


def _checked(connection: Any) -> Any:
    """A connection to a database of ours, all of which can be read; ``None`` if it is none. It is closed otherwise."""
    is_good = False
    try:
        _set(connection)
        if is_ours(connection):
            check_revision(revision_in(connection))
            is_good = True
    finally:
        if not is_good:
            connection.close()
    return connection if is_good else None


def _tune(connection: Any, _: object) -> None:
    try:
        _set(connection)
    except sqlite3.DatabaseError as error:
        raise told(error) from error


def _set(connection: Any) -> None:
    connection.text_factory = as_text  # one value that a disk has spoilt is no reason to read none
    connection.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000:.0f}")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute(f"PRAGMA journal_size_limit={_MOST_JOURNAL_BYTES}")


def as_text(data: bytes) -> str:
    """A text as the database holds it, with what is none replaced."""
    return data.decode(errors="replace")


def say(context: ExceptionContext) -> None:
    """Raise what failed in an SQLite file as ours."""
    error = context.original_exception
    if isinstance(error, sqlite3.OperationalError) or is_damaged(error):
        raise told(error) from error


def told(error: BaseException) -> HeadraceError:
    """What an error of SQLite's means, in words."""
    log.warning("the fleet's database fails: %s", error)
    if is_locked(error):
        return UnavailableError(
            f"another program has held the fleet's database for {BUSY_SECONDS:.0f} s; nothing was changed, try again"
        )
    if is_damaged(error):
        return UnavailableError("the fleet's database is damaged; put a copy of fleet.sqlite in its place")
    return UnavailableError(f"the fleet's database can't be used now: {error}")
