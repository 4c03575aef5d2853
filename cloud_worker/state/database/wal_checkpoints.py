"""Keeps the write-ahead log of an SQLite store short: what it holds goes into the database now and then.

SQLite does so by itself after a thousand pages, unless somebody reads in that moment; with a fleet that reports all the
time somebody always does. Whoever calls this waits for readers, though not for long.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

EVERY_SECONDS = 30.0
LONGEST_WAIT_MILLISECONDS = 500
LEAST_BYTES = 4 * 1024 * 1024


class Checkpoints:
    """The checkpoints of one store's write-ahead log. A store that is no SQLite file needs none."""

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.monotonic) -> None:
        """Keep the log of ``engine``'s database short; ``clock`` tells seconds."""
        self._engine = engine
        self._clock = clock
        self._last = clock()
        is_file = engine.dialect.name == "sqlite" and bool(engine.url.database)
        self._journal = Path(f"{engine.url.database}-wal") if is_file else None

    def check(self) -> None:
        """Bring a long log into the database, if it is time; where somebody is in the way the next look does."""
        if self._journal is None or self._clock() - self._last < EVERY_SECONDS:
            return
        self._last = self._clock()
        if not self._journal.is_file() or self._journal.stat().st_size < LEAST_BYTES:
            return
        with self._engine.connect() as connection:
            waited = connection.exec_driver_sql("PRAGMA busy_timeout").scalar()
            connection.exec_driver_sql(f"PRAGMA busy_timeout={LONGEST_WAIT_MILLISECONDS}")
            try:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            except OperationalError:  # somebody writes
                pass
            finally:
                connection.exec_driver_sql(f"PRAGMA busy_timeout={waited}")
