"""When a task's watch was blind: what was asked then certifies nothing, also after a restart."""

from __future__ import annotations

import math

from sqlalchemy import Engine, insert, select, update

from cloud_worker.state.schema import BLIND


class BlindSpans:
    """The times at which the watch was blind, in the database of the fleet's state."""

    def __init__(self, engine: Engine) -> None:
        """Keep them in the database of ``engine``."""
        self._engine = engine

    def begin(self, task: str, at: float) -> None:
        """Blind since Unix time ``at`` in seconds; nothing where it is blind already."""
        if self._lasts(task):
            return
        with self._engine.begin() as connection:
            connection.execute(insert(BLIND).values(task=task, began=at, ended=None))

    def end(self, task: str, at: float) -> None:
        """Blind until Unix time ``at`` in seconds; nothing where it is not blind."""
        if not self._lasts(task):
            return
        with self._engine.begin() as connection:
            connection.execute(update(BLIND).where(BLIND.c.task == task, BLIND.c.ended.is_(None)).values(ended=at))

    def _lasts(self, task: str) -> bool:
        return any(math.isinf(ended) for _, ended in self.of(task))

    def of(self, task: str) -> tuple[tuple[float, float], ...]:
        """The times from when until when, in Unix seconds, oldest first; the end is infinite while it lasts."""
        query = select(BLIND.c.began, BLIND.c.ended).where(BLIND.c.task == task).order_by(BLIND.c.began)
        with self._engine.connect() as connection:
            spans = connection.execute(query).all()
        return tuple((row.began, math.inf if row.ended is None else row.ended) for row in spans)
