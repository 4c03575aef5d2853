"""The Fleet service: a device reports, and is told what to run.

Rules:
 * A device is told the champion of every task; how much to explore and the operator's hand come along.
 * While a task's watch is alarmed its devices keep nothing: they escalate everything.
 * A device is told its share of the fleet's limits, and that nothing is left once they are spent.
 * Reports are spread by jitter, so that a fleet does not come all at once.
 * What a report says of a task that nobody declared is left out, and counted.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Set
from dataclasses import replace
from typing import Any

from cloud_worker.config import Fleet
from cloud_worker.fleet_limits import FleetLimits, seen_lately, share_of_device
from cloud_worker.fleet_metrics import FleetMetrics
from cloud_worker.ordered_rates import OrderedRates
from cloud_worker.registry import Registry
from cloud_worker.store import Device, Store, TaskState
from cloud_worker.traffic import Traffic
from router.bounds import check_message
from router.door import caller_of
from router.errors import BadInputError, HeadraceError, NotServedError
from router.lookout import ALARMED
from router.plausible import plausible
from router.rollout import DeviceReport, Order, Orders
from router.task import Limits, Mode, Task
from router.v1 import fleet_pb2, fleet_pb2_grpc
from router.wire import orders_to_proto, report_from_proto


class FleetServicer(fleet_pb2_grpc.FleetServicer):
    """Serves ``Sync``; enrolment comes with mutual TLS."""

    def __init__(
        self,
        store: Store,
        settings: Fleet,
        insecure: bool,
        tasks: Iterable[Task] = (),
        told: Callable[[str], None] = lambda device: None,
        clock: Callable[[], float] = time.time,
        metrics: FleetMetrics | None = None,
    ) -> None:
        """Serve from ``store`` at the pace of ``settings``.

        Args:
            store: The state of the fleet.
            settings: How often devices report.
            insecure: Callers are who they say they are.
            tasks: Whose limits devices are told.
            told: Hears of each device that has been told its orders.
            clock: Tells Unix time in seconds.
            metrics: Count what is not taken.
        """
        self._registry = Registry(store, settings.max_devices)
        self._metrics = metrics
        self._clock = clock
        self._told = told
        self._rates = OrderedRates(store.engine)
        self._rates.take_over(store.devices())
        self._limited = {task.name: task for task in tasks if task.budget != Limits()}
        self._limits = FleetLimits(store)
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
        orders = await asyncio.to_thread(self._answer, replace(report, device=caller))
        self._told(caller)
        return orders_to_proto(orders)

    async def Enroll(self, request: Any, context: Any) -> fleet_pb2.EnrollResponse:  # noqa: N802
        """Not served yet."""
        check_message(request)
        raise NotServedError("enrolment comes with mutual TLS; start both sides with --insecure on one machine")

    async def Renew(self, request: Any, context: Any) -> fleet_pb2.RenewResponse:  # noqa: N802
        """Not served yet."""
        check_message(request)
        raise NotServedError("renewal comes with mutual TLS; start both sides with --insecure on one machine")

    def _answer(self, report: DeviceReport) -> Orders:
        now = self._clock()
        device = self._admit(report.device, now)
        states = self._store.task_states()
        report = self._declared(report, {state.name for state in states})
        report = plausible(report, device.report, now - device.last_seen)
        self._traffic.add(device.report, report, now)
        self._store.save_report(report, now)
        states = [state for state in states if state.manifest_sha256]
        self._rates.tell(report.device, {state.name: state.exploration for state in states}, now)
        spread = 1 + random.uniform(-self._settings.jitter, self._settings.jitter)
        return Orders(
            tasks=tuple(replace(_order(state), **self._limits_of(state.name, now)) for state in states),
            interval_seconds=self._settings.sync_seconds * spread,
            seed=device.seed,
        )

    def _admit(self, name: str, now: float) -> Device:
        try:
            return self._registry.admit(name, now)
        except HeadraceError:
            if self._metrics is not None:
                self._metrics.refused()
            raise

    def _declared(self, report: DeviceReport, names: Set[str]) -> DeviceReport:
        """What a report says of declared tasks, once of each; the rest is counted and left out."""
        tasks = {task.task: task for task in report.tasks if task.task in names}
        left_out = len(report.tasks) - len(tasks)
        if left_out and self._metrics is not None:
            self._metrics.undeclared(left_out)
        return replace(report, tasks=tuple(tasks.values()))

    def _limits_of(self, name: str, now: float) -> dict[str, Any]:
        """What the device may send: its own limit, and its share of the fleet's while that is not spent."""
        task = self._limited.get(name)
        if task is None:
            return {}
        share = None
        if task.budget.of_fleet:
            devices = seen_lately([device.last_seen for device in self._store.devices()], now)
            share = share_of_device(task.budget, devices) if self._limits.is_open(task) else 0
        return {"queries_per_minute": task.budget.queries_per_minute, "queries_per_day": share}


def _order(state: TaskState) -> Order:
    return Order(
        task=state.name,
        release=state.champion,
        manifest_sha256=state.manifest_sha256,
        exploration=state.exploration,
        mode=Mode.ESCALATE_ALL if state.watch == ALARMED and state.mode is Mode.SERVE else state.mode,
        watch=state.watch,
    )
