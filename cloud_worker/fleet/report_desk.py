"""Takes the report of a device in: admits it, leaves out what can't be, counts what is new, and keeps it.

Rules:
 * Two agents under one name are told so, and everybody else too; see ``device_lives``.
 * What a report says of a task that nobody declared is left out, and counted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Set
from dataclasses import replace

from cloud_worker.fleet.device_lives import ADVICE, TWINS, Lives, Met
from cloud_worker.fleet.erasures import Erasures
from cloud_worker.fleet.metrics import FleetMetrics
from cloud_worker.fleet.registry import Registry
from cloud_worker.fleet.turned_away import TurnedAway, What
from cloud_worker.state.repeated_rows import Repeats
from cloud_worker.state.store import Device, Store
from cloud_worker.state.traffic import Traffic
from router.core.errors import HeadraceError
from router.core.privacy.erasure import Erasure
from router.core.release.orders import DeviceReport
from router.core.release.plausible_reports import plausible

log = logging.getLogger(__name__)


class ReportDesk:
    """Of one fleet."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        silent_after: float,
        clock: Callable[[], float],
        metrics: FleetMetrics | None = None,
    ) -> None:
        """Keep reports in ``store``.

        Args:
            store: The state of the fleet.
            registry: Who is in the fleet.
            silent_after: Seconds after which a device is silent.
            clock: Tells Unix time in seconds.
            metrics: Count what is not taken.
        """
        self._store = store
        self._registry = registry
        self._metrics = metrics
        self._lives = Lives(store.engine, silent_after)
        self._turned_away = TurnedAway(store.engine, clock)
        self._erasures, self._repeats = Erasures(store.engine), Repeats(store.engine)
        self._traffic = Traffic(store.engine)

    def take(self, report: DeviceReport, now: float) -> tuple[Device, str]:
        """Take a report that came at Unix time ``now`` in seconds; say of which device, and what that is to be told.

        Raises:
            HeadraceError: The device is not admitted.
        """
        self._turned_away.flush()
        device = self._admit(report.device, now)
        self._note_erased(report, now)
        report = self._declared(replace(report, erased=()), {state.name for state in self._store.task_states()})
        met = self._lives.meet(device, report, now)
        if not met.late:
            self._count(report, met, now)
        return device, ADVICE if met.twins else ""

    def erasures(self, device: str) -> tuple[Erasure, ...]:
        """What a device has to erase yet."""
        return self._erasures.for_device(device)

    def _note_erased(self, report: DeviceReport, now: float) -> None:
        """What a device erased as it was told will not come, and is not missed."""
        if not report.erased:
            return
        for one in self._erasures.answered(report.device, report.erased, now):
            log.info("device %s has erased %d queries for erasure %d", report.device, one.rows, one.number)
            self._repeats.note_numbers((task, report.device, place) for task, place in one.numbers)

    def _count(self, report: DeviceReport, met: Met, now: float) -> None:
        """Count what a report says more than the one before of the same life, and keep it."""
        if met.first_told:
            log.warning("device %s: %s", report.device, ADVICE)
        report = plausible(report, met.before, met.seconds)
        self._traffic.add(met.before, report, now)
        self._store.save_report(replace(report, state=TWINS) if met.twins else report, now)

    def _admit(self, name: str, now: float) -> Device:
        try:
            return self._registry.admit(name, now)
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
