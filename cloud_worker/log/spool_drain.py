"""The log writer's end of a spool, and what all spools of a folder hold.

Rules:
 * A record that can't be written to the log is kept in quarantine, with the reason; nothing else waits for it.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from cloud_worker.log.spool_file import QUARANTINE, bytes_used, give_back, open_existing, transaction
from cloud_worker.log.spool_records import record_of
from cloud_worker.state.database.sqlite_files import aside_in, identity_of
from router.core.domain.record import Record

MOST_BYTES_READ = 64 * 1024 * 1024
_BUSY_MILLISECONDS = 5_000
_PAGES_GIVEN_BACK = 2_000  # 8 MB, some milliseconds
_PAGES_KEPT_FREE = 1_000
_SALVAGED = ".salvaged"
_LONGEST_REASON = 300

Row = tuple[int, Record]


@dataclass(frozen=True, slots=True)
class Spooled:
    """What the spools of a folder hold.

    Attributes:
        pending: Records that wait for the log.
        quarantined: Records that can't be written to it.
        unreadable: Spools that can't be read now.
        put_aside: Names of files that were damaged, or no spools.
        bytes: In use, of all of them.
    """

    pending: int = 0
    quarantined: int = 0
    unreadable: int = 0
    put_aside: tuple[str, ...] = ()
    bytes: int = 0


class SpoolDrain:
    """Reads the records of one spool, and takes them out of it."""

    def __init__(self, path: Path) -> None:
        """Open the file at ``path``, which a gateway has made; ``sqlite3.Error`` if it is no spool."""
        self._path = path
        self._identity = identity_of(path)
        self._connection = open_existing(path, _BUSY_MILLISECONDS)
        self.id = str(self._connection.execute("SELECT id FROM identity").fetchone()[0])
        self.is_full = False  # the last reading left something behind

    def is_there(self) -> bool:
        """Whether the path still leads to the file that is open here."""
        return identity_of(self._path) == self._identity

    def read(self, most: int, most_bytes: int = MOST_BYTES_READ) -> list[Row]:
        """The oldest records that can be read, at most ``most``, each with its position; others go to quarantine."""
        rows: list[Row] = []
        found: list[tuple[int, str]] = []
        size = seen = 0
        query = "SELECT position, CAST(body AS BLOB) FROM records ORDER BY position LIMIT ?"
        for position, body in self._connection.execute(query, (most,)):
            seen, size = seen + 1, size + len(body)
            try:
                rows.append((position, record_of(body)))
            except ValueError as error:
                said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
                found.append((position, f"can't be read: {said}"))
            if size >= most_bytes:
                break
        self.is_full = seen >= most or size >= most_bytes
        if found:
            self.quarantine(found)
        return rows if rows or not found or not self.is_full else self.read(most, most_bytes)

    def quarantine(self, found: Sequence[tuple[int, str]]) -> None:
        """Set records aside that can't be written to the log, by their positions, each with the reason."""
        with transaction(self._connection):
            self._connection.execute(QUARANTINE)  # missing in a spool of an older version
            self._connection.executemany(
                "INSERT OR REPLACE INTO quarantine SELECT position, body, ?, ? FROM records WHERE position = ?",
                [(why[:_LONGEST_REASON], time.time(), position) for position, why in found],
            )
            self._connection.executemany(
                "DELETE FROM records WHERE position = ?", [(position,) for position, _ in found]
            )

    def quarantined(self) -> int:
        """How many records can't be written to the log."""
        known = "SELECT count(*) FROM sqlite_master WHERE name = 'quarantine'"
        if not self._connection.execute(known).fetchone()[0]:
            return 0
        return int(self._connection.execute("SELECT count(*) FROM quarantine").fetchone()[0])

    def remove(self, last: int) -> None:
        """Forget every record up to the position ``last``: the log has them."""
        with transaction(self._connection):
            self._connection.execute("DELETE FROM records WHERE position <= ?", (last,))
        give_back(self._connection, _PAGES_GIVEN_BACK, _PAGES_KEPT_FREE)

    def pending(self) -> int:
        """How many records wait for the log."""
        return int(self._connection.execute("SELECT count(*) FROM records").fetchone()[0])

    def bytes_used(self) -> int:
        """The part of the file that is in use, in bytes."""
        return bytes_used(self._connection)

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(sqlite3.Error):  # a checkpoint into a damaged file
            self._connection.close()


def spools_in(folder: Path) -> list[Path]:
    """The spools in ``folder``, also those of gateways that no longer run."""
    return sorted(path for path in folder.glob("*.sqlite") if path.is_file())


def spooled_in(folder: Path) -> Spooled:
    """What all spools of ``folder`` hold."""
    found = Spooled(put_aside=tuple(path.name for path in aside_in(folder)))
    pending = quarantined = unreadable = used = 0
    for path in spools_in(folder):
        try:
            with contextlib.closing(SpoolDrain(path)) as drain:
                pending, quarantined = pending + drain.pending(), quarantined + drain.quarantined()
                used += drain.bytes_used()
        except sqlite3.Error:
            unreadable += 1
    return Spooled(pending, quarantined, unreadable, found.put_aside, used)


def pending_in(folder: Path) -> int:
    """How many records wait in all spools of ``folder``."""
    return spooled_in(folder).pending


def to_salvage(folder: Path) -> list[Path]:
    """Damaged spools that nobody has read yet."""
    return [path for path in aside_in(folder) if path.is_file() and not path.name.endswith(_SALVAGED)]


def salvaged(path: Path) -> None:
    """Remember that a damaged spool has been read."""
    for end in ("-wal", "-shm", ""):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + end).rename(path.with_name(path.name + _SALVAGED + end))


def read_damaged(path: Path) -> list[Row]:
    """The records that a damaged file still gives, from its beginning and from its end, by their positions."""
    rows: dict[int, Record] = {}
    for order in ("ASC", "DESC"):
        with (
            contextlib.suppress(sqlite3.Error),
            contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection,
        ):
            query = f"SELECT position, CAST(body AS BLOB) FROM records ORDER BY position {order}"
            for position, body in connection.execute(query):
                if position in rows:
                    break
                with contextlib.suppress(ValueError):
                    rows[position] = record_of(body)
    return sorted(rows.items())
