"""The limits of a task and what is spent of them today, for ``status`` and its JSON.

Rules:
 * What the fleet has spent counts at the gateways alone; what a device may send in a minute, it counts itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from router.core.domain.task import Limits
from router.core.policy.budget import DAY_SECONDS, Spent


@dataclass(frozen=True, slots=True)
class LimitsTold:
    """The limits of a task, ``None`` for none, and what the fleet has spent of those of a day."""

    queries_per_minute: int | None
    queries_per_day: int | None
    usd_per_day: float | None
    queries: int
    usd: float


def describe_limits(limits: Limits, spent: Spent, now: float) -> LimitsTold | None:
    """What is limited and spent; ``None`` where nothing is limited.

    Args:
        limits: Of the task.
        spent: Of its account.
        now: Unix time in seconds.
    """
    if limits == Limits():
        return None
    today = spent if spent.day == int(now // DAY_SECONDS) else Spent()
    return LimitsTold(limits.queries_per_minute, limits.queries_per_day, limits.usd_per_day, today.queries, today.usd)


def limit_lines(said: LimitsTold | None) -> Iterator[str]:
    """A line for people; ``said`` as ``describe_limits`` gives it."""
    if said is None:
        return
    parts = []
    if said.queries_per_day is not None:
        parts.append(f"{said.queries:,} of {said.queries_per_day:,} queries")
    if said.usd_per_day is not None:
        parts.append(f"${said.usd:,.2f} of ${said.usd_per_day:,.2f}")
    today = [f"{' and '.join(parts)} today"] if parts else []
    minute = [f"{said.queries_per_minute:,} queries a minute each"] if said.queries_per_minute is not None else []
    yield f"limits: {'; '.join(today + minute)}"
