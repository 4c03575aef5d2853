"""Erases records from the spools, and every answer that they keep to be given again.

Rules:
 * Of kept answers nobody can tell whom they concern: all go, ten minutes of them. Who asks again is answered anew, and
   the log takes the row once, as ever.
 * A file is written anew afterwards, so that its free pages hold nothing of it.
 * What was damaged and put aside has been read by then, and can't be searched: it goes, whole.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from cloud_worker.log.erasing.concerned import Concerned
from cloud_worker.log.spool_drain import spools_in, to_salvage
from cloud_worker.log.spool_file import QUARANTINE, open_existing, transaction
from cloud_worker.log.spool_records import record_of
from cloud_worker.state.database.sqlite_files import aside_in
from router.core.domain.record import Record
from router.core.errors import UnavailableError

_BUSY_MILLISECONDS = 10_000
_TABLES = ("records", "quarantine")


def erase_in_spools(folder: Path, concerned: Concerned, told: Callable[[Sequence[Record]], None]) -> Counter[str]:
    """Erase what ``concerned`` has from all spools of ``folder``; how many records and put-aside files went.

    Args:
        folder: Of the spools.
        concerned: What is to go.
        told: Hears of records before they are gone.

    Raises:
        UnavailableError: A spool is held by another program.
    """
    counts: Counter[str] = Counter()
    for path in spools_in(folder):
        try:
            with contextlib.closing(open_existing(path, _BUSY_MILLISECONDS)) as connection:
                counts += _erase(connection, concerned, told)
        except sqlite3.Error as error:
            raise UnavailableError(f"the spool {path.name} can't be used now: {error}") from error
    waiting = to_salvage(folder)
    for path in aside_in(folder):
        if path not in waiting:
            counts["put_aside"] += drop(path)
    return counts


def hear_spools(folder: Path, concerned: Concerned, told: Callable[[Sequence[Record]], None]) -> None:
    """Tell the records that ``concerned`` has in spools; what can't be read now is told when it is erased."""
    for path in spools_in(folder):
        with contextlib.suppress(sqlite3.Error), contextlib.closing(open_existing(path, _BUSY_MILLISECONDS)) as opened:
            for table in _TABLES:
                told(_found(opened, table, concerned)[1])


def count_in_spools(folder: Path, concerned: Concerned) -> Counter[str]:
    """How many records would go."""
    counts: Counter[str] = Counter()
    for path in spools_in(folder):
        with contextlib.suppress(sqlite3.Error), contextlib.closing(open_existing(path, _BUSY_MILLISECONDS)) as opened:
            for table in _TABLES:
                counts[table] += len(_found(opened, table, concerned)[0])
    return counts


def drop(path: Path) -> int:
    """Delete a file or folder that was put aside, with what belongs to it; how many went."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
        return 1
    for end in ("-wal", "-shm", "-journal", ""):
        path.with_name(path.name + end).unlink(missing_ok=True)
    return 1


def empty_free_pages(connection: sqlite3.Connection) -> None:
    """Write a database anew, and its write-ahead log away, so that neither holds what was deleted.

    Raises:
        sqlite3.OperationalError: Another holds it.
    """
    connection.execute("VACUUM")
    busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    if busy:
        raise sqlite3.OperationalError("its write-ahead log is being read")


def _erase(
    connection: sqlite3.Connection, concerned: Concerned, told: Callable[[Sequence[Record]], None]
) -> Counter[str]:
    counts: Counter[str] = Counter()
    connection.execute(QUARANTINE)  # missing in a spool of an older version
    for table in _TABLES:
        positions, records = _found(connection, table, concerned)
        told(records)
        with transaction(connection):
            connection.executemany(f"DELETE FROM {table} WHERE position = ?", [(one,) for one in positions])
        counts[table] += len(positions)
    with transaction(connection):
        connection.execute("DELETE FROM answers")
    empty_free_pages(connection)
    return counts


def _found(connection: sqlite3.Connection, table: str, concerned: Concerned) -> tuple[list[int], list[Record]]:
    """Positions of what is to go, and its records; of what can't be read, whatever holds the name."""
    positions: list[int] = []
    records: list[Record] = []
    for position, body in connection.execute(f"SELECT position, CAST(body AS BLOB) FROM {table}"):
        try:
            record = record_of(body)
        except ValueError:
            if concerned.name.encode() in body:
                positions.append(position)
            continue
        if concerned.has(record):
            positions.append(position)
            records.append(record)
    return positions, records
