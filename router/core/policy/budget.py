"""What may still leave: queries and money. Time is an argument.

Rules:
 * No minute, wherever it begins, and no day of UTC sees more than its limit, whatever the order and the times.
 * What is on its way is held, and counts as spent until it is sent or stays.
 * A clock that is set back frees nothing.
 * More spent never allows more; a smaller limit never allows more.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace

MINUTE_SECONDS = 60.0
DAY_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits; ``None`` for none.

    Attributes:
        per_minute: Most queries in any minute.
        per_day: Most queries in a day.
        usd_per_day: Most money in a day.
    """

    per_minute: int | None = None
    per_day: int | None = None
    usd_per_day: float | None = None


@dataclass(frozen=True, slots=True)
class Spent:
    """What is gone.

    Attributes:
        times: Unix times in seconds of the queries sent within the last minute, oldest first.
        day: Days since the epoch, in UTC.
        queries: Sent that day.
        usd: Spent that day.
        held: Queries on their way that have been neither sent nor kept yet.
    """

    times: tuple[float, ...] = ()
    day: int = 0
    queries: int = 0
    usd: float = 0.0
    held: int = 0


def allows(budget: Budget, spent: Spent, now: float, usd: float = 0.0) -> bool:
    """Whether one more query may leave.

    Args:
        budget: The limits.
        spent: Until now.
        now: Unix time in seconds.
        usd: What the query costs at most.
    """
    known = _at(spent, now)
    if budget.per_minute is not None and len(known.times) + known.held >= budget.per_minute:
        return False
    if budget.per_day is not None and known.queries + known.held >= budget.per_day:
        return False
    return budget.usd_per_day is None or (known.usd < budget.usd_per_day and known.usd + usd <= budget.usd_per_day)


def hold(spent: Spent) -> Spent:
    """A query that may leave is on its way."""
    return replace(spent, held=spent.held + 1)


def release(spent: Spent) -> Spent:
    """Note that a query is on its way no more."""
    return replace(spent, held=max(spent.held - 1, 0))


def spend(budget: Budget, spent: Spent, now: float, usd: float = 0.0) -> Spent:
    """Count one query that leaves.

    Args:
        budget: The limits; the minute is remembered where one limits it.
        spent: Until now.
        now: Unix time in seconds.
        usd: What the query costs at most.
    """
    known = _at(spent, now)
    if budget.per_minute is not None:
        latest = max(now, known.times[-1]) if known.times else now
        known = replace(known, times=(*known.times, latest))
    return replace(known, queries=known.queries + 1, usd=known.usd + usd)


def settle(spent: Spent, usd: float, cost: float) -> Spent:
    """A query for which ``usd`` was spent cost ``cost``."""
    return replace(spent, usd=max(spent.usd - usd + cost, 0.0))


def seconds_until(budget: Budget, spent: Spent, now: float) -> float:
    """How long until the next query may leave, if none is on its way, in seconds; 0 when one may leave now."""
    known = replace(_at(spent, now), held=0)
    if allows(replace(budget, per_minute=None), known, now):
        if allows(budget, known, now) or not budget.per_minute:
            return 0.0 if budget.per_minute != 0 else MINUTE_SECONDS
        return max(known.times[-budget.per_minute] + MINUTE_SECONDS - now, 0.0)
    return (known.day + 1) * DAY_SECONDS - now


def taken_up(spent: Spent, now: float) -> Spent:
    """What was kept over a restart: nothing is on its way, and nothing lies ahead, as where a clock was wrong."""
    times = tuple(min(time, now) for time in spent.times)
    return replace(spent, times=times, day=min(spent.day, int(now // DAY_SECONDS)), held=0)


def _at(spent: Spent, now: float) -> Spent:
    """What counts at ``now``; a time ahead of it counts too."""
    gone = bisect_right(spent.times, now - MINUTE_SECONDS)
    day = int(now // DAY_SECONDS)
    if day > spent.day:
        return Spent(spent.times[gone:], day, held=spent.held)
    return replace(spent, times=spent.times[gone:]) if gone else spent
