"""Which exploration rates each device was ordered, and since when: so that the cloud believes no claim of a rate.

Rules:
 * A rate is written when it changes for a device, before the device hears of it.
 * An agent that is away keeps the last rate that it was told, however long: the last one is never dropped.
 * Of older ones the latest 64 of a device and task are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from sqlalchemy import Engine, delete, func, insert, select
from sqlalchemy.exc import IntegrityError

from cloud_worker.state.schema import RATES
from cloud_worker.state.store import Device
from cloud_worker.state.tallies import insert_in
from router.core.policy.exploration import Ordered

MOST_KEPT = 64  # of a device and task


Rates = Mapping[str, tuple[Ordered, ...]]  # by task, oldest first


class OrderedRates:
    """The exploration rates that devices were ordered, in the database of the fleet's state."""

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
        self.tell_all({device: rates}, {device: at})

    def tell_all(self, rates: Mapping[str, Mapping[str, float]], at: Mapping[str, float]) -> None:
        """Note what some devices are about to be told.

        Args:
            rates: By device and task, each in [0, 1].
            at: Unix time in seconds, by device.
        """
        known = self._last(rates)
        new = [
            {"device": device, "task": task, "since": at[device], "rate": rate}
            for device, told in sorted(rates.items())
            for task, rate in sorted(told.items())
            if (device, task) not in known or known[device, task][0] != rate
        ]
        if not new:
            return
        with self._engine.begin() as connection:
            # Another gateway may have told one in the same moment: that one alone stays as it is.
            connection.execute(insert_in(connection.dialect.name)(RATES).on_conflict_do_nothing(), new)
        for row in new:
            device, task = str(row["device"]), str(row["task"])
            if known.get((device, task), (0.0, 0))[1] >= MOST_KEPT:
                self._drop_old(device, task)

    def _last(self, devices: Iterable[str]) -> dict[tuple[str, str], tuple[float, int]]:
        """The last rate that each device was told of each task, and how many are kept."""
        mine = RATES.c.device.in_([*devices])
        count, since = func.count().label("kept"), func.max(RATES.c.since).label("since")
        last = select(RATES.c.device, RATES.c.task, since, count).where(mine).group_by(RATES.c.device, RATES.c.task)
        found = last.subquery()
        same = (RATES.c.device == found.c.device) & (RATES.c.task == found.c.task) & (RATES.c.since == found.c.since)
        query = select(RATES.c.device, RATES.c.task, RATES.c.rate, found.c.kept).join(found, same)
        with self._engine.connect() as connection:
            return {(row.device, row.task): (row.rate, row.kept) for row in connection.execute(query)}

    def _drop_old(self, device: str, task: str) -> None:
        """Keep the latest rates of a device and task."""
        mine = (RATES.c.device == device, RATES.c.task == task)
        kept = select(RATES.c.since).where(*mine).order_by(RATES.c.since.desc()).limit(MOST_KEPT)
        with self._engine.begin() as connection:
            oldest = min(connection.execute(kept).scalars())
            connection.execute(delete(RATES).where(*mine, RATES.c.since < oldest))

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
