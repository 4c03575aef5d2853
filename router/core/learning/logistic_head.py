"""A logistic head over signals: what label and text calibrations share. Called in the cloud only.

Rules:
 * Few rows, or few disagreements, get the best single signal: a head over all of them would fit noise.
 * The last step is a logistic calibration on cross-fitted scores, folded into the head: the score is a probability.
 * The same rows give the same head; there is no random draw.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from router.core.arrays import Array, Bools
from router.core.learning.reliability import calibration_error, ranking
from router.core.learning.training_rows import FOLDS

HEAD_ROWS = 300  # least rows for a head over all signals
HEAD_EVENTS = 10  # least rows of the rarer outcome for one
RIDGE = 1.0  # in rows: what the head's weights cost, as against its likelihood
LEAST_SCALE = 1e-9  # below it a signal is constant, and standardised by 1
LEAST_SLOPE = 0.05  # of the last calibration: it may flatten a score, never turn it round


@dataclass(frozen=True, slots=True)
class Signals:
    """What a head is made from.

    Attributes:
        directions: Of each signal, 1 or -1: more of it speaks for the answer, or against it.
        default: Position of the signal that ranks errors best where nothing is known.
    """

    directions: tuple[float, ...]
    default: int


@dataclass(frozen=True, slots=True)
class Head:
    """Log-odds of agreement: standardised signals times ``weights``, plus ``bias``.

    Attributes:
        mean: Of each signal.
        scale: Standard deviation of each signal, > 0.
        weights: Of each standardised signal, 0 where it is unused.
        bias: Of the head.
        error: Expected calibration error of the cross-fitted scores, in [0, 1].
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float
    error: float


def fit_head(raw: Array, agrees: Bools, weights: Array, signals: Signals) -> Head:
    """Fit a head and its last calibration.

    Args:
        raw: (rows, signals), of students that did not train on the row, finite.
        agrees: (rows,) whether the answer agrees with the reference's.
        weights: (rows,) of mean 1, > 0.
        signals: What the columns are.
    """
    from scipy.special import expit  # late: half a second of CPU

    mean = np.average(raw, axis=0, weights=weights)
    scale = np.sqrt(np.average((raw - mean) ** 2, axis=0, weights=weights))
    scale = np.where(scale > LEAST_SCALE, scale, 1.0)
    standard = (raw - mean) / scale
    used = _used(standard, agrees, weights, signals)
    head, bias = _fit(standard, used, agrees, weights, signals)
    margins = _cross_fitted(standard, used, agrees, weights, signals)
    slope, offset = _last_calibration(margins, agrees, weights)
    return Head(
        mean=tuple(mean.tolist()),
        scale=tuple(scale.tolist()),
        weights=tuple((slope * head).tolist()),
        bias=float(slope * bias + offset),
        error=calibration_error(expit(slope * margins + offset), agrees, weights),
    )


def checked_rows(agrees: Bools, weights: Array, *columns: Array) -> tuple[Bools, Array]:
    """``agrees`` as booleans, and ``weights`` scaled to a mean of 1.

    Raises:
        ValueError: No row, or arrays of different lengths.
    """
    agrees = np.asarray(agrees, dtype=np.bool_)
    if not len(agrees):
        raise ValueError("a calibration needs at least one row")
    if any(len(column) != len(agrees) for column in (weights, *columns)):
        raise ValueError("signals, agrees and weights are of different lengths")
    return agrees, np.asarray(weights, np.float64) / np.mean(weights)


def _used(standard: Array, agrees: Bools, weights: Array, signals: Signals) -> NDArray[np.int_]:
    """Which signals the head is made from."""
    rarer = min(int(agrees.sum()), int((~agrees).sum()))
    if len(agrees) >= HEAD_ROWS and rarer >= HEAD_EVENTS:
        return np.arange(standard.shape[1])
    if rarer == 0:
        return np.array([signals.default])
    turned = standard * np.array(signals.directions)
    return np.array([int(np.argmax([ranking(column, agrees, weights) for column in turned.T]))])


def _fit(
    standard: Array, used: NDArray[np.int_], agrees: Bools, weights: Array, signals: Signals
) -> tuple[Array, float]:
    """Weights of all signals (0 where unused) and bias of a ridge logistic regression."""
    head = np.zeros(standard.shape[1])
    if agrees.all() or not agrees.any():  # nothing to fit, and the order must stay useful
        head[used] = np.array(signals.directions)[used]
        return head, 0.0
    head[used], bias = _logistic(standard[:, used], agrees.astype(np.float64), weights, RIDGE)
    return head, bias


def _cross_fitted(standard: Array, used: NDArray[np.int_], agrees: Bools, weights: Array, signals: Signals) -> Array:
    """Each row's log-odds by a head that was fitted without its fold."""
    folds = np.arange(len(agrees)) % FOLDS
    margins = np.empty(len(agrees))
    for fold in range(FOLDS):
        rest, own = folds != fold, folds == fold
        rest = rest if rest.any() else own
        head, bias = _fit(standard[rest], used, agrees[rest], weights[rest], signals)
        margins[own] = standard[own] @ head + bias
    return margins


def _last_calibration(margins: Array, agrees: Bools, weights: Array) -> tuple[float, float]:
    """Slope (> 0) and offset that make the log-odds a probability, with Platt's smoothed targets."""
    good, bad = weights[agrees].sum(), weights[~agrees].sum()
    targets = np.where(agrees, (good + 1) / (good + 2), 1 / (bad + 2))
    if agrees.all() or not agrees.any():
        chance = float(np.average(targets, weights=weights))
        return 1.0, float(np.log(chance / (1 - chance)) - np.average(margins, weights=weights))
    slope, offset = _logistic(margins[:, None], targets, weights, 1e-3)
    return max(float(slope[0]), LEAST_SLOPE), offset


def _logistic(features: Array, targets: Array, weights: Array, ridge: float) -> tuple[Array, float]:
    """Weights and bias of the penalised likelihood's maximum; ``targets`` are chances in [0, 1]."""
    from scipy.optimize import minimize  # late: half a second of CPU
    from scipy.special import expit, log_expit

    def cost(point: Array) -> tuple[float, Array]:
        odds = features @ point[:-1] + point[-1]
        value = -(weights * (targets * log_expit(odds) + (1 - targets) * log_expit(-odds))).sum()
        off = weights * (expit(odds) - targets)
        slope = np.append(features.T @ off + ridge * point[:-1], off.sum())
        return float(value + ridge / 2 * (point[:-1] ** 2).sum()), slope

    found = minimize(cost, np.zeros(features.shape[1] + 1), jac=True, method="L-BFGS-B", options={"maxiter": 500})
    return np.asarray(found.x[:-1]), float(found.x[-1])
