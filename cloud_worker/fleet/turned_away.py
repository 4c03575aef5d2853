"""What the fleet's door did not take, kept so that ``status`` can tell: how often, and of whom last.

Rules:
 * Two rows, whoever comes however often: names are made up freely.
 * What is turned away is written down once a second at most; a kill forgets what came since.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Engine, insert, select, update

from cloud_worker.state.schema import TURNED_AWAY
from router.core.visible_text import in_line

WRITE_SECONDS = 1.0
_MOST_SHOWN = 64  # characters of a name


class What(StrEnum):
    """What was turned away."""

    DEVICE = "devices"  # a report of whoever may not join
    TASK = "tasks"  # a part of a report on a task that nobody declared


@dataclass(frozen=True, slots=True)
class Turned:
    """How often, the name and the reason of the last one, and its Unix time in seconds."""

    times: int = 0
    last: str = ""
    at: float = 0.0
    why: str = ""


class TurnedAway:
    """The callers that one fleet's gateways turned away, in the database of its state."""

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.time) -> None:
        """Keep it in the database of ``engine``; ``clock`` tells Unix time in seconds."""
        self._engine, self._clock = engine, clock
        self._lock = threading.Lock()
        self._waiting: dict[What, Turned] = {}
        self._written_at = 0.0

    def add(self, what: What, name: str, why: str = "", times: int = 1) -> None:
        """Count what was turned away ``times``; the last of them had this name."""
        with self._lock:
            now = self._clock()
            known = self._waiting.get(what, Turned())
            told = Turned(known.times + times, in_line(name, _MOST_SHOWN), now, in_line(why, _MOST_SHOWN * 2))
            self._waiting[what] = told
            if now - self._written_at >= WRITE_SECONDS:
                self._write(now)

    def all(self) -> dict[str, Turned]:
        """Everything that was written down, by what it is."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(TURNED_AWAY)).all()
        known = {row.what: Turned(row.times, row.last, row.at, row.why) for row in rows}
        return {what.value: known.get(what.value, Turned()) for what in What}

    def flush(self) -> None:
        """Write down what waits, if a second has passed."""
        with self._lock:
            now = self._clock()
            if self._waiting and now - self._written_at >= WRITE_SECONDS:
                self._write(now)

    def _write(self, now: float) -> None:
        with self._engine.begin() as connection:
            for what, turned in self._waiting.items():
                row, columns = (TURNED_AWAY.c.what == what.value), TURNED_AWAY.c
                values = {"last": turned.last, "at": turned.at, "why": turned.why}
                more = update(TURNED_AWAY).where(row).values(times=columns.times + turned.times, **values)
                if not connection.execute(more).rowcount:
                    connection.execute(insert(TURNED_AWAY).values(what=what.value, times=turned.times, **values))
        self._waiting, self._written_at = {}, now


def turned_lines(turned: dict[str, dict[str, object]], now: float) -> list[str]:
    """What ``status`` says of it, one short line each; nothing where nothing was turned away."""
    lines = []
    for what, words in ((What.DEVICE, "refused reports of devices"), (What.TASK, "reports on tasks nobody declared")):
        told = turned.get(what.value) or {}
        if told.get("times"):
            age = f"{max(now - float(str(told['at'])), 0.0):,.0f} s ago"
            why = f"; {told['why']}" if told["why"] else ""
            lines.append(f"turned away: {told['times']:,} {words}, the last of {told['last']!r} {age}{why}")
    return lines
