"""The Fleet service: a device reports, and is told what to run.

Rules:
 * A device is told what to run of every task; how much to explore and the operator override come along. Which release,
   and what may keep nothing, is in ``cloud_worker.fleet.ordering``.
 * A device is told its share of the fleet's limits, and that nothing is left once they are spent.
 * A device is told what it is to erase until it has said that it has.
 * Reports are spread by jitter, so that a fleet does not come all at once.
 * How a report is taken stands in ``report_intake``; many are answered together, see ``report_groups``.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from cloud_worker.config.sections import Fleet
from cloud_worker.fleet.device_shares import DeviceShares
from cloud_worker.fleet.metrics import FleetMetrics
from cloud_worker.fleet.ordered_rates import OrderedRates
from cloud_worker.fleet.ordering import OrderBook, Signed
from cloud_worker.fleet.report_groups import Answers, Came, ReportGroups
from cloud_worker.fleet.report_intake import ReportIntake, Taken
from cloud_worker.releases.publisher import Publisher
from cloud_worker.state.store import Store
from router.core.domain.task import Task
from router.core.errors import BadInputError
from router.core.release.orders import CONTRACT, Order, Orders
from router.core.release.reports import DeviceReport
from router.transport.fleet_wire import orders_to_proto, report_from_proto
from router.transport.server import caller_of
from router.v1 import fleet_pb2, fleet_pb2_grpc


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
        self._signed: Signed = lambda: None
        self._store = store
        self._groups = ReportGroups(self.answer_all)
        self._book = OrderBook(store, tasks, publisher, signed=lambda: self._signed())
        self._clock = clock
        self._told = told
        self._intake = ReportIntake(store, settings, clock, metrics)
        self._rates = OrderedRates(store.engine)
        self._rates.take_over(store.devices)
        self._open = frozenset(task.name for task in tasks if task.may_leave_unread)
        self._shares = DeviceShares(store, self._intake.registry, tasks)
        self._settings = settings
        self._insecure = insecure

    def order_signed_releases(self, signed: Signed) -> None:
        """Tell devices from now on only of releases that ``signed`` holds; of all where it gives ``None``."""
        self._signed = signed

    async def Sync(self, request: Any, context: Any) -> fleet_pb2.SyncResponse:  # noqa: N802 - the contract's name
        """Keep the report and answer the orders."""
        caller = caller_of(context, self._insecure)
        report = report_from_proto(request)
        if report.device and report.device != caller:
            raise BadInputError("device", f"is {report.device!r}, but the caller is {caller!r}")
        orders = await self._groups.answer(Came(replace(report, device=caller), self._clock()))
        self._told(caller)
        return orders_to_proto(orders)

    def answer(self, report: DeviceReport, came: float | None = None) -> Orders:
        """The orders for one report that comes without a channel, at Unix time ``came`` or now.

        Raises:
            HeadraceError: The report is not taken.
        """
        (answer,) = self.answer_all([Came(report, self._clock() if came is None else came)])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def answer_all(self, group: Sequence[Came]) -> Answers:
        """The answer to each of a group of reports, one of each device."""
        states = self._store.task_states()
        taken = self._intake.take_all(group, {state.name for state in states})
        came = {one.report.device: one for one, had in zip(group, taken, strict=True) if isinstance(had, Taken)}
        if not came:
            return [had for had in taken if isinstance(had, Exception)]
        runs = {device: {task.task: task.active_release for task in one.report.tasks} for device, one in came.items()}
        orders = self._book.orders_of_all(runs, states)
        rates = {device: {order.task: order.exploration for order in told} for device, (told, _) in orders.items()}
        self._rates.tell_all(rates, {device: one.at for device, one in came.items()})
        erasures = self._intake.erasures([*came])
        shares = self._shares.of_all({state.name: state.champion for state in states}, group[-1].at)
        return [
            had
            if isinstance(had, Exception)
            else Orders(
                tasks=(
                    *self._with_shares(orders[had.device.id][0], shares),
                    *self._book.withdrawn(runs[had.device.id]),
                ),
                interval_seconds=self._interval(),
                seed=had.device.seed,
                message=had.message or orders[had.device.id][1],
                now=one.at,
                erasures=erasures.get(had.device.id, ()),
                contract=CONTRACT,
            )
            for one, had in zip(group, taken, strict=True)
        ]

    def _interval(self) -> float:
        """Seconds until the next report of a device."""
        return self._settings.sync_seconds * (1 + random.uniform(-self._settings.jitter, self._settings.jitter))

    def _with_shares(self, orders: Iterable[Order], shares: Mapping[str, Mapping[str, Any]]) -> Iterable[Order]:
        for order in orders:
            yield replace(order, may_leave=order.task in self._open, **shares.get(order.task, {}))
