"""The least promise that a reference's own unsteadiness leaves. Called in the cloud only.

Rules:
 * The reference is asked twice; nothing can agree with it more often than it agrees with itself.
 * A reference that answers by a rule is asked less, and as much as any other once it contradicts itself.
 * A promise is refused when even the lower end of the interval is above it: what the rows do not show is not held
   against the operator.
"""

from __future__ import annotations

import math

from router.core.statistics.intervals import Interval, share_interval

ASKED_TWICE = 200  # explored queries on which the reference is asked again
ASKED_TWICE_STEADY = 20  # of a reference that draws nothing: a label, a greedy text, a recorded answer


def wanted(differed: int, *, draws: bool) -> int:
    """How many queries the reference is asked twice.

    Args:
        differed: How often its second answer has been another one.
        draws: It samples its answers.
    """
    return ASKED_TWICE if draws or differed else ASKED_TWICE_STEADY


def least_promise(differed: int, asked: int, assurance: float = 0.95) -> Interval:
    """The least promise possible: how often the reference's second answer differs from its first.

    Args:
        differed: Queries on which it did.
        asked: Queries asked twice.
        assurance: Of the interval, in (0, 1).
    """
    return share_interval(differed, asked, assurance)


def breaks(max_disagreement: float, least: Interval) -> bool:
    """Whether the reference itself would break this promise."""
    return max_disagreement < least.low


def least_taken(least: Interval) -> float:
    """The least promise that is not refused: the lower end of the interval, rounded up to four decimals."""
    return math.ceil(least.low * 1e4) / 1e4


def in_words(least: Interval) -> str:
    """Words for people: the least promise possible as measured, the one below which none is taken, and why."""
    refused = f"one below {least_taken(least):g} is refused" if least.low > 0 else "none is refused for it"
    return (
        f"the reference differs from itself on {least.share:.1%} of {least.rows} queries asked twice "
        f"({least.low:.1%} to {least.high:.1%}); the least promise possible is {least.share:.3g} as measured, "
        f"and {refused}"
    )
