"""The Fleet service: a device reports, and is told what to run.

Rules:
 * A device is told the champion of every task; how much to explore and the operator override come along. What may keep
   nothing is in ``cloud_worker.fleet.ordering``.
 * A device is told its share of the fleet's limits, and that nothing is left once they are spent.
 * Reports are spread by jitter, so that a fleet does not come all at once.
 * Two agents under one name are told so, and everybody else too; see ``lives``.
 * What a report says of a task that nobody declared is left out, and counted.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable, Set
from dataclasses import replace
from typing import Any

from cloud_worker.config.sections import Fleet
from cloud_worker.fleet.device_lives import ADVICE, TWINS, Lives, Met
from cloud_worker.fleet.metrics import FleetMetrics
from cloud_worker.fleet.ordered_rates import OrderedRates
from cloud_worker.fleet.ordering import OrderBook
from cloud_worker.fleet.presence import Presence
from cloud_worker.fleet.registry import Registry
from cloud_worker.fleet.turned_away import TurnedAway, What
from cloud_worker.releases.publisher import Publisher
from cloud_worker.state.fleet_quota import FleetLimits, share_of_device
from cloud_worker.state.store import Device, Store
from cloud_worker.state.traffic import Traffic
from router.core.domain.task import Limits, Task
from router.core.errors import BadInputError, HeadraceError
from router.core.policy.budget import DAY_SECONDS
from router.core.release.orders import DeviceReport, Orders
from router.core.release.plausible_reports import plausible
from router.transport.fleet_wire import orders_to_proto, report_from_proto
from router.transport.server import caller_of
from router.v1 import fleet_pb2, fleet_pb2_grpc

log = logging.getLogger(__name__)

COUNT_SECONDS = 5.0  # between two counts of the devices


class FleetServicer(fleet_pb2_grpc.FleetServicer):
    """Serves ``Sync``."""

    def __init__(
        self,
        store: Store,
        settings: Fleet,
        insecure: bool,
        tasks: Iterable[Task] = (),
        told: Callable[[str], None] = lambda device: None,
        clock: Callable[[], float] = time.time,
        metrics: FleetMetrics | None = None,
        publisher: Publisher | None = None,
    ) -> None:
        """Serve from ``store`` at the pace of ``settings``.

        Args:
            store: The state of the fleet.
            settings: How often devices report.
            insecure: Callers are who they say they are.
            tasks: Those that are configured; without any, all that the store knows are ordered.
            told: Hears of each device that has been told its orders.
            clock: Tells Unix time in seconds.
            metrics: Count what is not taken.
            publisher: Where the releases lie; without one no certificate is looked at.
        """
        tasks = tuple(tasks)
        self._book = OrderBook(store, tasks, publisher)
        self._registry = Registry(store, settings.max_devices)
        self._metrics = metrics
        self._clock = clock
        self._told = told
        presence = Presence.of(settings.sync_seconds, settings.jitter)
        self._lives = Lives(store.engine, presence.silent_after)
        self._rates = OrderedRates(store.engine)
        self._rates.take_over(store.devices)
        self._limited = {task.name: task for task in tasks if task.budget != Limits()}
        self._open = frozenset(task.name for task in tasks if not task.local_only)
        self._limits = FleetLimits(store)
        self._turned_away = TurnedAway(store.engine, clock)
        self._counted: tuple[float, int] | None = None
        self._store = store
        self._traffic = Traffic(store.engine)
        self._settings = settings
        self._insecure = insecure

    async def Sync(self, request: Any, context: Any) -> fleet_pb2.SyncResponse:  # noqa: N802 - the contract's name
        """Keep the report and answer the orders."""
        caller = caller_of(context, self._insecure)
        report = report_from_proto(request)
        if report.device and report.device != caller:
            raise BadInputError("device", f"is {report.device!r}, but the caller is {caller!r}")
        orders = await asyncio.to_thread(self._answer, replace(report, device=caller), self._clock())
        self._told(caller)
        return orders_to_proto(orders)

    def _answer(self, report: DeviceReport, came: float | None = None) -> Orders:
        now = self._clock() if came is None else came
        self._turned_away.flush()
        device = self._admit(report.device, now)
        reported = {task.task for task in report.tasks}
        report = self._declared(report, {state.name for state in self._store.task_states()})
        met = self._lives.meet(device, report, now)
        if not met.late:
            self._count(report, met, now)
        orders, said = self._book.orders(report.device)
        self._rates.tell(report.device, {order.task: order.exploration for order in orders}, now)
        spread = 1 + random.uniform(-self._settings.jitter, self._settings.jitter)
        return Orders(
            tasks=(
                *(
                    replace(order, may_leave=order.task in self._open, **self._limits_of(order.task, now))
                    for order in orders
                ),
                *self._book.withdrawn(reported),
            ),
            interval_seconds=self._settings.sync_seconds * spread,
            seed=device.seed,
            message=ADVICE if met.twins else said,
            now=now,
        )

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

    def _limits_of(self, name: str, now: float) -> dict[str, Any]:
        """What the device may send: its own limit, and its share of the fleet's while that is not spent."""
        task = self._limited.get(name)
        if task is None:
            return {}
        share = None
        if task.budget.of_fleet:
            share = share_of_device(task.budget, self._devices_of_day(now)) if self._limits.is_open(task) else 0
        return {"queries_per_minute": task.budget.queries_per_minute, "queries_per_day": share}

    def _devices_of_day(self, now: float) -> int:
        """How many devices in use reported within the last day, as counted some seconds ago at most.

        Whoever only reports takes nothing of anybody's share; see ``registry``.
        """
        if not self._counted or now - self._counted[0] > COUNT_SECONDS:
            self._counted = (now, self._registry.in_use_since(now - DAY_SECONDS))
        return self._counted[1]
