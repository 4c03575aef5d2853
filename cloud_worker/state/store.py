"""Fleet state in SQL: tasks, devices, releases, and which rows have certified.

Rules:
 * Several processes use it at once; every change is one short transaction.
 * Release numbers only grow and are never reused.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import URL, Connection, Engine, bindparam, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from cloud_worker.state import tallies
from cloud_worker.state.attempts import Left, come_back, leave
from cloud_worker.state.columns import read_as
from cloud_worker.state.database.engine import Make, open_engine, writing
from cloud_worker.state.database.revisions import make_schema, migrate
from cloud_worker.state.rows import Device, ReleaseRow, TaskState
from cloud_worker.state.schema import DEVICES, LOSSES, RELEASES, SPENT, TASKS
from cloud_worker.state.states import Phase, ReleaseState
from router.core.domain.task import Mode, Task
from router.core.policy.exploration import SEED_BYTES
from router.core.release.orders import Watch
from router.core.release.reports import DeviceReport

__all__ = ["Device", "ReleaseRow", "Store", "TaskState", "migrate_store"]

_REPORT = TypeAdapter(DeviceReport)


class Store:
    """Fleet state behind an SQLAlchemy URL."""

    def __init__(self, url: str | URL, make: Make | None = None) -> None:
        """Open the database at ``url``, made if it is empty; ``make`` makes a damaged file anew.

        Raises:
            OperatorError: It is of another version of Headrace.
        """
        self._engine = open_engine(url, make)
        make_schema(self._engine)

    @classmethod
    def of(cls, engine: Engine) -> Store:
        """The store in an engine's database; as a new one otherwise."""
        store = cls.__new__(cls)
        store._engine = engine
        make_schema(engine)
        return store

    @property
    def engine(self) -> Engine:
        """The engine of the database, for what keeps its own tables there."""
        return self._engine

    def declare_tasks(self, tasks: Iterable[Task]) -> None:
        """Make the state of tasks that have none; another version begins a lineage, or goes on with its own."""
        with writing(self._engine) as connection:
            known = {row.name: row for row in connection.execute(select(TASKS).with_for_update())}
            for task in tasks:
                fresh = {
                    "version": task.version,
                    "mode": Mode.SERVE,
                    "exploration": task.exploration.cold,
                    "champion": 0,
                    "manifest_sha256": "",
                    "phase": Phase.IDLE,
                    "phase_note": "",
                    "phase_progress": 0.0,
                    "attempt": 0,
                    "rows_seen": 0,
                    "rows_at_refresh": 0,
                    "refreshed_at": 0.0,
                    "log_version_seen": -1,
                    "watch": Watch.UNPROVEN,
                    "updated_at": time.time(),
                }
                if task.name not in known:
                    connection.execute(insert(TASKS).values(name=task.name, **fresh))
                elif known[task.name].version != task.version:
                    before = known[task.name]
                    leave(connection, task.name, before.version, Left(before.attempt, before.mode))
                    back = come_back(connection, task.name, task.version)
                    again = {"attempt": back.attempt, "mode": back.mode}
                    connection.execute(update(TASKS).where(TASKS.c.name == task.name).values(**(fresh | again)))

    def task_states(self) -> list[TaskState]:
        """Every task's state, by name."""
        with self._engine.connect() as connection:
            return [_task_state(row) for row in connection.execute(select(TASKS).order_by(TASKS.c.name))]

    def task_state(self, name: str) -> TaskState:
        """One task's state; ``KeyError`` without one."""
        with self._engine.connect() as connection:
            row = connection.execute(select(TASKS).where(TASKS.c.name == name)).first()
        if row is None:
            raise KeyError(name)
        return _task_state(row)

    def champion(self, name: str) -> int:
        """The number of the release that serves a task, 0 of one that is not declared."""
        with self._engine.connect() as connection:
            return int(connection.execute(select(TASKS.c.champion).where(TASKS.c.name == name)).scalar() or 0)

    def update_task(self, name: str, **changes: Any) -> None:
        """Change some columns of a task's state."""
        with self._engine.begin() as connection:
            connection.execute(update(TASKS).where(TASKS.c.name == name).values(**changes, updated_at=time.time()))

    def device(self, device: str) -> Device:
        """The device of that name, made with a fresh seed at first contact."""
        found = self.find_device(device)
        if found is not None:
            return found
        now = time.time()
        try:
            with self._engine.begin() as connection:
                connection.execute(
                    insert(DEVICES).values(
                        id=device, seed=secrets.token_bytes(SEED_BYTES), first_seen=now, last_seen=now, report=None
                    )
                )
                tallies.meet(connection, device, now)
        except IntegrityError:
            pass  # another gateway met it in the same moment
        again = self.find_device(device)
        assert again is not None
        return again

    def find_device(self, device: str) -> Device | None:
        """The device of that name, ``None`` where none has reported under it."""
        return self.find_devices([device]).get(device)

    def find_devices(self, devices: Iterable[str]) -> dict[str, Device]:
        """Those of some devices that have reported, by name."""
        with self._engine.connect() as connection:
            found = connection.execute(select(DEVICES).where(DEVICES.c.id.in_([*devices])))
            return {row.id: _device(row) for row in found}

    def save_report(self, report: DeviceReport, now: float) -> None:
        """Keep a device's latest report, and count it in."""
        self.save_reports({report.device: (report, now)})

    def save_reports(
        self, reports: Mapping[str, tuple[DeviceReport, float]], also: Callable[[Connection], None] | None = None
    ) -> None:
        """Keep the latest report of each of some devices, and count it in; of all or of none.

        Args:
            reports: By device, each with the Unix time in seconds when it came; of a device that is gone none is kept.
            also: Writes more in the same transaction.
        """
        mine = select(DEVICES.c.id, DEVICES.c.report).where(DEVICES.c.id.in_([*reports])).order_by(DEVICES.c.id)
        with writing(self._engine) as connection:  # in the order of the names: so that two gateways never block
            before = {row.id: row.report for row in connection.execute(mine.with_for_update())}
            known = [reports[device] for device in sorted(before)]
            if known:
                rows = [
                    {"of": report.device, "said": _REPORT.dump_json(report).decode(), "at": now}
                    for report, now in known
                ]
                said: dict[str, Any] = {"report": bindparam("said"), "last_seen": bindparam("at")}
                connection.execute(update(DEVICES).where(DEVICES.c.id == bindparam("of")).values(said), rows)
                tallies.note(connection, before, known)
            if also is not None:
                also(connection)

    def remove_device(self, device: str) -> bool:
        """Forget a device and its report; whether there was one."""
        mine = DEVICES.c.id == device
        with writing(self._engine) as connection:
            before = connection.execute(select(DEVICES.c.report).where(mine).with_for_update()).scalar()
            tallies.forget(connection, device, before)
            return bool(connection.execute(delete(DEVICES).where(mine)).rowcount)

    def devices(self) -> list[Device]:
        """Every device, by name."""
        with self._engine.connect() as connection:
            return [_device(row) for row in connection.execute(select(DEVICES).order_by(DEVICES.c.id))]

    def next_release(self, task: str) -> int:
        """A number that no release of the task has had."""
        with self._engine.connect() as connection:
            last = connection.execute(select(func.max(RELEASES.c.number)).where(RELEASES.c.task == task)).scalar()
        return 0 if last is None else int(last) + 1

    def add_release(self, row: ReleaseRow) -> None:
        """Add a release; ``IntegrityError`` if its number is taken."""
        with self._engine.begin() as connection:
            values = {column.name: getattr(row, column.name) for column in RELEASES.c}
            connection.execute(insert(RELEASES).values(**values))

    def releases(self, task: str) -> list[ReleaseRow]:
        """The task's releases, oldest first."""
        with self._engine.connect() as connection:
            query = select(RELEASES).where(RELEASES.c.task == task).order_by(RELEASES.c.number)
            return [ReleaseRow(**row._mapping) for row in connection.execute(query)]

    def update_release(self, task: str, number: int, **changes: Any) -> None:
        """Change some columns of a release."""
        with self._engine.begin() as connection:
            connection.execute(
                update(RELEASES).where(RELEASES.c.task == task, RELEASES.c.number == number).values(**changes)
            )

    def reject_unfinished(self, task: str, reason: str) -> None:
        """Give up the releases of a task that nobody is making any more."""
        unfinished = (RELEASES.c.task == task, RELEASES.c.state == ReleaseState.BUILDING)
        with self._engine.begin() as connection:
            rejected = {"state": ReleaseState.REJECTED, "reason": reason}
            connection.execute(update(RELEASES).where(*unfinished).values(**rejected))

    def promote(self, task: str, number: int, manifest_sha256: str, **changes: Any) -> None:
        """Make a release the task's champion, in one transaction with ``changes`` of the task's state."""
        with self._engine.begin() as connection:
            before = (RELEASES.c.task == task, RELEASES.c.state == ReleaseState.CHAMPION)
            connection.execute(update(RELEASES).where(*before).values(state=ReleaseState.RETIRED))
            connection.execute(
                update(RELEASES)
                .where(RELEASES.c.task == task, RELEASES.c.number == number)
                .values(state=ReleaseState.CHAMPION, manifest_sha256=manifest_sha256)
            )
            connection.execute(
                update(TASKS)
                .where(TASKS.c.name == task)
                .values(champion=number, manifest_sha256=manifest_sha256, updated_at=time.time(), **changes)
            )

    def spent(self, task: str) -> set[tuple[str, str, str]]:
        """Keys of the rows that have been observed to certify."""
        columns = (SPENT.c.caller, SPENT.c.query_id, SPENT.c.teacher_version)
        with self._engine.connect() as connection:
            return {tuple(row) for row in connection.execute(select(*columns).where(SPENT.c.task == task))}

    def spent_by(self, task: str, number: int) -> set[tuple[str, str, str]]:
        """Keys of the rows that one release's certificate has observed."""
        columns = (SPENT.c.caller, SPENT.c.query_id, SPENT.c.teacher_version)
        query = select(*columns).where(SPENT.c.task == task, SPENT.c.number == number)
        with self._engine.connect() as connection:
            return {(row.caller, row.query_id, row.teacher_version) for row in connection.execute(query)}

    def spend(self, task: str, number: int, keys: Iterable[tuple[str, str, str]]) -> None:
        """Mark rows as spent by a release's certificate."""
        rows = [
            {"task": task, "caller": caller, "query_id": query_id, "teacher_version": version, "number": number}
            for caller, query_id, version in keys
        ]
        if rows:
            with self._engine.begin() as connection:
                connection.execute(insert(SPENT), rows)

    def note_loss(self, task: str, at: float) -> None:
        """Note that the state of a task was lost, at Unix time ``at`` in seconds, and is not settled yet."""
        with self._engine.begin() as connection:
            connection.execute(insert(LOSSES).values(task=task, at=at))

    def losses(self) -> dict[str, float]:
        """Unix time in seconds when the state of each task was lost that ever was."""
        with self._engine.connect() as connection:
            return {row.task: row.at for row in connection.execute(select(LOSSES))}

    def losses_to_settle(self) -> set[str]:
        """Tasks whose state was lost, and whose rows may still be taken for fresh ones."""
        with self._engine.connect() as connection:
            found = connection.execute(select(LOSSES.c.task).where(LOSSES.c.settled.is_(None)))
            return {row.task for row in found}

    def settle_loss(self, task: str, keys: Iterable[tuple[str, str, str]], now: float) -> None:
        """Let the rows that there are certify nothing more: which of them have, is not known."""
        known = self.spent(task)
        columns = ("caller", "query_id", "teacher_version")
        rows = [{"task": task, "number": -1, **dict(zip(columns, key, strict=True))} for key in set(keys) - known]
        with self._engine.begin() as connection:
            if rows:
                connection.execute(insert(SPENT), rows)
            connection.execute(update(LOSSES).where(LOSSES.c.task == task).values(settled=now))


def _reported(connection: Connection) -> Iterator[tuple[str, float, str | None]]:
    """Each device's name, the Unix time in seconds of its last report, and that report as JSON."""
    for row in connection.execute(select(DEVICES.c.id, DEVICES.c.last_seen, DEVICES.c.report)).all():
        yield row.id, row.last_seen, row.report


def migrate_store(url: str | URL) -> bool:
    """Bring the database at ``url`` to this version's schema; whether it was an older one. ``up`` alone calls it.

    Raises:
        OperatorError: It is of a newer version of Headrace.
    """
    engine = open_engine(url)
    try:
        return migrate(engine, lambda connection: tallies.begin(connection, lambda: _reported(connection)))
    finally:
        engine.dispose()


def _task_state(row: Any) -> TaskState:
    return TaskState(**row._mapping)


def _device(row: Any) -> Device:
    report = read_as(_REPORT, row.report, f"the report of device {row.id}")
    return Device(row.id, bytes(row.seed), row.first_seen, row.last_seen, report)
