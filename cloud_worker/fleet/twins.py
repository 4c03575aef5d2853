"""Twins: two agents under one device's name, told from one agent that was started again.

An agent draws a random id at each start and reports it: from one start to the next is one incarnation of it (``life``
on the wire and in the database). After a restart the incarnation before never reports again.

Rules:
 * An incarnation that reports after another one has, and had reported before, proves two agents at once: twins. So
   does one whose counters go back: a machine was copied while it ran. Of such, the further count is believed while
   they are told; one that is alone afterwards, as a machine that was set back, goes on from its own.
 * Twins are told of until neither has followed the other for some time. From the report before the first proof until
   then, no row of the device speaks for or against a promise: their numbers and draws can't be told apart.
 * What an incarnation counts is compared with what the same one counted before.
 * An agent that names no incarnation is taken at its word as before: it proves nothing.
 * A report that comes after that of a later incarnation, though it was sent before, is left out.
 * What is known of incarnations is kept with the report that told it: one that could not be kept leaves no trace, or
   the same one would be taken for a second agent when it tries again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Connection, Engine, Select, delete, insert, select, update

from cloud_worker.state.columns import read_as
from cloud_worker.state.schema import INCARNATIONS, SPANS
from cloud_worker.state.store import Device
from router.core.certification.missing_rows import Spans
from router.core.release.reports import DeviceReport

TWINS = "twins"
ADVICE = (
    "two agents report under this device's name, and its queries prove nothing: "
    "give each device its own name (device = ... in edge.toml) and its own data folder"
)
MOST_INCARNATIONS = 16  # of one device that are remembered
MARGIN_SECONDS = 60.0  # by which a device's clock may be wrong
LEAST_TOLD_SECONDS = 60.0

_REPORT = TypeAdapter(DeviceReport)


@dataclass(frozen=True, slots=True)
class Change:
    """Another incarnation of a device reports than did before.

    Attributes:
        last: What the one before reported last.
        last_seen: When that was, in Unix seconds.
        life: The one that reports now.
        now: Unix time in seconds when that came.
        begins: It has never reported before.
        proved_since: From when on, in Unix seconds, two agents are proven to have been there; ``None`` for no proof.
    """

    last: DeviceReport
    last_seen: float
    life: str
    now: float
    begins: bool = False
    proved_since: float | None = None


@dataclass(frozen=True, slots=True)
class Met:
    """What is known of a report that came.

    Attributes:
        before: The last report of the same incarnation, ``None`` where nothing is to be compared; empty of a new one.
        seconds: Since then, >= 0.
        twins: Two agents report under this name.
        first_told: They are told of for the first time.
        late: Another incarnation has reported since it was sent.
        change: What is to be kept with the report, ``None`` for nothing.
    """

    before: DeviceReport | None
    seconds: float
    twins: bool = False
    first_told: bool = False
    late: bool = False
    change: Change | None = None


class Incarnations:
    """The incarnations of the agents of one fleet, in the database of its state."""

    def __init__(self, engine: Engine, told_seconds: float = LEAST_TOLD_SECONDS) -> None:
        """Keep them in ``engine``; after a proof twins are told of for ``told_seconds``, a minute at least."""
        self._engine = engine
        self._told_seconds = max(told_seconds, LEAST_TOLD_SECONDS)

    def meet(self, device: Device, report: DeviceReport, now: float) -> Met:
        """Look at a report before it is kept; what it changes of the incarnations is for ``keep``.

        Args:
            device: Its device as it was until now.
            report: That came.
            now: Unix time in seconds when it came.
        """
        last = device.report
        if last is None:
            return Met(last, now - device.last_seen)
        is_late = now < device.last_seen
        if last.life == report.life:
            twins = last.state == TWINS and self.are_twins(device.id, now)
            if not report.life or not _goes_back(last, report):
                return Met(last, now - device.last_seen, twins)
            if is_late:
                return Met(last, 0.0, twins, late=True)
            return self._gone_back(device, last, report, now, twins=twins)
        if is_late:
            return Met(last, 0.0, last.state == TWINS, late=True)
        return self._changed(device, last, report, now)

    def are_twins(self, device: str, now: float) -> bool:
        """Whether two agents report under a device's name at Unix time ``now`` in seconds."""
        query = select(SPANS.c.until).where(SPANS.c.device == device, SPANS.c.until > now).limit(1)
        with self._engine.connect() as connection:
            return connection.execute(query).first() is not None

    def spans(self) -> dict[str, Spans]:
        """The times at which each device had twins, from and until, in Unix seconds."""
        found: dict[str, list[tuple[float, float]]] = {}
        with self._engine.connect() as connection:
            for row in connection.execute(select(SPANS).order_by(SPANS.c.began)):
                found.setdefault(row.device, []).append((row.began, row.until))
        return {device: tuple(spans) for device, spans in found.items()}

    def forget(self, device: str) -> None:
        """Forget the incarnations of a device that was removed; when it had twins stays, for its rows stay."""
        with self._engine.begin() as connection:
            connection.execute(delete(INCARNATIONS).where(INCARNATIONS.c.device == device))

    def keep(self, connection: Connection, change: Change) -> None:
        """Keep in the transaction of a report what ``meet`` found of it, so that both are there or neither."""
        last, device = change.last, change.last.device
        _keep(connection, device, last.life, change.last_seen, _REPORT.dump_json(last).decode())
        if change.begins:
            _keep(connection, device, change.life, change.now, None)
            _sweep(connection, device)
        if change.proved_since is not None:
            until = change.now + self._told_seconds
            lasting = connection.execute(_lasting(device, change.proved_since)).first()
            if lasting is None:
                began = change.proved_since - MARGIN_SECONDS
                connection.execute(insert(SPANS).values(device=device, began=began, until=until))
            else:
                same = (SPANS.c.device == device, SPANS.c.began == lasting.began)
                connection.execute(update(SPANS).where(*same).values(until=until))

    def _gone_back(self, device: Device, last: DeviceReport, report: DeviceReport, now: float, *, twins: bool) -> Met:
        """An incarnation reports less than before: two agents in turn, or the one that did so last time too."""
        mine = (INCARNATIONS.c.device == device.id, INCARNATIONS.c.life == report.life)
        with self._engine.connect() as connection:
            known = connection.execute(select(INCARNATIONS).where(*mine)).first()
        own = None
        if known is not None and known.last_seen == device.last_seen:  # nobody has reported since it went back
            own = read_as(_REPORT, known.report, f"a report of {device.id}")
        change = Change(replace(report, device=device.id), now, report.life, now)
        if own is None or _goes_back(own, report):
            since = device.last_seen
            return Met(last, now - since, True, not twins, change=replace(change, proved_since=since))
        return Met(last if twins else own, now - device.last_seen, twins, change=change if twins else None)

    def _changed(self, device: Device, last: DeviceReport, report: DeviceReport, now: float) -> Met:
        """Another incarnation reports than did before."""
        change = Change(replace(last, device=device.id), device.last_seen, report.life, now)
        twins = self.are_twins(device.id, now)
        with self._engine.connect() as connection:
            mine = (INCARNATIONS.c.device == device.id, INCARNATIONS.c.life == report.life)
            known = connection.execute(select(INCARNATIONS).where(*mine)).first()
            if known is None:
                before = DeviceReport(device.id) if report.life else last
                return Met(before, now - device.last_seen, twins, change=replace(change, begins=True))
            before = read_as(_REPORT, known.report, f"a report of {device.id}") or DeviceReport(device.id)
            if not report.life:
                return Met(before, now - known.last_seen, twins, change=change)
            lasting = connection.execute(_lasting(device.id, known.last_seen)).first()
        first = lasting is None or bool(lasting.until <= now)
        change = replace(change, proved_since=known.last_seen)
        return Met(before, now - known.last_seen, True, first, change=change)


