"""How much waits in the outbox, for how long, and what goes when that is too much.

Rules:
 * Rows, bytes of the file and age are bounded. Whichever bound is met first holds.
 * At a bound of rows or bytes the oldest go, or what comes is not taken (``WhenFull``). What is too old always goes.
 * What goes had its number in its task's sequence and leaves a gap, so that the cloud misses it. It is counted here
   by why it went.
 * Age errs towards keeping: it goes by the clock as it stood when the agent started, and on from there without jumps. A
   row that was written before ``FIRST_TIME`` or after now was written by a wrong clock, and counts as of now.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

FIRST_TIME = 1_750_000_000.0  # Unix seconds; no agent is older
DAY_SECONDS = 24 * 3600.0


class WhenFull(StrEnum):
    """What goes at a bound of rows or bytes."""

    DROP_OLDEST = "drop-oldest"
    DROP_NEWEST = "drop-newest"


class Why(StrEnum):
    """Why a query left the outbox untaught."""

    ROWS = "rows"  # too many waited
    BYTES = "bytes"  # they took too many bytes of the disk
    MEMORY = "memory"  # the disk took nothing, and too much waited in memory
    AGE = "age"  # it waited too long
    UNREADABLE = "unreadable"  # the disk changed it
    UNLOGGED = "unlogged"  # the next tier answered it again and again, and could not log it
    FAILED = "failed"  # the next tier failed on it again and again
    REFUSED = "refused"  # the next tier does not take it


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of one outbox.

    Attributes:
        max_rows: Most queries that wait.
        max_bytes: Most bytes of the file's pages that hold something.
        max_age_seconds: Longest that one waits.
        when_full: What goes at the first two.
    """

    max_rows: int = 10_000
    max_bytes: int = 256 * 1024 * 1024
    max_age_seconds: float = 90 * DAY_SECONDS
    when_full: WhenFull = WhenFull.DROP_OLDEST


class Row(NamedTuple):
    """A query as it is written: its id, the request with its attempt, and when it came, in Unix seconds."""

    id: str
    query: bytes
    at: float = 0.0


def steady_clock() -> Callable[[], float]:
    """Unix seconds as of now, going on without jumps, whatever is done to the clock of the machine."""
    ahead = time.time() - time.monotonic()
    return lambda: time.monotonic() + ahead


def write_within(
    database: sqlite3.Connection, rows: Sequence[Row], bounds: Bounds, now: float
) -> tuple[int, list[tuple[Why, str]]]:
    """Add rows and keep to the bounds, within the transaction that is open.

    Returns:
        How many rows wait, and why and which ids went.
    """
    dropped = _too_old(database, now - bounds.max_age_seconds)
    waiting = int(database.execute("SELECT count(*) FROM waiting").fetchone()[0])
    oldest_go = bounds.when_full is WhenFull.DROP_OLDEST
    add = "INSERT OR IGNORE INTO waiting (id, query, at) VALUES (?, ?, ?)"
    for row in rows:
        added = database.execute(add, row)
        waiting += added.rowcount
        if added.rowcount and not oldest_go and (why := _over(database, waiting, bounds)) is not None:
            waiting -= len(take_out(database, added.lastrowid or 0))
            dropped.append((why, row.id))
        while oldest_go and waiting and (why := _over(database, waiting, bounds)) is not None:
            gone = _take_oldest(database)
            waiting -= len(gone)
            dropped += [(why, name) for name in gone]
    while waiting and (why := _over(database, waiting, bounds)) is not None:  # a bound was made closer
        gone = _take_oldest(database)
        waiting -= len(gone)
        dropped += [(why, name) for name in gone]
    return waiting, dropped


def take_out(database: sqlite3.Connection, position: int) -> list[str]:
    """Take one row out; its id, where it was there."""
    return [str(name) for (name,) in database.execute("DELETE FROM waiting WHERE place = ? RETURNING id", (position,))]


def date(database: sqlite3.Connection, now: float) -> None:
    """Let rows whose time can't be right count as of now."""
    database.execute("UPDATE waiting SET at = ? WHERE at NOT BETWEEN ? AND ?", (now, FIRST_TIME, now))


def _over(database: sqlite3.Connection, waiting: int, bounds: Bounds) -> Why | None:
    if waiting > bounds.max_rows:
        return Why.ROWS
    pages, free, size = (
        int(database.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_count", "freelist_count", "page_size")
    )
    return Why.BYTES if (pages - free) * size > bounds.max_bytes else None


def _too_old(database: sqlite3.Connection, before: float) -> list[tuple[Why, str]]:
    dropped: list[tuple[Why, str]] = []
    while (oldest := database.execute("SELECT place, at FROM waiting ORDER BY place LIMIT 1").fetchone()) is not None:
        position, at = oldest
        if at >= before:
            break
        dropped += [(Why.AGE, name) for name in take_out(database, position)]
    return dropped


def _take_oldest(database: sqlite3.Connection) -> list[str]:
    (position,) = database.execute("SELECT min(place) FROM waiting").fetchone()
    return take_out(database, position)
