"""Which exploration rates each device was ordered, and since when: so that the cloud believes no claim of a rate.

Rules:
 * A rate is written when it changes for a device, before the device hears of it.
 * An agent that is away keeps the last rate that it was told, however long: the last one is never dropped.
 * Of older ones the latest 64 of a device and task are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from sqlalchemy import Engine, delete, insert, select
from sqlalchemy.exc import IntegrityError

from cloud_worker.state.schema import RATES
from cloud_worker.state.store import Device
from router.core.policy.exploration import Ordered

MOST_KEPT = 64  # of a device and task


Rates = Mapping[str, tuple[Ordered, ...]]  # by task, oldest first


class OrderedRates:
    """These rates, beside the rest of the fleet's state."""

    def __init__(self, engine: Engine) -> None:
        """Keep them in the database of ``engine``."""
        self._engine = engine

    def of(self, device: str) -> Rates:
        """What a device was told of each task; of no task where it never reported."""
        query = select(RATES.c.task, RATES.c.since, RATES.c.rate).where(RATES.c.device == device)
        found: dict[str, list[Ordered]] = {}
        with self._engine.connect() as connection:
            for task, since, rate in connection.execute(query.order_by(RATES.c.since)):
                found.setdefault(task, []).append(Ordered(since, rate))
        return {task: tuple(ordered) for task, ordered in found.items()}

    def tell(self, device: str, rates: Mapping[str, float], at: float) -> None:
        """Note what a device is about to be told.

        Args:
            device: Its name.
            rates: By task, each in [0, 1].
            at: Unix time in seconds.
        """
        known = self.of(device)
        new = {task: rate for task, rate in rates.items() if task not in known or known[task][-1].rate != rate}
        if not new:
            return
        old = [(task, ordered.since) for task in new for ordered in known.get(task, ())[: 1 - MOST_KEPT]]
        try:
            with self._engine.begin() as connection:
                rows = [{"device": device, "task": task, "since": at, "rate": rate} for task, rate in new.items()]
                connection.execute(insert(RATES), rows)
                for task, since in old:
                    mine = (
                        RATES.c.device == device,
                        RATES.c.task == task,
                        RATES.c.since == since,
                    )
                    connection.execute(delete(RATES).where(*mine))
        except IntegrityError:
            pass  # another gateway told it in the same moment

    def take_over(self, devices: Callable[[], Iterable[Device]]) -> None:
        """Begin with what devices said last, in a store of a version that noted no orders; else ask for none."""
        with self._engine.connect() as connection:
            if connection.execute(select(RATES.c.device).limit(1)).first() is not None:
                return
        said = {
            (one.id, task.task): {"since": one.first_seen, "rate": task.exploration}
            for one in devices()
            if one.report is not None
            for task in one.report.tasks
        }
        rows = [{"device": device, "task": task, **told} for (device, task), told in said.items()]
        try:
            with self._engine.begin() as connection:
                if rows:
                    connection.execute(insert(RATES), rows)
        except IntegrityError:
            pass  # another gateway does the same

    def forget(self, device: str) -> None:
        """Drop all that a device was told."""
        with self._engine.begin() as connection:
            connection.execute(delete(RATES).where(RATES.c.device == device))
