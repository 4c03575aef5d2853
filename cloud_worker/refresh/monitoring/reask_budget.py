"""Asks the pool a second time within the fleet's limits: that costs what every query costs.

Rules:
 * Each query is paid before it is asked, and settled at its price; one that gave no answer costs no money.
 * What the limits do not let go now is not asked, and is still wanted another time.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from cloud_worker.refresh.monitoring.reference_consistency import AskAgain
from cloud_worker.state.fleet_quota import FleetLimits, Payment
from cloud_worker.teachers.base import Reply, TeacherAnswer
from router.core.domain.record import Record
from router.core.domain.task import Task
from router.core.errors import OverloadedError, UnavailableError


def paying(ask: AskAgain, limits: FleetLimits) -> AskAgain:
    """``ask``, within ``limits``; raises ``UnavailableError`` where they let nothing go."""

    def ask_and_pay(task: Task, records: Sequence[Record]) -> list[Reply | None]:
        payments = _pay(limits, task, len(records))
        if records and not payments:
            raise UnavailableError(f"the limits of task {task.name!r} are spent for today")
        replies: list[Reply | None] = []
        try:
            replies = list(ask(task, records[: len(payments)]))
        finally:
            _settle(limits, task, payments, replies)
        return replies + [None] * (len(records) - len(replies))

    return ask_and_pay


def _pay(limits: FleetLimits, task: Task, queries: int) -> list[Payment | None]:
    payments: list[Payment | None] = []
    with suppress(OverloadedError):  # what is paid is asked
        payments.extend(limits.pay(task) for _ in range(queries))
    return payments


def _settle(
    limits: FleetLimits, task: Task, payments: Sequence[Payment | None], replies: Sequence[Reply | None]
) -> None:
    known = [reply.usd if isinstance(reply, TeacherAnswer) else 0.0 for reply in replies]
    costs = known + [0.0] * (len(payments) - len(known))
    for payment, cost in zip(payments, costs, strict=True):
        if payment is not None:
            limits.settle(task, payment, cost)
