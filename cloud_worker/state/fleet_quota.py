"""What the fleet may still ask of a task's reference today: queries and money, in the store.

Rules:
 * A query is paid before it is asked, with the price of the costliest so far, and settled when its price is known: a
   day is overdrawn by no more than what the queries under way cost above that.
 * A kill forgets nothing; a query that was under way stays paid. Several gateways share one account.
 * Budgets start with the first student: before it everything must escalate.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from cloud_worker.state.schema import ACCOUNTS
from cloud_worker.state.store import Store
from router.core.domain.task import Limits, Task
from router.core.errors import OverloadedError, SpentError
from router.core.policy.budget import Budget, Spent, allows, settle, spend

MOST_TRIES = 50  # to book beside other gateways


@dataclass(frozen=True, slots=True)
class Account:
    """What one task has spent of its limits.

    ``booking`` counts its changes; ``costliest`` is the highest price so far in USD.
    """

    booking: int = 0
    spent: Spent = field(default_factory=Spent)
    costliest: float = 0.0


@dataclass(frozen=True, slots=True)
class Payment:
    """What was paid for one query, in USD, on a day since the epoch."""

    usd: float
    day: int


class FleetLimits:
    """The accounts of all tasks."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        """Keep them in ``store``; ``clock`` tells Unix time in seconds."""
        self._store = store
        self._clock = clock

    def pay(self, task: Task) -> Payment | None:
        """Pay for one query that is about to be asked; ``None`` where nothing limits it.

        Raises:
            SpentError: The day's limit is reached.
            OverloadedError: Too many gateways book at once.
        """
        if not self._binds(task):
            return None
        budget, now = budget_of(task.budget), self._clock()
        for _ in range(MOST_TRIES):
            account = self.account(task.name)
            if not allows(budget, account.spent, now, account.costliest):
                raise SpentError(f"the fleet's limit for task {task.name!r} is reached for today (UTC)")
            paid = spend(budget, account.spent, now, account.costliest)
            if self._book(task.name, account, paid, account.costliest):
                return Payment(account.costliest, paid.day)
        raise OverloadedError(f"the account of task {task.name!r} is busy; ask again", 1.0)

    def settle(self, task: Task, payment: Payment, cost: float) -> None:
        """Put the price in USD, known now, in place of what was paid; 0 for a query that failed."""
        for _ in range(MOST_TRIES):
            account = self.account(task.name)
            same = account.spent.day == payment.day  # else that day is over, and with it its account
            spent = settle(account.spent, payment.usd, cost) if same else account.spent
            if self._book(task.name, account, spent, max(account.costliest, cost)):
                return

    def is_open(self, task: Task) -> bool:
        """Whether the fleet may ask one more query now."""
        account = self.account(task.name)
        return not self._binds(task) or allows(budget_of(task.budget), account.spent, self._clock(), account.costliest)

    def open_of(self, tasks: Iterable[Task], champions: Mapping[str, int]) -> frozenset[str]:
        """The tasks of which the fleet may ask one more query; ``champions`` are the releases that serve, by task."""
        bound = [task for task in tasks if task.budget.of_fleet and champions.get(task.name, 0) > 0]
        with self._store.engine.connect() as connection:
            found = connection.execute(select(ACCOUNTS).where(ACCOUNTS.c.task.in_([task.name for task in bound])))
            accounts = {row.task: _account(row) for row in found}
        now, spent = self._clock(), set()
        for task in bound:
            account = accounts.get(task.name, Account())
            if not allows(budget_of(task.budget), account.spent, now, account.costliest):
                spent.add(task.name)
        return frozenset(task.name for task in tasks if task.name not in spent)

    def account(self, task: str) -> Account:
        """The account of a task, as it stands."""
        with self._store.engine.connect() as connection:
            return _read(connection, task)

    def _binds(self, task: Task) -> bool:
        return task.budget.of_fleet and self._store.task_state(task.name).champion > 0

    def _book(self, task: str, before: Account, spent: Spent, costliest: float) -> bool:
        """Write what follows from ``before``, unless somebody has written in between."""
        values = {"booking": before.booking + 1, "day": spent.day, "queries": spent.queries, "usd": spent.usd}
        values["costliest"] = costliest
        try:
            with self._store.engine.begin() as connection:
                if not before.booking:
                    connection.execute(insert(ACCOUNTS).values(task=task, **values))
                    return True
                mine = (ACCOUNTS.c.task == task) & (ACCOUNTS.c.booking == before.booking)
                return connection.execute(update(ACCOUNTS).where(mine).values(**values)).rowcount == 1
        except IntegrityError:  # another gateway opened the account
            return False


def budget_of(limits: Limits) -> Budget:
    """What the fleet as a whole may spend."""
    return Budget(per_day=limits.queries_per_day, usd_per_day=limits.usd_per_day)


def share_of_device(limits: Limits, devices: int) -> int | None:
    """How many queries a day one of ``devices`` may send, ``None`` for no limit; never none at all."""
    return None if limits.queries_per_day is None else max(limits.queries_per_day // max(devices, 1), 1)


def _read(connection: Connection, task: str) -> Account:
    row = connection.execute(select(ACCOUNTS).where(ACCOUNTS.c.task == task)).first()
    return Account() if row is None else _account(row)


def _account(row: Any) -> Account:
    return Account(row.booking, Spent(day=row.day, queries=row.queries, usd=row.usd), row.costliest)
