"""What one task may still send from this device, and the permits for it.

Rules:
 * Whether a limit keeps a query here is known before anything is known of its answer.
 * A permit counts as spent from its beginning; unused it gives back what it held.
 * A fleet's limit that is spent shuts it for a while: by then an order knows the whole.
 * Budgets start with the first student: before it everything must escalate.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from router.core.policy.budget import Budget, Spent, allows, hold, release, seconds_until, spend

_NO_LIMITS = Budget()
SHUT_SECONDS = 60.0  # several times what lies between two reports


@dataclass(slots=True)
class Quota:
    """The quota of one task.

    Attributes:
        budget: The limits in force.
        spent: Until now.
        clock: Tells Unix time in seconds.
        changed: Called when something was spent.
        shut_until: Unix time in seconds before which nothing leaves.
    """

    budget: Budget = field(default_factory=Budget)
    spent: Spent = field(default_factory=Spent)
    clock: Callable[[], float] = time.time
    changed: Callable[[], None] = lambda: None
    shut_until: float = 0.0

    def permit(self) -> Permit:
        """A permit for one query, granted if the limits allow it now."""
        if self.clock() < self.shut_until:
            return Permit(granted=False)
        if self.budget == _NO_LIMITS:
            return Permit()
        granted = allows(self.budget, self.spent, self.clock())
        if granted:
            self.spent = hold(self.spent)
        return Permit(granted, self if granted else None)

    def shut(self) -> None:
        """The fleet's limit is spent: nothing leaves for a while, until when an order has said so."""
        self.shut_until = self.clock() + SHUT_SECONDS

    def wait(self) -> float:
        """Seconds until the next permit can be granted."""
        now = self.clock()
        return max(seconds_until(self.budget, self.spent, now), self.shut_until - now)


@dataclass(slots=True)
class Permit:
    """A permit for one query to leave. ``granted`` never changes; a permit without a quota is bound by no limit."""

    granted: bool = True
    quota: Quota | None = None

    def use(self) -> None:
        """The query leaves now."""
        if self.quota is not None:
            self.quota.spent = spend(self.quota.budget, release(self.quota.spent), self.quota.clock())
            self.quota.changed()
            self.quota = None

    def close(self) -> None:
        """The query is done; what was not used is given back."""
        if self.quota is not None:
            self.quota.spent = release(self.quota.spent)
            self.quota = None
