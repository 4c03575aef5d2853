"""Takes reports of devices in: admits them, leaves out what can't be, counts what is new, and keeps it.

Rules:
 * Two agents under one name are told so, and everybody else too; see ``twins``.
 * What a report says of a task that nobody declared is left out, and counted.
 * A group of reports is kept in one transaction, with all that is counted of it. Where the group can't be, each is kept
   alone: no report keeps another out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from cloud_worker.config.sections import Fleet
from cloud_worker.fleet.erasures import Erasures
from cloud_worker.fleet.metrics import FleetMetrics
from cloud_worker.fleet.presence import Presence
from cloud_worker.fleet.registry import Registry
from cloud_worker.fleet.report_groups import Came
from cloud_worker.fleet.turned_away import TurnedAway, What
from cloud_worker.fleet.twins import ADVICE, TWINS, Change, Incarnations, Met, further
from cloud_worker.state.repeated_rows import Repeats
from cloud_worker.state.store import Device, Store
from cloud_worker.state.traffic import Told, Traffic
from router.core.errors import HeadraceError, UnavailableError
from router.core.privacy.erasure import Erasure
from router.core.release.plausible_reports import plausible
from router.core.release.reports import DeviceReport

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Taken:
    """A report that was taken.

    Attributes:
        device: That sent it.
        message: What the device is to be told.
        kept: What is kept of it, ``None`` for nothing.
        change: Of the device's incarnations, kept with it.
    """

    device: Device
    message: str
    kept: Told | None
    change: Change | None = None


class ReportIntake:
    """What takes the reports of one fleet's devices in."""

    def __init__(
        self,
        store: Store,
        settings: Fleet,
        clock: Callable[[], float],
        metrics: FleetMetrics | None = None,
    ) -> None:
        """Keep reports in ``store``.

        Args:
            store: The state of the fleet.
            settings: How often devices report, which says when one is silent.
            clock: Tells Unix time in seconds.
            metrics: Count what is not taken.
        """
        self._store = store
        self.registry = Registry(store, settings.max_devices)  # who is in the fleet
        self._metrics = metrics
        self._incarnations = Incarnations(
            store.engine, Presence.of(settings.sync_seconds, settings.jitter).silent_after
        )
        self._turned_away = TurnedAway(store.engine, clock)
        self._erasures, self._repeats = Erasures(store.engine), Repeats(store.engine)
        self._traffic = Traffic(store.engine)

    def take_all(self, group: Sequence[Came], tasks: Set[str]) -> list[Taken | Exception]:
        """Take a group of reports, one of each device; each is kept when this returns, or has the error of it.

        Args:
            group: The reports.
            tasks: The names of those that are declared.

        Raises:
            UnavailableError: The store can't be used now; none is kept.
        """
        self._turned_away.flush()
        known = self._store.find_devices(one.report.device for one in group)
        taken = [self._tried(lambda one=one: self._taken(one, known, tasks)) for one in group]  # type: ignore[misc]
        kept = [one for one in taken if isinstance(one, Taken) and one.kept is not None]
        try:
            self._keep(kept)
        except UnavailableError:
            raise
        except (SQLAlchemyError, ValueError, ArithmeticError) as error:
            log.warning("a group of %d reports can't be kept, each is tried alone: %s", len(kept), error)
            return [self._tried(lambda one=one: self._kept_alone(one)) for one in taken]  # type: ignore[misc]
        return taken

    def erasures(self, devices: Sequence[str]) -> Mapping[str, tuple[Erasure, ...]]:
        """What each of some devices has to erase yet; none of those that have nothing."""
        return self._erasures.for_devices(devices)

    @staticmethod
    def _tried(take: Callable[[], Taken | Exception]) -> Taken | Exception:
        """What taking one report gave; its own error where it fails, unless nothing can be kept now."""
        try:
            return take()
        except UnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 - who sent it is told, its door logs it; the others go on
            return error

    def _taken(self, came: Came, known: Mapping[str, Device], tasks: Set[str]) -> Taken:
        report, now = came.report, came.at
        device = known.get(report.device) or self._admit(report.device, now)
        self._note_erased(report, now)
        report = self._declared(replace(report, erased=()), tasks)
        met = self._incarnations.meet(device, report, now)
        kept = None if met.late else self._counted(report, met, now)
        return Taken(device, ADVICE if met.twins else "", kept, met.change)

    def _kept_alone(self, taken: Taken | Exception) -> Taken | Exception:
        if isinstance(taken, Taken) and taken.kept is not None:
            self._keep([taken])
        return taken

    def _keep(self, taken: Sequence[Taken]) -> None:
        """Keep reports, with what they change of incarnations, and count what they say more than those before."""
        told = {one.device.id: one.kept for one in taken if one.kept is not None}
        changes = [one.change for one in taken if one.change is not None]

        def beside(connection: Connection) -> None:
            for change in changes:
                self._incarnations.keep(connection, change)
            self._traffic.count(connection, told.values())

        if told:
            self._store.save_reports({device: (one.now, one.at) for device, one in told.items()}, beside)

    def _note_erased(self, report: DeviceReport, now: float) -> None:
        """What a device erased as it was told will not come, and is not missed."""
        if not report.erased:
            return
        for one in self._erasures.answered(report.device, report.erased, now):
            log.info("device %s has erased %d queries for erasure %d", report.device, one.rows, one.number)
            self._repeats.note_numbers((task, report.device, number) for task, number in one.numbers)

    def _counted(self, report: DeviceReport, met: Met, now: float) -> Told:
        """What is believed of a report, beside the one before of the same incarnation."""
        if met.first_told:
            log.warning("device %s: %s", report.device, ADVICE)
        if met.twins and met.before is not None and met.before.life == report.life:
            report = further(met.before, report)
        report = plausible(report, met.before, met.seconds)
        return Told(met.before, replace(report, state=TWINS) if met.twins else report, now)

    def _admit(self, name: str, now: float) -> Device:
        try:
            return self.registry.admit(name, now)
        except HeadraceError as error:
            self._turned_away.add(What.DEVICE, name, str(error))
            if self._metrics is not None:
                self._metrics.refused()
            raise

    def _declared(self, report: DeviceReport, names: Set[str]) -> DeviceReport:
        """What a report says of declared tasks, once of each; the rest is counted and left out."""
        tasks = {task.task: task for task in report.tasks if task.task in names}
        left_out = len(report.tasks) - len(tasks)
        if left_out:
            last = next((task.task for task in reversed(report.tasks) if task.task not in names), report.tasks[-1].task)
            self._turned_away.add(What.TASK, last, f"said by device {report.device}", left_out)
            if self._metrics is not None:
                self._metrics.undeclared(left_out)
        return replace(report, tasks=tuple(tasks.values()))
