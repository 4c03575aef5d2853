"""Which devices are in quarantine, of which task: they escalate everything, and what they gave says nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, delete, insert, select, update

from cloud_worker.state.database.engine import writing
from cloud_worker.state.schema import QUARANTINES
from router.core.certification.device_quarantine import Apart

REMEDY = (
    "it keeps answers again once its own queries prove the promise under a release that serves, "
    "or after `headrace-cloud devices take-back`"
)


@dataclass(frozen=True, slots=True)
class Quarantine:
    """One that lasts.

    Attributes:
        task: Of which task.
        device: Of which device.
        since: Unix time in seconds.
        why: In words.
    """

    task: str
    device: str
    since: float
    why: str


class Quarantines:
    """The quarantines of the devices of one fleet, in the database of its state."""

    def __init__(self, engine: Engine) -> None:
        """Keep them in the database of ``engine``."""
        self._engine = engine

    def begin(self, task: str, device: str, since: float, why: str) -> bool:
        """Set a device apart from Unix time ``since`` in seconds on. Whether it was not apart already."""
        mine = (QUARANTINES.c.task == task, QUARANTINES.c.device == device)
        with writing(self._engine) as connection:
            known = connection.execute(select(QUARANTINES).where(*mine).with_for_update()).first()
            is_new = known is None or known.until is not None
            if is_new:
                connection.execute(delete(QUARANTINES).where(*mine))
                values = {"task": task, "device": device, "since": since, "until": None, "why": why}
                connection.execute(insert(QUARANTINES).values(**values))
        return is_new

    def end(self, task: str, device: str, until: float) -> bool:
        """Take a device back, and return whether it was apart: what it gave until Unix time ``until`` says nothing."""
        mine = (QUARANTINES.c.task == task, QUARANTINES.c.device == device, QUARANTINES.c.until.is_(None))
        with self._engine.begin() as connection:
            return bool(connection.execute(update(QUARANTINES).where(*mine).values(until=until)).rowcount)

    def of(self, task: str) -> dict[str, Apart]:
        """When each device of a task was in quarantine last."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(QUARANTINES).where(QUARANTINES.c.task == task)).all()
        return {row.device: Apart(row.since, math.inf if row.until is None else row.until) for row in rows}

    def tasks_of(self, device: str) -> frozenset[str]:
        """The tasks of which a device is in quarantine."""
        return self.tasks_of_all([device]).get(device, frozenset())

    def tasks_of_all(self, devices: Iterable[str]) -> dict[str, frozenset[str]]:
        """The tasks of which each of some devices is in quarantine; none of those that are not."""
        mine = (QUARANTINES.c.device.in_([*devices]), QUARANTINES.c.until.is_(None))
        found: dict[str, set[str]] = {}
        with self._engine.connect() as connection:
            for device, task in connection.execute(select(QUARANTINES.c.device, QUARANTINES.c.task).where(*mine)):
                found.setdefault(device, set()).add(task)
        return {device: frozenset(tasks) for device, tasks in found.items()}

    def lasting(self) -> list[Quarantine]:
        """The quarantines that last, by device and task."""
        query = select(QUARANTINES).where(QUARANTINES.c.until.is_(None))
        order = (QUARANTINES.c.device, QUARANTINES.c.task)
        with self._engine.connect() as connection:
            return [_quarantine(row) for row in connection.execute(query.order_by(*order))]


def _quarantine(row: Any) -> Quarantine:
    return Quarantine(row.task, row.device, row.since, row.why)
