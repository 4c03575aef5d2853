"""Fleet state in SQL: tasks, devices, releases, and which rows have certified.

Rules:
 * Several processes use it at once; every change is one short transaction.
 * Release numbers only grow and are never reused.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import (
    URL,
    Column,
    Connection,
    Engine,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.schema import CreateIndex, CreateTable

from cloud_worker.state import tallies
from cloud_worker.state.attempts import METADATA as ATTEMPTS
from cloud_worker.state.attempts import Left, come_back, leave
from cloud_worker.state.engine import Make, open_engine
from cloud_worker.state.stored_values import mode_of, read_as
from router.core.domain.task import Mode, Task
from router.core.policy.exploration import SEED_BYTES
from router.core.release.orders import DeviceReport

_METADATA = MetaData()
_TASKS = Table(
    "tasks",
    _METADATA,
    Column("name", String(200), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("mode", String(20), nullable=False),
    Column("exploration", Float, nullable=False),
    Column("champion", Integer, nullable=False),
    Column("manifest_sha256", String(64), nullable=False),
    Column("phase", String(20), nullable=False),
    Column("phase_note", Text, nullable=False),
    Column("phase_progress", Float, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("rows_seen", Integer, nullable=False),
    Column("rows_at_refresh", Integer, nullable=False),
    Column("refreshed_at", Float, nullable=False),
    Column("log_version_seen", Integer, nullable=False),
    Column("watch", String(20), nullable=False),
    Column("updated_at", Float, nullable=False),
)
DEVICES = Table(
    "devices",
    _METADATA,
    Column("id", String(200), primary_key=True),
    Column("seed", LargeBinary(64), nullable=False),
    Column("first_seen", Float, nullable=False),
    Column("last_seen", Float, nullable=False),
    Column("report", Text),
)
_RELEASES = Table(
    "releases",
    _METADATA,
    Column("task", String(200), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("state", String(20), nullable=False),
    Column("manifest_sha256", String(64), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("note", Text, nullable=False),
)
_SPENT = Table(
    "spent_rows",
    _METADATA,
    Column("task", String(200), primary_key=True),
    Column("caller", String(200), primary_key=True),
    Column("query_id", String(64), primary_key=True),
    Column("teacher_version", String(200), primary_key=True),
    Column("number", Integer, nullable=False),
)
_LOSSES = Table(
    "losses",
    _METADATA,
    Column("task", String(200), primary_key=True),
    Column("at", Float, nullable=False),
    Column("settled", Float),
)
_REPORT = TypeAdapter(DeviceReport)

PHASES = ("idle", "fitting", "exporting", "judging", "waiting", "publishing")


@dataclass(frozen=True, slots=True)
class TaskState:
    """Where a task stands. ``phase`` is one of ``PHASES``; ``phase_progress`` goes from 0 to 1."""

    name: str
    version: int
    mode: Mode
    exploration: float
    champion: int
    manifest_sha256: str
    phase: str
    phase_note: str
    phase_progress: float
    attempt: int
    rows_seen: int
    rows_at_refresh: int
    refreshed_at: float
    log_version_seen: int
    watch: str
    updated_at: float


@dataclass(frozen=True, slots=True)
class Device:
    """A device as the cloud knows it; times are Unix seconds."""

    id: str
    seed: bytes
    first_seen: float
    last_seen: float
    report: DeviceReport | None


@dataclass(frozen=True, slots=True)
class ReleaseRow:
    """A release: its state is ``building``, ``waiting``, ``rejected``, ``champion`` or ``retired``."""

    task: str
    number: int
    state: str
    manifest_sha256: str
    created_at: float
    note: str = ""


class Store:
    """Fleet state behind an SQLAlchemy URL."""

    def __init__(self, url: str | URL, make: Make | None = None) -> None:
        """Open the database at ``url`` and make what is missing in it; ``make`` makes a damaged file anew."""
        self._begin(open_engine(url, make))

    @classmethod
    def of(cls, engine: Engine) -> Store:
        """The store in an engine's database, with what is missing there."""
        store = cls.__new__(cls)
        store._begin(engine)
        return store

    def _begin(self, engine: Engine) -> None:
        self._engine = engine
        with self._engine.begin() as connection:
            # create_all looks first and creates then, and another may come between
            for table in (*_METADATA.sorted_tables, *ATTEMPTS.sorted_tables, *tallies.METADATA.sorted_tables):
                connection.execute(CreateTable(table, if_not_exists=True))
                for index in table.indexes:
                    connection.execute(CreateIndex(index, if_not_exists=True))
            tallies.begin(connection, lambda: _reported(connection))

    @property
    def engine(self) -> Engine:
        """Of the database, for what keeps its own tables beside these."""
        return self._engine

    def declare_tasks(self, tasks: Iterable[Task]) -> None:
        """Make the state of tasks that have none; another version begins a lineage, or goes on with its own."""
        with self._engine.begin() as connection:
            known = {row.name: row for row in connection.execute(select(_TASKS))}
            for task in tasks:
                fresh = {
                    "version": task.version,
                    "mode": Mode.SERVE.value,
                    "exploration": task.exploration.cold,
                    "champion": 0,
                    "manifest_sha256": "",
                    "phase": "idle",
                    "phase_note": "",
                    "phase_progress": 0.0,
                    "attempt": 0,
                    "rows_seen": 0,
                    "rows_at_refresh": 0,
                    "refreshed_at": 0.0,
                    "log_version_seen": -1,
                    "watch": "unproven",
                    "updated_at": time.time(),
                }
                if task.name not in known:
                    connection.execute(insert(_TASKS).values(name=task.name, **fresh))
                elif known[task.name].version != task.version:
                    before = known[task.name]
                    leave(connection, task.name, before.version, Left(before.attempt, Mode(before.mode)))
                    back = come_back(connection, task.name, task.version)
                    again = {"attempt": back.attempt, "mode": back.mode.value}
                    connection.execute(update(_TASKS).where(_TASKS.c.name == task.name).values(**(fresh | again)))

    def task_states(self) -> list[TaskState]:
        """Every task's state, by name."""
        with self._engine.connect() as connection:
            return [_task_state(row) for row in connection.execute(select(_TASKS).order_by(_TASKS.c.name))]

    def task_state(self, name: str) -> TaskState:
        """One task's state; ``KeyError`` without one."""
        with self._engine.connect() as connection:
            row = connection.execute(select(_TASKS).where(_TASKS.c.name == name)).first()
        if row is None:
            raise KeyError(name)
        return _task_state(row)

    def champion(self, name: str) -> int:
        """The number of the release that serves a task, 0 of one that is not declared."""
        with self._engine.connect() as connection:
            return int(connection.execute(select(_TASKS.c.champion).where(_TASKS.c.name == name)).scalar() or 0)

    def update_task(self, name: str, **changes: Any) -> None:
        """Change some columns of a task's state."""
        with self._engine.begin() as connection:
            connection.execute(update(_TASKS).where(_TASKS.c.name == name).values(**changes, updated_at=time.time()))

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
        with self._engine.connect() as connection:
            row = connection.execute(select(DEVICES).where(DEVICES.c.id == device)).first()
        return None if row is None else _device(row)

    def save_report(self, report: DeviceReport, now: float) -> None:
        """Keep a device's latest report, and count it in."""
        mine = DEVICES.c.id == report.device
        with self._engine.begin() as connection:
            said = {"report": _REPORT.dump_json(report).decode(), "last_seen": now}
            before = connection.execute(select(DEVICES.c.report).where(mine)).scalar()
            if connection.execute(update(DEVICES).where(mine).values(**said)).rowcount:
                tallies.note(connection, before, report, now)

    def remove_device(self, device: str) -> bool:
        """Forget a device and its report; whether there was one."""
        mine = DEVICES.c.id == device
        with self._engine.begin() as connection:
            before = connection.execute(select(DEVICES.c.report).where(mine)).scalar()
            tallies.forget(connection, device, before)
            return bool(connection.execute(delete(DEVICES).where(mine)).rowcount)

    def devices(self) -> list[Device]:
        """Every device, by name."""
        with self._engine.connect() as connection:
            return [_device(row) for row in connection.execute(select(DEVICES).order_by(DEVICES.c.id))]

    def next_release(self, task: str) -> int:
        """A number that no release of the task has had."""
        with self._engine.connect() as connection:
            last = connection.execute(select(func.max(_RELEASES.c.number)).where(_RELEASES.c.task == task)).scalar()
        return 0 if last is None else int(last) + 1

    def add_release(self, row: ReleaseRow) -> None:
        """Add a release; ``IntegrityError`` if its number is taken."""
        with self._engine.begin() as connection:
            connection.execute(
                insert(_RELEASES).values(
                    task=row.task,
                    number=row.number,
                    state=row.state,
                    manifest_sha256=row.manifest_sha256,
                    created_at=row.created_at,
                    note=row.note,
                )
            )

    def releases(self, task: str) -> list[ReleaseRow]:
        """The task's releases, oldest first."""
        with self._engine.connect() as connection:
            query = select(_RELEASES).where(_RELEASES.c.task == task).order_by(_RELEASES.c.number)
            return [ReleaseRow(**row._mapping) for row in connection.execute(query)]

    def update_release(self, task: str, number: int, **changes: Any) -> None:
        """Change some columns of a release."""
        with self._engine.begin() as connection:
            connection.execute(
                update(_RELEASES).where(_RELEASES.c.task == task, _RELEASES.c.number == number).values(**changes)
            )

    def reject_unfinished(self, task: str, note: str) -> None:
        """Give up the releases of a task that nobody is making any more."""
        unfinished = (_RELEASES.c.task == task, _RELEASES.c.state == "building")
        with self._engine.begin() as connection:
            connection.execute(update(_RELEASES).where(*unfinished).values(state="rejected", note=note))

    def promote(self, task: str, number: int, manifest_sha256: str, **changes: Any) -> None:
        """Make a release the task's champion, in one transaction with ``changes`` of the task's state."""
        with self._engine.begin() as connection:
            connection.execute(
                update(_RELEASES)
                .where(_RELEASES.c.task == task, _RELEASES.c.state == "champion")
                .values(state="retired")
            )
            connection.execute(
                update(_RELEASES)
                .where(_RELEASES.c.task == task, _RELEASES.c.number == number)
                .values(state="champion", manifest_sha256=manifest_sha256)
            )
            connection.execute(
                update(_TASKS)
                .where(_TASKS.c.name == task)
                .values(champion=number, manifest_sha256=manifest_sha256, updated_at=time.time(), **changes)
            )

    def spent(self, task: str) -> set[tuple[str, str, str]]:
        """Keys of the rows that have been looked at to certify."""
        columns = (_SPENT.c.caller, _SPENT.c.query_id, _SPENT.c.teacher_version)
        with self._engine.connect() as connection:
            return {tuple(row) for row in connection.execute(select(*columns).where(_SPENT.c.task == task))}

    def spent_by(self, task: str, number: int) -> set[tuple[str, str, str]]:
        """Keys of the rows that one release's certificate has looked at."""
        columns = (_SPENT.c.caller, _SPENT.c.query_id, _SPENT.c.teacher_version)
        query = select(*columns).where(_SPENT.c.task == task, _SPENT.c.number == number)
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
                connection.execute(insert(_SPENT), rows)

    def note_loss(self, task: str, at: float) -> None:
        """Note that the state of a task was lost, at Unix time ``at`` in seconds, and is not settled yet."""
        with self._engine.begin() as connection:
            connection.execute(insert(_LOSSES).values(task=task, at=at))

    def losses(self) -> dict[str, float]:
        """Unix time in seconds when the state of each task was lost that ever was."""
        with self._engine.connect() as connection:
            return {row.task: row.at for row in connection.execute(select(_LOSSES))}

    def losses_to_settle(self) -> set[str]:
        """Tasks whose state was lost, and whose rows may still be taken for fresh ones."""
        with self._engine.connect() as connection:
            found = connection.execute(select(_LOSSES.c.task).where(_LOSSES.c.settled.is_(None)))
            return {row.task for row in found}

    def settle_loss(self, task: str, keys: Iterable[tuple[str, str, str]], now: float) -> None:
        """Let the rows that there are certify nothing more: which of them have, is not known."""
        known = self.spent(task)
        columns = ("caller", "query_id", "teacher_version")
        rows = [{"task": task, "number": -1, **dict(zip(columns, key, strict=True))} for key in set(keys) - known]
        with self._engine.begin() as connection:
            if rows:
                connection.execute(insert(_SPENT), rows)
            connection.execute(update(_LOSSES).where(_LOSSES.c.task == task).values(settled=now))


def _reported(connection: Connection) -> Iterator[tuple[str, float, str | None]]:
    """Each device's name, the Unix time in seconds of its last report, and that report as JSON."""
    for row in connection.execute(select(DEVICES.c.id, DEVICES.c.last_seen, DEVICES.c.report)).all():
        yield row.id, row.last_seen, row.report


def _task_state(row: Any) -> TaskState:
    values = dict(row._mapping)
    values["mode"] = mode_of(values["mode"])
    return TaskState(**values)


def _device(row: Any) -> Device:
    report = read_as(_REPORT, row.report, f"the report of device {row.id}")
    return Device(row.id, bytes(row.seed), row.first_seen, row.last_seen, report)
