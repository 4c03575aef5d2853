"""How long the watch needs to find a break: the figure to print beside every promise.

Rules:
 * A delay is reckoned at the mean pace of the evidence; chance makes single ones shorter or longer.
 * The least delay that any watch could have stands beside it.
 * Once the release is suspected all queries are explored (``suspicion``), and each gives a row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from router.core.statistics.e_process import RESTART_ROWS, WORSE, log_add, log_gains, log_restart_weight
from router.core.statistics.suspicion import rows_to_suspicion


@dataclass(frozen=True, slots=True)
class Delay:
    """How long the watch needs to find a release that has become worse.

    Attributes:
        ratio: The loss has become so many times the promise.
        rows: Explored rows until the alarm, about.
        queries: Queries until then, about: at the task's exploration rate until the release is suspected, and then at
            1; infinite at rate 0.
        least_rows: What no watch with this chance of a false alarm can beat on average.
    """

    ratio: float
    rows: int
    queries: float
    least_rows: int


def detection_delay(promise: float, alpha: float, exploration: float, ratio: float, quiet_rows: int = 0) -> Delay:
    """How long until the alarm once the loss has become ``ratio`` times the promise.

    Args:
        promise: Largest loss allowed, in (0, 1).
        alpha: Chance of a false alarm over life, in (0, 1).
        exploration: Share of queries that are explored, in [0, 1].
        ratio: At least the first of ``WORSE``, and below ``1 / promise``.
        quiet_rows: Explored rows at exactly the promise before.

    Raises:
        ValueError: The ratio is out of its range.
    """
    if not WORSE[0] <= ratio < 1 / promise:
        raise ValueError(f"ratio is {ratio}; use {WORSE[0]} or more, and less than {1 / promise:g}")
    loss = ratio * promise
    rows = _rows_to_alarm(promise, alpha, loss, quiet_rows)
    least = -math.log(alpha) / divergence(loss, promise)
    slow = min(float(rows_to_suspicion(promise, loss)), rows)
    queries = slow / exploration + rows - slow if exploration else math.inf
    return Delay(ratio, math.ceil(rows), queries, math.ceil(least))


def describe_delays(promise: float, alpha: float, exploration: float, quiet_rows: int = 0) -> str:
    """The delays for 1.5, 2 and 3 times the promise as one line to print beside it."""
    parts = []
    for ratio in (1.5, 2.0, 3.0):
        if ratio * promise < 1:
            delay = detection_delay(promise, alpha, exploration, ratio, quiet_rows)
            asked = f"{delay.queries:,.0f} queries" if math.isfinite(delay.queries) else "never: nothing is explored"
            parts.append(f"{ratio:g}x: {delay.rows:,} explored rows ({asked})")
    return "a break is found after about " + "; ".join(parts)


def divergence(loss: float, other: float) -> float:
    """Kullback-Leibler divergence in nats between losses of chance ``loss`` in [0, 1] and ``other`` in (0, 1)."""
    total = 0.0
    for chance, against in ((loss, other), (1 - loss, 1 - other)):
        if chance > 0:
            total += chance * math.log(chance / against)
    return total


def _rows_to_alarm(promise: float, alpha: float, loss: float, quiet_rows: int) -> float:
    """Rows until the watch's evidence, moving at its mean pace, reaches the limit."""
    gains = log_gains(promise)
    quiet = [promise * lost + (1 - promise) * kept for kept, lost in gains]
    worse = [loss * lost + (1 - loss) * kept for kept, lost in gains]
    limit = -math.log(alpha) + math.log(len(WORSE))
    bets = [-math.inf] * len(WORSE)
    restart = 0
    while True:
        quiet_here = min(max(quiet_rows - restart * RESTART_ROWS, 0), RESTART_ROWS)
        restart += 1
        bets = [
            log_add(bet, log_restart_weight(restart)) + quiet_here * gain for bet, gain in zip(bets, quiet, strict=True)
        ]
        worse_here = RESTART_ROWS - quiet_here
        least = min(max(limit - bet, 0.0) / gain for bet, gain in zip(bets, worse, strict=True) if gain > 0)
        if worse_here and least <= worse_here:
            return max((restart - 1) * RESTART_ROWS + quiet_here + least - quiet_rows, 1.0)
        bets = [bet + worse_here * gain for bet, gain in zip(bets, worse, strict=True)]
