"""The database of the fleet's state, and the one family of errors that comes out of it.

Rules:
 * Who finds it held by another waits a bounded time, and then hears so: nothing was changed.
 * A conflict of keys stays what it is: callers reckon with it.
 * A file of SQLite's that is damaged, gone or no database of ours is put aside and made anew, by one process alone; who
   has the old one open notices before its next use, and goes on with the new one.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import URL, Engine, Table, create_engine, event, make_url
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.schema import CreateIndex, CreateTable

from cloud_worker.state.sqlite_files import guarded, identity_of, is_damaged, is_locked, put_aside
from router.core.errors import HeadraceError, UnavailableError

log = logging.getLogger(__name__)

BUSY_SECONDS = 5.0
_MOST_JOURNAL_BYTES = 8 * 1024 * 1024  # of SQLite's write-ahead log once its pages are in the database
ANEW = "the fleet's database was damaged and has been made anew; try again"

Make = Callable[[Path], None]  # writes a new database where there is none

_MADE: WeakKeyDictionary[Engine, set[str]] = WeakKeyDictionary()  # names of tables that were made, or were there


def open_engine(url: str | URL, make: Make | None = None) -> Engine:
    """An engine for ``url``; what fails in an SQLite file is raised as ``UnavailableError``.

    Args:
        url: Of the database.
        make: Makes the file of a database of SQLite's anew; without it a damaged one is told, and left as it is.
    """
    engine = create_engine(url)
    if engine.dialect.name != "sqlite":
        return engine
    name = make_url(url).database
    if make is None or name in {None, "", ":memory:"}:
        event.listen(engine, "connect", _tune)
        event.listen(engine, "handle_error", say)
        return engine
    kept = _Kept(Path(str(name)), make)
    event.listen(engine, "do_connect", kept.connect)
    event.listen(engine, "checkout", kept.check)
    event.listen(engine, "after_execute", kept.remember)
    event.listen(engine, "handle_error", kept.say)
    return engine


def make_tables(engine: Engine, tables: Iterable[Table]) -> None:
    """Make the tables that are missing in the store behind ``engine``; asked again, it costs nothing."""
    made = _MADE.setdefault(engine, set())
    missing = [table for table in tables if table.name not in made]
    if missing:
        with engine.begin() as connection:
            for table in missing:
                connection.execute(CreateTable(table, if_not_exists=True))
        made.update(table.name for table in missing)


class _Kept:
    """The file of one engine, made anew where it can't be used."""

    def __init__(self, path: Path, make: Make) -> None:
        self._path = path
        self._make = make
        self._tables: dict[str, str] = {}  # what this process has made in it, which a new one needs, too

    def connect(self, dialect: Any, record: Any, arguments: Any, named: Any) -> Any:
        """Open the file, made anew first if need be; it is looked through only when another one lies there."""
        for _ in range(2):
            identity = identity_of(self._path)
            if identity is None or not self._path.is_file() or not self._path.stat().st_size:
                self._renew(identity)
                identity = identity_of(self._path)
            connection = None
            try:
                connection = dialect.connect(*arguments, **named)
                _set(connection)
                if is_ours(connection):
                    for made in self._tables.values():
                        connection.execute(made)
                    connection.commit()
                    record.info["identity"] = identity
                    return connection
            except sqlite3.DatabaseError as error:
                if not is_damaged(error):
                    if connection is not None:
                        connection.close()
                    raise told(error) from error
            if connection is not None:
                connection.close()
            self._renew(identity)
        raise UnavailableError(ANEW)

    def check(self, _: Any, record: Any, __: Any) -> None:
        """Use no connection to a file that is not there any more."""
        if record.info.get("identity") != identity_of(self._path):
            raise DisconnectionError("the fleet's database is another file now")

    def remember(self, connection: Any, statement: Any, *_: Any) -> None:
        """Keep what makes a table, for the file that may come after this one."""
        if isinstance(statement, (CreateTable, CreateIndex)):
            made = str(statement.compile(dialect=connection.dialect))
            self._tables[made] = made

    def say(self, context: ExceptionContext) -> None:
        """Tell what failed; a damaged file is made anew at once."""
        error = context.original_exception
        if is_damaged(error) and context.connection is not None:
            fairy = context.connection.connection
            self._renew(fairy.record_info["identity"] if fairy.record_info else None)
            fairy.invalidate(soft=True)
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
