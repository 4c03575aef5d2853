"""A chain of ever dearer models: where it stops, along one path of policies from the cheapest to the most accurate.

Fitted on older rows, called in the cloud only. Each model's confidence is calibrated; from the last model back, what
going on is worth is regressed on that confidence; a policy stops where going on costs more than the errors it saves.
One number, the price of cost in errors, moves all thresholds at once: a chain is certified like one threshold. Tables
of some hundred rows are the rule, so slopes are shrunk, and what going on is worth is half counted and half
calibrated (docs/decisions/0148).

Rules:
 * Only confidences of models that have answered decide; nothing is known of the models to come.
 * The path is fixed before any row that judges it is looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from router.core.arrays import Array
from router.core.policy.pool_routing import line_of

MOST_ODDS = 16.0  # of a confidence, either way: logarithms of probabilities are hardly known beyond
RIDGE = 5.0  # in rows: what a calibration's slope costs, as against its fit
COUNTED = 0.5  # share of what an answer is worth that is its verdict; the rest is its calibrated chance


@dataclass(frozen=True, slots=True)
class Stage:
    """One model of a chain.

    Attributes:
        slope: Of the log-odds of being right over the log-odds of the confidence.
        intercept: Of the same.
    """

    slope: float
    intercept: float

    def chance(self, log_confidence: Array) -> Array:
        """Calibrated chance that each answer is right, in (0, 1)."""
        from scipy.special import expit  # late: half a second of CPU

        return np.asarray(expit(self.slope * log_odds(log_confidence) + self.intercept))


@dataclass(frozen=True, slots=True)
class Chain:
    """A fitted chain.

    Attributes:
        stages: In the order in which they are asked.
        going_on: For each price of the path and each stage but the last, intercept and slope of what going on costs
            over the stage's chance, its price in units of errors included: (prices, stages - 1, 2).
    """

    stages: tuple[Stage, ...]
    going_on: Array

    def stops(self, log_confidences: Array) -> NDArray[np.int_]:
        """The stage at which each policy of the path stops for each row: (prices, rows).

        Args:
            log_confidences: (rows, stages) natural logarithm of each model's confidence.
        """
        last = len(self.stages) - 1
        stopped = np.full((len(self.going_on), len(log_confidences)), last)
        for number in range(last - 1, -1, -1):
            chance = self.stages[number].chance(log_confidences[:, number])
            on = self.going_on[:, number, :1] + self.going_on[:, number, 1:] * chance
            stopped = np.where(on < 1 - chance, stopped, number)
        return stopped


def log_odds(log_confidence: Array) -> Array:
    """log(p / (1 - p)) of confidences p given by their logarithms, at most ``MOST_ODDS`` either way."""
    known = np.clip(np.nan_to_num(log_confidence, nan=-np.inf, neginf=-MOST_ODDS), -MOST_ODDS, 0.0)
    return np.asarray(known - np.log(np.maximum(-np.expm1(known), np.exp(-MOST_ODDS))))


def spent(stops: NDArray[np.int_], costs: Array) -> Array:
    """What each row costs: the sum over the models it passed through.

    Args:
        stops: (prices, rows) as of ``Chain.stops``.
        costs: (stages,) of one answer of each model, in any unit.
    """
    return np.asarray(np.cumsum(costs)[stops])


def fit_chain(log_confidences: Array, correct: Array, costs: Array, prices: Array) -> Chain:
    """Fit a chain on older rows.

    Args:
        log_confidences: (rows, stages).
        correct: (rows, stages) 1 where the model is right, else 0.
        costs: (stages,) of one answer of each model, >= 0.
        prices: (policies,) of one unit of cost, in errors, > 0: a high price stops early.
    """
    stages = tuple(
        Stage(*_logistic(log_odds(log_confidences[:, number]), correct[:, number])) for number in range(len(costs))
    )
    chances = [stage.chance(log_confidences[:, number]) for number, stage in enumerate(stages)]
    wrong = [1 - COUNTED * correct[:, number] - (1 - COUNTED) * chance for number, chance in enumerate(chances)]
    going_on = np.zeros((len(prices), len(stages) - 1, 2))
    for row, price in enumerate(prices):
        value = wrong[-1]
        for number in range(len(stages) - 2, -1, -1):
            chance, paid = chances[number], price * float(costs[number + 1])
            intercept, slope = line_of(chance, value)
            going_on[row, number] = intercept + paid, slope
            value = np.where(intercept + paid + slope * chance < 1 - chance, value + paid, wrong[number])
    return Chain(stages, going_on)


def _logistic(feature: Array, correct: Array) -> tuple[float, float]:
    from scipy.optimize import minimize  # late: half a second of CPU
    from scipy.special import expit, log_expit

    mean, scale = float(feature.mean()), float(feature.std()) or 1.0
    standard = (feature - mean) / scale

    def cost(point: Array) -> tuple[float, Array]:
        odds = standard * point[0] + point[1]
        value = -(correct * log_expit(odds) + (1 - correct) * log_expit(-odds)).sum() + RIDGE / 2 * point[0] ** 2
        off = expit(odds) - correct
        return float(value), np.array([(off * standard).sum() + RIDGE * point[0], off.sum()])

    slope, intercept = minimize(cost, np.zeros(2), jac=True, method="L-BFGS-B").x
    return float(slope / scale), float(intercept - slope * mean / scale)
