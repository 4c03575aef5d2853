"""Intervals of shares, and whether a mean is above 0. Called in the cloud only.

Rules:
 * Exact: Clopper and Pearson 1934. No row gives the whole of [0, 1].
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from router.core.arrays import Array

BETTER = 1.2816  # standard normal quantile of a one-sided 90 %


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
    if not rows:
        return Interval(0.5, 0.0, 1.0, 0)
    from scipy.special import betaincinv  # late: half a second of CPU

    edge = (1 - assurance) / 2
    low = float(betaincinv(hits, rows - hits + 1, edge)) if hits else 0.0
    high = float(betaincinv(hits + 1, rows - hits, 1 - edge)) if hits < rows else 1.0
    return Interval(hits / rows, low, high, rows)


def is_above_zero(values: Array, weights: Array) -> bool:
    """Whether the mean of differences (rows,), each with its weight, is above 0, one-sided at 90 %."""
    mean = float(np.average(values, weights=weights))
    error = math.sqrt(float((weights**2 * (values - mean) ** 2).sum())) / float(weights.sum())
    return mean > 0 and mean >= BETTER * error
