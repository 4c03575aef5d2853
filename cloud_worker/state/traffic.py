"""What devices answered lately, from the growth of what they report: so that the watch knows how much it should see.

All devices together for two days, each one alone for two hours.

Rules:
 * A device whose counters shrank has started anew: all that it reports is new. What a device reports at first contact
   was done before, for whomever, and counts for nothing.
 * Planned rows are covered queries times the lower of both exploration rates in force between two reports.
 * What is older is dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, Engine, Table, delete, func, select
from sqlalchemy.dialects.postgresql import insert as insert_in_postgresql
from sqlalchemy.dialects.sqlite import insert as insert_in_sqlite

from cloud_worker.state.schema import DEVICE_TRAFFIC, TRAFFIC
from router.core.release.orders import DeviceReport, TaskReport

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


def growth(before: TaskReport | None, now: TaskReport) -> Passed:
    """What a device did with a task between two reports; ``before`` is ``None`` where the first did not have it."""
    known = before if before is not None and before.answered <= now.answered else TaskReport(now.task)
    rate = now.exploration if known is not before else min(known.exploration, now.exploration)
    covered = max(now.covered - known.covered, 0)
    return Passed(now.answered - known.answered, covered, covered * rate)


class Traffic:
    """These figures, beside the rest of the fleet's state."""

    def __init__(self, engine: Engine) -> None:
        """Keep them in the database of ``engine``."""
        self._engine = engine
        self._swept = -1

    def add(self, before: DeviceReport | None, now: DeviceReport, at: float) -> None:
        """Count what a device did since its report ``before``, at Unix time ``at`` in seconds."""
        if before is None:
            return
        known = {task.task: task for task in before.tasks}
        grown = {task.task: growth(known.get(task.task), task) for task in now.tasks}
        slot = int(at // SLOT_SECONDS)
        together = [
            {"task": task, "slot": slot, **asdict(grown[task])} for task in sorted(grown) if grown[task].answered
        ]
        alone = [
            {"task": task, "slot": slot, "device": now.device, "planned": grown[task].planned}
            for task in sorted(grown)
            if grown[task].planned
        ]
        with self._engine.begin() as connection:  # in the order of the tasks' names: so nobody waits for each other
            self._add(connection, TRAFFIC, together)
            self._add(connection, DEVICE_TRAFFIC, alone)
            if slot > self._swept:
                connection.execute(delete(TRAFFIC).where(TRAFFIC.c.slot < slot - KEPT_SECONDS // SLOT_SECONDS))
                connection.execute(
                    delete(DEVICE_TRAFFIC).where(DEVICE_TRAFFIC.c.slot < slot - KEPT_ALONE_SECONDS // SLOT_SECONDS)
                )
        self._swept = max(slot, self._swept)

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

    def _add(self, connection: Connection, table: Table, rows: Sequence[Mapping[str, object]]) -> None:
        if not rows:
            return
        make = insert_in_postgresql if self._engine.dialect.name == "postgresql" else insert_in_sqlite
        added, keys = make(table), [column.name for column in table.primary_key]
        sums = {column.name: column + added.excluded[column.name] for column in table.c if column.name not in keys}
        connection.execute(added.on_conflict_do_update(index_elements=keys, set_=sums), rows)
