"""Curves and figures of a cascade, from a table of answers.

Rules:
 * Every figure takes weights, so that a bootstrap is the same figure under counts of a resample.
 * Rows of equal score are deferred together; between two points of a curve a coin decides, so it is joined linearly.
 * Nothing here is fitted: scores and policies come from other rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from router.core.arrays import Array, Bools

SAME_COST = 1e-9  # of the range of a path's costs: closer ones are the same


@dataclass(frozen=True, slots=True)
class Curve:
    """Points joined linearly, x ascending.

    Attributes:
        x: (points,) what is paid: coverage, share deferred, or cost.
        y: (points,) what comes of it: risk, accuracy, or error.
    """

    x: Array
    y: Array

    def at(self, x: float) -> float:
        """The curve's height at ``x``; level beyond its ends."""
        return float(np.interp(x, self.x, self.y))

    def area(self, low: float, high: float) -> float:
        """The mean height between ``low`` and ``high``."""
        inside = self.x[(self.x > low) & (self.x < high)]
        positions = np.concatenate([[low], inside, [high]])
        return float(np.trapezoid(np.interp(positions, self.x, self.y), positions) / (high - low))


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and its bootstrap interval."""

    value: float
    low: float
    high: float


def risk_coverage(scores: Array, correct: Bools, weights: Array | None = None) -> Curve:
    """Error among the answers kept, over the share kept, when the highest scores are kept first.

    Args:
        scores: (rows,).
        correct: (rows,).
        weights: (rows,) >= 0, all 1 if left out.
    """
    kept, wrong = _cumulated(
        scores, [_weights(weights, len(scores)), 1.0 - np.asarray(correct, np.float64)], descending=True
    )
    some = kept > 0  # rows of no weight keep nothing
    return Curve(kept[some], wrong[some] / kept[some])


def aurc(scores: Array, correct: Bools, weights: Array | None = None) -> float:
    """Area under the risk-coverage curve, in [0, 1]; 0 is best."""
    curve = risk_coverage(scores, correct, weights)
    return curve.area(0.0, 1.0)


def deferral_curve(scores: Array, weak: Bools, strong: Bools, weights: Array | None = None) -> Curve:
    """Accuracy over the share of queries given to the strong model, when the lowest scores are given first.

    Args:
        scores: (rows,) how much speaks for the weak model's answer.
        weak: (rows,) whether the weak model is right.
        strong: (rows,) whether the strong model is.
        weights: (rows,) >= 0, all 1 if left out.
    """
    counted = _weights(weights, len(scores))
    gain = np.asarray(strong, np.float64) - np.asarray(weak, np.float64)
    share, gained = _cumulated(scores, [counted, gain], descending=False)
    start = float(np.average(weak, weights=counted))
    return Curve(np.append(0.0, share), start + np.append(0.0, gained))


def apgr(curve: Curve, ends: tuple[float, float] | None = None) -> float:
    """Average performance gap recovered: 0.5 for a random router, higher is better (RouteLLM, arXiv 2406.18665).

    Args:
        curve: From ``deferral_curve``, or any accuracy over a share of what can be paid.
        ends: Accuracy of the weak and of the strong model; those of the curve if left out.
    """
    weak, strong = ends or _ends(curve)
    return (curve.area(0.0, 1.0) - weak) / (strong - weak)


def cpt(curve: Curve, level: float, ends: tuple[float, float] | None = None) -> float:
    """Least share of strong calls that recovers ``level`` of the gap between the models, in [0, 1] (ditto).

    Args:
        curve: As of ``apgr``; it reaches that level.
        level: Share of the gap, in (0, 1].
        ends: As of ``apgr``.
    """
    weak, strong = ends or _ends(curve)
    wanted = weak + level * (strong - weak)
    position = int(np.argmax(curve.y >= wanted - 1e-12))
    if position == 0:
        return float(curve.x[0])
    before, after = curve.y[position - 1], curve.y[position]
    part = (wanted - before) / (after - before)
    return float(curve.x[position - 1] + part * (curve.x[position] - curve.x[position - 1]))


def cost_error(costs: Array, errors: Array, weights: Array | None = None) -> Curve:
    """The cost-error curve of a path of policies: share of errors over cost.

    Args:
        costs: (policies, rows) what each policy pays for each query.
        errors: (policies, rows) 1 where its answer is wrong.
        weights: (rows,) >= 0, all 1 if left out.
    """
    counted = _weights(weights, costs.shape[1])
    share = counted / counted.sum()
    x, y = costs @ share, errors @ share
    order = np.lexsort((y, x))
    x, y = x[order], y[order]
    starts = np.flatnonzero(np.append(True, np.diff(x) > SAME_COST * (x[-1] - x[0])))
    return Curve(x[starts], np.minimum.reduceat(y, starts))  # of equally dear policies the best


def bootstrap(
    figure: Callable[[Array], float], rows: int, *, repeats: int = 1000, level: float = 0.95, seed: int = 0
) -> Interval:
    """A figure over all rows, and the percentile interval of it over resamples.

    Args:
        figure: Of the rows' weights, (rows,).
        rows: How many.
        repeats: Resamples.
        level: Of the interval, in (0, 1).
        seed: Of the resamples.
    """
    draw = np.random.default_rng(seed)
    found = [figure(np.bincount(draw.integers(0, rows, rows), minlength=rows).astype(float)) for _ in range(repeats)]
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return Interval(figure(np.ones(rows)), float(low), float(high))


def _ends(curve: Curve) -> tuple[float, float]:
    return float(curve.y[0]), float(curve.y[-1])


def _weights(weights: Array | None, rows: int) -> Array:
    return np.ones(rows) if weights is None else np.asarray(weights, np.float64)


def _cumulated(scores: Array, columns: Sequence[NDArray[Any]], *, descending: bool) -> tuple[Array, Array]:
    """Share of the weight, and weighted mean of the other column so far, at the end of each run of equal scores."""
    order = np.argsort(-scores if descending else scores, kind="stable")
    ranked = np.asarray(scores)[order]
    counted = columns[0][order]
    ends = np.append(ranked[1:] != ranked[:-1], True)
    total = counted.sum()
    return np.cumsum(counted)[ends] / total, np.cumsum(counted * columns[1][order])[ends] / total