def _goes_back(last: DeviceReport, report: DeviceReport) -> bool:
    """Whether a task is said to have answered less than before."""
    known = {task.task: task.answered for task in last.tasks}
    return any(task.answered < known.get(task.task, 0) for task in report.tasks)


def further(last: DeviceReport, report: DeviceReport) -> DeviceReport:
    """A report with each task's counters of whichever of two agents of one incarnation has answered more."""
    known = {task.task: task for task in last.tasks}
    tasks = (max(task, known.get(task.task, task), key=lambda one: one.answered) for task in report.tasks)
    return replace(report, tasks=tuple(tasks))


def _lasting(device: str, since: float) -> Select[Any]:
    """The last span of twins of a device that reaches to Unix time ``since`` in seconds."""
    mine = (SPANS.c.device == device, SPANS.c.until >= since - MARGIN_SECONDS)
    return select(SPANS).where(*mine).order_by(SPANS.c.began.desc()).limit(1)


def _keep(connection: Connection, device: str, life: str, last_seen: float, report: str | None) -> None:
    """Note what an incarnation reported last, at Unix time ``last_seen`` in seconds."""
    values = {"last_seen": last_seen, "report": report}
    mine = (INCARNATIONS.c.device == device, INCARNATIONS.c.life == life)
    if not connection.execute(update(INCARNATIONS).where(*mine).values(**values)).rowcount:
        connection.execute(insert(INCARNATIONS).values(device=device, life=life, **values))


def _sweep(connection: Connection, device: str) -> None:
    """Forget the incarnations that were heard longest ago."""
    table, newest = INCARNATIONS.c, INCARNATIONS.c.last_seen.desc()
    query = select(table.life).where(table.device == device).order_by(newest).limit(MOST_INCARNATIONS)
    kept = [row.life for row in connection.execute(query)]
    connection.execute(delete(INCARNATIONS).where(table.device == device, table.life.not_in(kept)))
