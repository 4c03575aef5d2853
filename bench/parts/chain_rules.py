"""Rules by which a chain stops: ours, what it was before, and those of others.

Each is fitted, and then says where it stops: (policies, rows) stages, for a path of policies that it chose on the rows
that it was fitted on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from bench.parts.chain_worlds import Table
from router.core.arrays import Array, Ints
from router.core.evaluation.model_chain import fit_chain
from router.core.policy.pool_routing import line_of, transformed

POLICIES = 80
BINS = 8  # of a confidence, for the rule that decides by bins
GRID = {1: 41, 2: 41, 3: 11, 4: 6}  # quantiles of each threshold, by how many there are

Stops = Callable[[Array], Ints]


def prices_of(costs: Array) -> Array:
    """The path's prices of cost, in errors."""
    return np.asarray(np.geomspace(1e-4, 1e2, POLICIES) / costs.sum())


def ours(train: Table) -> Stops:
    """What ``headrace-cloud evaluate`` does."""
    return fit_chain(train.log_confidence, train.correct, train.costs, prices_of(train.costs)).stops


def before(train: Table) -> Stops:
    """The same with one-sided confidence, little shrinkage, and values by calibrated chances alone."""
    last = len(train.costs) - 1
    heads = []
    for sure, correct in zip(train.log_confidence.T, train.correct.T, strict=True):
        seen, scale = transformed(sure), transformed(sure).std() or 1.0
        if correct.min() == correct.max():
            heads.append((0.0, 20.0 * (2 * correct[0] - 1)))
            continue
        found = LogisticRegression(C=1.0).fit((seen - seen.mean())[:, None] / scale, correct)
        slope = float(found.coef_[0, 0]) / scale
        heads.append((slope, float(found.intercept_[0]) - slope * seen.mean()))

    def chance(stage: int, sure: Array) -> Array:
        return np.asarray(expit(heads[stage][0] * transformed(sure[:, stage]) + heads[stage][1]))

    lines = []
    for price in prices_of(train.costs):
        value, path = 1 - chance(last, train.log_confidence), {}
        for stage in range(last - 1, -1, -1):
            known, paid = chance(stage, train.log_confidence), price * train.costs[stage + 1]
            intercept, slope = line_of(known, value)
            path[stage] = intercept + paid, slope
            value = np.where(intercept + paid + slope * known < 1 - known, value + paid, 1 - known)
        lines.append(path)

    def stops(sure: Array) -> Ints:
        found = np.full((len(lines), len(sure)), last)
        for stage in range(last - 1, -1, -1):
            known = chance(stage, sure)
            for row, path in enumerate(lines):
                found[row] = np.where(path[stage][0] + path[stage][1] * known < 1 - known, found[row], stage)
        return found

    return stops


def one_threshold(train: Table) -> Stops:
    """Every model stops above the same quantile of its own confidence."""
    levels = np.quantile(train.log_confidence[:, :-1], np.linspace(0, 1, POLICIES), axis=0)
    return _by_thresholds(np.vstack([levels, np.full((1, levels.shape[1]), np.inf)]))


def grid_search(train: Table) -> Stops:
    """Of all combinations of thresholds at quantiles, those that no other beats on train in cost and in error."""
    free = len(train.costs) - 1
    levels = np.quantile(train.log_confidence[:, :free], np.linspace(0, 1, GRID[free]), axis=0)
    levels = np.vstack([levels, np.full((1, free), np.inf)])
    tried = np.array(list(product(*levels.T)))
    found = np.array([(cost, error) for cost, error in _figures(train, tried)])
    best, kept = np.inf, []
    for position in np.lexsort((found[:, 1], found[:, 0])):
        if found[position, 1] < best:
            best = found[position, 1]
            kept.append(position)
    return _by_thresholds(tried[kept])


def by_bins(train: Table) -> Stops:
    """As AutoMix's planner (arXiv 2310.12963) does: confidences in bins, and in each the choice that paid on train."""
    last = len(train.costs) - 1
    edges = np.quantile(train.log_confidence[:, :last], np.linspace(0, 1, BINS + 1)[1:-1], axis=0)

    def bins(sure: Array) -> Ints:
        return np.stack([np.searchsorted(edges[:, stage], sure[:, stage]) for stage in range(last)], axis=1)

    where, wrong = bins(train.log_confidence), 1 - train.correct
    goes_on = np.zeros((POLICIES, last, BINS), np.bool_)
    for row, price in enumerate(prices_of(train.costs)):
        value = wrong[:, last]
        for stage in range(last - 1, -1, -1):
            on = value + price * train.costs[stage + 1]
            for number in range(BINS):
                inside = where[:, stage] == number
                goes_on[row, stage, number] = inside.any() and on[inside].mean() < wrong[inside, stage].mean()
            value = np.where(goes_on[row, stage, where[:, stage]], on, wrong[:, stage])

    def stops(sure: Array) -> Ints:
        position, found = bins(sure), np.full((POLICIES, len(sure)), last)
        for stage in range(last - 1, -1, -1):
            found = np.where(goes_on[:, stage, position[:, stage]], found, stage)
        return found

    return stops


def _by_thresholds(thresholds: Array) -> Stops:
    """Stops at the first stage whose confidence reaches its threshold; (policies, stages - 1)."""

    def stops(sure: Array) -> Ints:
        last = thresholds.shape[1]
        found = np.full((len(thresholds), len(sure)), last)
        for stage in range(last - 1, -1, -1):
            found = np.where(sure[:, stage] >= thresholds[:, stage, None], stage, found)
        return found

    return stops


def _figures(train: Table, thresholds: Array, at_once: int = 500) -> Iterator[tuple[float, float]]:
    """Mean cost and error of each combination of thresholds."""
    passed, rows = np.cumsum(train.costs), np.arange(len(train.correct))
    for start in range(0, len(thresholds), at_once):
        for stopped in _by_thresholds(thresholds[start : start + at_once])(train.log_confidence):
            yield float(passed[stopped].mean()), float(1 - train.correct[rows, stopped].mean())


RULES: dict[str, Callable[[Table], Stops]] = {
    "ours": ours,
    "ours, before": before,
    "one threshold": one_threshold,
    "grid search": grid_search,
    "bins": by_bins,
}
