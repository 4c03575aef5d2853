"""What a life came to: whether a release broke its promise, what stayed at home, what was saved, what went wrong.

Rules:
 * A release breaks its promise if its true loss under the law of the moment of its release exceeds the allowance.
 * What explores or escalates is paid: saved is what never asked the cloud, of all queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np

from bench.parts.lived import Lived, Serving, loss_of, spans
from bench.parts.traffic import World
from router.core.arrays import Array
from router.core.statistics.intervals import share_interval

WINDOWS = 10  # of a life, whose worst is told


@dataclass(frozen=True, slots=True)
class LifeFigures:
    """Figures of one life.

    Attributes:
        broken: A certified release's true loss exceeded the promise.
        worst_loss: The largest true loss of any release when it was released, 0 without any.
        local_share: Of all queries, answered on the device.
        net_saving: Of all queries, those that never asked the cloud.
        least_saving: The same, in the worst window of a tenth of the life after the first release, if there is any.
        time_above: Of the queries after the change, or of all in a stationary world, those while a release served whose
            true loss was above the allowance at that moment.
        disagreement: Of all queries, answered otherwise than the reference would.
        releases: How many served.
        alarms: How many releases were stopped by the watch.
        first_at: Queries before the first release, all of them without any.
        from_memory: Of all queries, those that a memory answered and that never asked the cloud.
        memory_broke: Student and memories together truly lost more than the promise at any time that was looked at.
    """

    broken: bool
    worst_loss: float
    local_share: float
    net_saving: float
    least_saving: float | None
    time_above: float
    disagreement: float
    releases: int
    alarms: int
    first_at: int = 0
    from_memory: float = 0.0
    memory_broke: bool = False


def figures_of(lived: Lived, promise: float) -> LifeFigures:
    """The figures of one life."""
    world, served = lived.world, lived.life.served
    losses = [loss_of(one, world.law_at(one.queries)) for one in lived.stood if not one.goes_on]
    asked = np.array([row.cloud for row in served], np.float64)
    return LifeFigures(
        broken=any(loss > promise for loss in losses),
        worst_loss=max(losses, default=0.0),
        local_share=float(np.mean([row.local for row in served])),
        net_saving=1.0 - float(asked.mean()),
        least_saving=least_saving(asked, lived.stood),
        time_above=time_above(world, lived.stood, promise),
        disagreement=float(np.mean([not row.agrees for row in served])),
        releases=len(lived.life.releases),
        alarms=lived.life.alarms,
        first_at=lived.life.releases[0].at_query if lived.life.releases else len(served),
        from_memory=float(np.mean([row.remembered and not row.cloud for row in served])),
        memory_broke=any(loss > promise for loss in lived.losses),
    )


def least_saving(asked: Array, stood: Sequence[Serving]) -> float | None:
    """The least share of queries that did not ask the cloud, over windows of a tenth of a life since the first release.

    Args:
        asked: (queries,) 1 where the cloud was asked.
        stood: The releases.
    """
    width = len(asked) // WINDOWS
    after = asked[stood[0].queries :] if stood else asked[:0]
    if not width or len(after) < width:
        return None
    sums = np.concatenate([[0.0], np.cumsum(after)])
    return 1.0 - float((sums[width:] - sums[:-width]).max()) / width


def time_above(world: World, stood: Sequence[Serving], promise: float) -> float:
    """Share of the queries since the first change that were served under a loss above the promise, in [0, 1]."""
    queries, above = len(world.texts), 0
    for one, start, end in spans(stood, queries):
        for law, first, last in world.spans():
            shared = min(end, last) - max(start, first, world.change_at)
            if one.student is not None and shared > 0 and loss_of(one, law) > promise:
                above += shared
    return above / max(queries - world.change_at, 1)


def told(name: str, is_stationary: bool, lives: Sequence[LifeFigures]) -> dict[str, object]:
    """One world's row: shares over lives with the 95 % interval of Clopper and Pearson, and means."""
    broken = share_interval(sum(one.broken for one in lives), len(lives))
    least = [one.least_saving for one in lives if one.least_saving is not None]
    return {
        "world": name,
        "stationary": is_stationary,
        "lives": len(lives),
        "broken": round(broken.share, 4),
        "low": round(broken.low, 4),
        "high": round(broken.high, 4),
        "local_share": round(fmean(one.local_share for one in lives), 4),
        "net_saving": round(fmean(one.net_saving for one in lives), 4),
        "time_above": round(fmean(one.time_above for one in lives), 4),
        "least_saving": round(min(least), 4) if least else None,
        "disagreement": round(fmean(one.disagreement for one in lives), 4),
        "worst_loss": round(median(one.worst_loss for one in lives), 4),
        "releases": round(fmean(one.releases for one in lives), 2),
        "alarmed": round(fmean(one.alarms > 0 for one in lives), 4),
        "first_at": round(median(one.first_at for one in lives)),
        "from_memory": round(fmean(one.from_memory for one in lives), 4),
        "memory_broke": round(fmean(one.memory_broke for one in lives), 4),
    }
