"""Intervals of shares, and the least promise that a reference's own unsteadiness leaves.

Rules:
 * Exact: Clopper and Pearson 1934. No row gives the whole of [0, 1].
 * A reference that contradicts itself can't be agreed with more often than it agrees with itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scipy.special import betaincinv

from router.errors import ConfigError

ASKED_TWICE = 200  # explored queries on which the reference is asked again


@dataclass(frozen=True, slots=True)
class Interval:
    """A share and the ends of its interval, each in [0, 1]; ``rows`` it is made from."""

    share: float
    low: float
    high: float
    rows: int


def share_interval(hits: int, rows: int, assurance: float = 0.95) -> Interval:
    """The two-sided interval of a share.

    Args:
        hits: Rows that have it.
        rows: All of them.
        assurance: Chance that the interval holds the true share, at least, in (0, 1).

    Raises:
        ValueError: Fewer rows than hits, or an assurance out of its range.
    """
    if not 0 <= hits <= rows or not 0 < assurance < 1:
        raise ValueError(f"{hits} of {rows} rows at assurance {assurance} is no share")
    edge = (1 - assurance) / 2
    low = float(betaincinv(hits, rows - hits + 1, edge)) if hits else 0.0
    high = float(betaincinv(hits + 1, rows - hits, 1 - edge)) if hits < rows else 1.0
    return Interval(hits / rows if rows else 0.5, low, high, rows)


def self_agreement(
    pairs: Sequence[tuple[str, str]], agree: Callable[[str, str], bool], assurance: float = 0.95
) -> Interval:
    """The least promise possible: how often the reference's second answer differs from its first.

    Args:
        pairs: First and second answer to the same query.
        agree: The task's judge.
        assurance: Of the interval.
    """
    return share_interval(sum(not agree(first, second) for first, second in pairs), len(pairs), assurance)


def check_promise(task: str, max_disagreement: float, least: Interval) -> None:
    """Refuse a promise that the reference itself would break.

    Args:
        task: Its name.
        max_disagreement: What is promised.
        least: As ``self_agreement`` gives it; without rows nothing is refused.

    Raises:
        ConfigError: Names the least promise possible.
    """
    if least.rows and max_disagreement < least.share:
        raise ConfigError(
            f"task {task}",
            "objective.max_disagreement",
            f"is {max_disagreement:g}, but the reference differs from itself on {least.share:.1%} of {least.rows} "
            f"queries asked twice (interval {least.low:.1%} to {least.high:.1%}); promise {least.share:.3g} or more",
        )
