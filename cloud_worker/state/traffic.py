"""What devices answered lately, from the growth of what they report: so that the watch knows how much it should see.

All devices together for two days, each one alone for two hours.

Rules:
 * A device whose counters shrank has started anew: all that it reports is new. What a device reports at first contact
   was done before, for whomever, and counts for nothing.
 * Planned rows are covered queries times the lower of both exploration rates in force between two reports.
 * What is older is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, Engine, Table, delete, func, select

from cloud_worker.state.schema import DEVICE_TRAFFIC, TRAFFIC
from cloud_worker.state.tallies import insert_in
from router.core.release.reports import DeviceReport, TaskReport

SLOT_SECONDS = 60
KEPT_SECONDS = 2 * 86_400
KEPT_ALONE_SECONDS = 2 * 3600


@dataclass(frozen=True, slots=True)
class Passed:
    """Queries of a time.

    Attributes:
        answered: Of all kinds.
        covered: Of them, those under the promise.
        planned: Explored rows that the covered ones should give.
    """

    answered: int = 0
    covered: int = 0
    planned: float = 0.0

    def __add__(self, other: Passed) -> Passed:
        """Both together."""
        return Passed(self.answered + other.answered, self.covered + other.covered, self.planned + other.planned)


@dataclass(frozen=True, slots=True)
class Told:
    """A report ``now`` of a device beside its one ``before``, if any, and the Unix time in seconds when it came."""

    before: DeviceReport | None
    now: DeviceReport
    at: float


def growth(before: TaskReport | None, now: TaskReport) -> Passed:
    """What a device did with a task between two reports; ``before`` is ``None`` where the first did not have it."""
    known = before if before is not None and before.answered <= now.answered else TaskReport(now.task)
    rate = now.exploration if known is not before else min(known.exploration, now.exploration)
    covered = max(now.covered - known.covered, 0)
    return Passed(now.answered - known.answered, covered, covered * rate)


class Traffic:
    """The traffic of every task, in the database of the fleet's state."""

    def __init__(self, engine: Engine) -> None:
        """Keep them in the database of ``engine``."""
        self._engine = engine
        self._swept = -1

    def add(self, before: DeviceReport | None, now: DeviceReport, at: float) -> None:
        """Count what a device did since its report ``before``, at Unix time ``at`` in seconds."""
        with self._engine.begin() as connection:
            self.count(connection, [Told(before, now, at)])

    def count(self, connection: Connection, told: Iterable[Told]) -> None:
        """Count what devices did since their reports before, in a transaction of the caller's."""
        together: dict[tuple[str, int], Passed] = {}
        alone: dict[tuple[str, int, str], float] = {}
        last = self._swept
        for one in told:
            if one.before is None:
                continue
            known, slot = {task.task: task for task in one.before.tasks}, int(one.at // SLOT_SECONDS)
            last = max(slot, last)
            for task in one.now.tasks:
                grown, key = growth(known.get(task.task), task), (task.task, slot)
                if grown.answered:
                    together[key] = together.get(key, Passed()) + grown
                if grown.planned:
                    mine = (*key, one.now.device)
                    alone[mine] = alone.get(mine, 0.0) + grown.planned
        # In the order of the tasks' names: so that two gateways never wait for each other.
        _add(connection, TRAFFIC, [_row(key) | asdict(together[key]) for key in sorted(together)])
        _add(connection, DEVICE_TRAFFIC, [_row(key) | {"planned": alone[key]} for key in sorted(alone)])
        if last > self._swept:
            connection.execute(delete(TRAFFIC).where(TRAFFIC.c.slot < last - KEPT_SECONDS // SLOT_SECONDS))
            old = DEVICE_TRAFFIC.c.slot < last - KEPT_ALONE_SECONDS // SLOT_SECONDS
            connection.execute(delete(DEVICE_TRAFFIC).where(old))
        self._swept = last

    def between(self, task: str, first: float, last: float) -> Passed:
        """What passed from Unix time ``first`` to ``last`` in seconds, in whole minutes."""
        columns = TRAFFIC.c
        sums = (func.sum(columns.answered), func.sum(columns.covered), func.sum(columns.planned))
        where = (columns.task == task, columns.slot >= first // SLOT_SECONDS, columns.slot < last // SLOT_SECONDS)
        with self._engine.connect() as connection:
            answered, covered, planned = connection.execute(select(*sums).where(*where)).one()
        return Passed(int(answered or 0), int(covered or 0), float(planned or 0.0))

    def planned(self, task: str, first: float, last: float) -> dict[str, float]:
        """Explored rows that each device's queries of a time should have given; see ``between``."""
        columns = DEVICE_TRAFFIC.c
        where = (columns.task == task, columns.slot >= first // SLOT_SECONDS, columns.slot < last // SLOT_SECONDS)
        query = select(columns.device, func.sum(columns.planned)).where(*where).group_by(columns.device)
        with self._engine.connect() as connection:
            return {device: float(planned) for device, planned in connection.execute(query)}


def _row(key: Sequence[object]) -> dict[str, object]:
    return dict(zip(("task", "slot", "device"), key, strict=False))


def _add(connection: Connection, table: Table, rows: Sequence[Mapping[str, object]]) -> None:
    if not rows:
        return
    added, keys = insert_in(connection.dialect.name)(table), [column.name for column in table.primary_key]
    sums = {column.name: column + added.excluded[column.name] for column in table.c if column.name not in keys}
    connection.execute(added.on_conflict_do_update(index_elements=keys, set_=sums), rows)
