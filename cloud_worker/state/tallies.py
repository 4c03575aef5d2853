"""What all devices together report, kept beside their reports: so that nobody reads every report to know it.

Rules:
 * A tally is written in the transaction of the report that it follows from.
 * The sums of a task are those of every device's latest report; a device that is removed takes its part along.
 * A store that is older than these tables is counted once, when it is migrated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, delete, func, select

from cloud_worker.state.columns import read_object
from cloud_worker.state.schema import SEEN, SUMS
from router.core.release.reports import DeviceReport, TaskReport

_SUMMED = ("answered", "covered", "degraded", "escalated", "explored_kept")
UNKNOWN = "unknown"  # what a device says of itself that has not reported
MOST_COUNTED = 2**53  # of one device's figure: no sum overflows

_Figures = dict[str, tuple[int, ...]]  # by task, in the order of _SUMMED


@dataclass(frozen=True, slots=True)
class Seen:
    """When a device reported last, in Unix seconds, and what it said of itself and of what it holds back."""

    device: str
    last_seen: float
    state: str = "ok"
    outbox_pending: int = 0


def meet(connection: Connection, device: str, now: float) -> None:
    """Count a device in that has not reported yet, at Unix time ``now`` in seconds."""
    _see(connection, [Seen(device, now, UNKNOWN)])


def note(
    connection: Connection, before: Mapping[str, str | None], reports: Sequence[tuple[DeviceReport, float]]
) -> None:
    """Count reports in, one of each device.

    Args:
        connection: In the transaction that keeps the reports.
        before: Each device's report until now, as JSON; ``None`` without one.
        reports: That take their place, by the names of the devices, each with its Unix time in seconds.
    """
    seen = [
        Seen(report.device, now, report.state[:200], min(report.outbox_pending, MOST_COUNTED))
        for report, now in reports
    ]
    _see(connection, seen)
    grown: dict[str, Counter[int]] = {}
    for report, _ in reports:
        after = {one.task: _of(one) for one in report.tasks}
        for task, by in _difference(_figures(before[report.device]), after).items():
            grown.setdefault(task, Counter()).update(dict(enumerate(by)))
    _add(connection, {task: tuple(by[position] for position in range(len(_SUMMED))) for task, by in grown.items()})


def forget(connection: Connection, device: str, before: str | None) -> None:
    """Count a device out; ``before`` is its last report as JSON."""
    connection.execute(delete(SEEN).where(SEEN.c.device == device))
    _add(connection, _difference(_figures(before), {}))


def begin(connection: Connection, known: Callable[[], Iterable[tuple[str, float, str | None]]]) -> None:
    """Count an older store: ``known`` gives each device's name, Unix time in seconds of its last report, and that."""
    if connection.execute(select(SEEN.c.device).limit(1)).first() is not None:
        return
    for device, last_seen, report in known():
        said = read_object(report, f"the report of device {device}")
        held = said.get("outbox_pending", 0)
        pending = min(held, MOST_COUNTED) if isinstance(held, int) else 0
        _see(connection, [Seen(device, last_seen, str(said.get("state", UNKNOWN))[:200], pending)])
        _add(connection, _figures(report))


class Tallies:
    """Reads them."""

    def __init__(self, engine: Engine) -> None:
        """Read in the store behind ``engine``, whose tables are there."""
        self._engine = engine

    def held_back_since(self, at: float) -> dict[str, int]:
        """How many queries each device that reported since Unix time ``at`` in seconds still holds back, if any."""
        held = select(SEEN.c.device, SEEN.c.outbox_pending).where(SEEN.c.last_seen > at, SEEN.c.outbox_pending > 0)
        with self._engine.connect() as connection:
            return {row.device: int(row.outbox_pending) for row in connection.execute(held)}

    def of_task(self, task: str) -> tuple[TaskReport, ...]:
        """The sums of a task as one report; none where no device has told of it."""
        with self._engine.connect() as connection:
            row = connection.execute(select(SUMS).where(SUMS.c.task == task)).first()
        return () if row is None else (TaskReport(**row._mapping),)

    def states(self, steps: Iterable[float], now: float) -> list[dict[str, int]]:
        """How many devices say what of themselves, by how long ago they reported.

        Args:
            steps: Seconds, ascending: the ends of all ages but the last.
            now: Unix time in seconds.
        """
        ends = [*steps]
        ages = zip([float("-inf"), *ends], [*ends, float("inf")], strict=True)
        with self._engine.connect() as connection:
            return [
                {state: int(count) for state, count in connection.execute(_between(now - last, now - first))}
                for first, last in ages
            ]


def _between(first: float, last: float) -> Any:
    within = select(SEEN.c.state, func.count()).group_by(SEEN.c.state)
    within = within.where(SEEN.c.last_seen > first) if first != float("-inf") else within
    return within.where(SEEN.c.last_seen <= last) if last != float("inf") else within


def _figures(report: str | None) -> _Figures:
    try:
        said: Mapping[str, Any] = read_object(report, "a device's report")
        return {
            one["task"]: tuple(min(int(one.get(key, 0)), MOST_COUNTED) for key in _SUMMED)
            for one in said.get("tasks", ())
        }
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError):  # spoilt: it counted for nothing
        return {}


def _of(one: TaskReport) -> tuple[int, ...]:
    return tuple(min(int(getattr(one, key)), MOST_COUNTED) for key in _SUMMED)


def _difference(before: _Figures, after: _Figures) -> _Figures:
    none = (0,) * len(_SUMMED)
    tasks = {*before, *after}
    grown = {
        task: tuple(new - old for new, old in zip(after.get(task, none), before.get(task, none), strict=True))
        for task in tasks
    }
    return {task: by for task, by in grown.items() if any(by)}


def _see(connection: Connection, seen: Iterable[Seen]) -> None:
    added = insert_in(connection.dialect.name)(SEEN)
    latest = {key: added.excluded[key] for key in ("last_seen", "state", "outbox_pending")}
    connection.execute(
        added.on_conflict_do_update(index_elements=["device"], set_=latest),
        [
            {"device": one.device, "last_seen": one.last_seen, "state": one.state, "outbox_pending": one.outbox_pending}
            for one in seen
        ],
    )


def insert_in(database: str) -> Any:
    """The statement of a database that knows what to do where a row is there; each is loaded where it is used."""
    if database == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as insert_in_postgresql

        return insert_in_postgresql
    from sqlalchemy.dialects.sqlite import insert as insert_in_sqlite

    return insert_in_sqlite


def _add(connection: Connection, grown: _Figures) -> None:
    """Add to the sums; in the order of the tasks' names, so that two gateways never wait for each other."""
    make = insert_in(connection.dialect.name)
    rows = [{"task": task, **dict(zip(_SUMMED, grown[task], strict=True))} for task in sorted(grown)]
    if not rows:
        return
    added = make(SUMS)
    sums = {key: SUMS.c[key] + added.excluded[key] for key in _SUMMED}
    connection.execute(added.on_conflict_do_update(index_elements=["task"], set_=sums), rows)
