"""Fit the head that turns a student's signals into one calibrated score. Called in the cloud only.

Rules:
 * It looks at calibrating rows only: rows that neither train the student nor certify the release.
 * Few rows, or few disagreements, get the best single signal: a head over all of them would fit noise.
 * The last step is a logistic calibration on cross-fitted scores, folded into the head: the score is a probability.
 * The same rows give the same calibration; there is no random draw.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, log_expit

from router.confidence import SIGNALS, Array, Calibration, probabilities, signals

HEAD_ROWS = 300  # least rows for a head over all signals
HEAD_EVENTS = 10  # least rows of the rarer outcome for one
TEMPERATURES = (0.02, 50.0)  # a head that is already scaled wants more, a margin in degrees less
RIDGE = 1.0  # in rows: what the head's weights cost, as against its likelihood
FOLDS = 5
BINS = 15  # of the reliability curve, of equal weight
DIRECTIONS = np.array([1.0, 1.0, -1.0, 1.0])  # of each signal: more of it speaks for the answer, or against it
DEFAULT_SIGNAL = SIGNALS.index("margin")  # ranks errors best where nothing is known

Bools = NDArray[np.bool_]


def fit_calibration(logits: Array, similarity: Array, agrees: Bools, weights: Array) -> Calibration:
    """Fit temperature, head and last calibration.

    Args:
        logits: (rows, labels), of a student that did not train on the row.
        similarity: (rows,) highest cosine similarity to what each label looks like, in [-1, 1].
        agrees: (rows,) whether its answer agrees with the reference's.
        weights: (rows,) one over the propensity, > 0.

    Raises:
        ValueError: No row, or arrays of different lengths.
    """
    agrees = np.asarray(agrees, dtype=np.bool_)
    if not len(agrees):
        raise ValueError("a calibration needs at least one row")
    if not len(logits) == len(similarity) == len(agrees) == len(weights):
        raise ValueError("logits, similarity, agrees and weights are of different lengths")
    weights = np.asarray(weights, np.float64) / np.mean(weights)
    temperature = fit_temperature(logits, agrees, weights)
    raw = signals(logits, similarity, temperature)
    mean = np.average(raw, axis=0, weights=weights)
    scale = np.sqrt(np.average((raw - mean) ** 2, axis=0, weights=weights))
    scale = np.where(scale > 1e-9, scale, 1.0)
    standard = (raw - mean) / scale
    used = _used(standard, agrees, weights)
    head, bias = _fit_head(standard, used, agrees, weights)
    margins = _cross_fitted(standard, used, agrees, weights)
    slope, offset = _last_calibration(margins, agrees, weights)
    error = calibration_error(expit(slope * margins + offset), agrees, weights)
    return Calibration(
        temperature=temperature,
        mean=tuple(mean.tolist()),
        scale=tuple(scale.tolist()),
        weights=tuple((slope * head).tolist()),
        bias=float(slope * bias + offset),
        error=error,
    )


def fit_temperature(logits: Array, agrees: Bools, weights: Array) -> float:
    """The temperature at which the highest probability predicts agreement best, by a bounded search over its logarithm.

    Args:
        logits: (rows, labels).
        agrees: (rows,).
        weights: (rows,) > 0.
    """
    if np.shape(logits)[-1] < 2 or agrees.all():
        return 1.0  # nothing speaks against any temperature

    def cost(log_temperature: float) -> float:
        top = np.clip(probabilities(logits, float(np.exp(log_temperature))).max(axis=-1), 1e-9, 1 - 1e-9)
        return float(-np.average(np.where(agrees, np.log(top), np.log1p(-top)), weights=weights))

    found = minimize_scalar(cost, bounds=tuple(np.log(TEMPERATURES)), method="bounded", options={"xatol": 1e-3})
    return float(np.exp(found.x))


def calibration_error(scores: Array, agrees: Bools, weights: Array) -> float:
    """Expected calibration error over bins of equal weight, in [0, 1].

    Args:
        scores: (rows,) in [0, 1].
        agrees: (rows,).
        weights: (rows,) > 0.
    """
    return float(sum(share * abs(said - was) for share, said, was in reliability_curve(scores, agrees, weights)))


def reliability_curve(scores: Array, agrees: Bools, weights: Array) -> list[tuple[float, float, float]]:
    """For each bin of rows, low scores first: its share, its mean score, its agreement, each in [0, 1].

    Args:
        scores: (rows,) in [0, 1].
        agrees: (rows,).
        weights: (rows,) > 0.
    """
    if not len(scores):
        return []
    order = np.argsort(scores, kind="stable")
    share = np.asarray(weights, np.float64)[order] / np.sum(weights)
    bins = np.minimum((np.cumsum(share) - share / 2) * BINS, BINS - 1).astype(int)
    curve = []
    for number in range(BINS):
        rows = bins == number
        if rows.any():
            part = share[rows]
            said = float(np.average(scores[order][rows], weights=part))
            curve.append((float(part.sum()), said, float(np.average(agrees[order][rows], weights=part))))
    return curve


def ranking(signal: Array, agrees: Bools, weights: Array) -> float:
    """Chance that a row that agrees has the higher signal than one that does not (weighted AUROC), in [0, 1].

    Args:
        signal: (rows,) any scale.
        agrees: (rows,) of both kinds, or 0.5 is returned.
        weights: (rows,) > 0.
    """
    if agrees.all() or not agrees.any():
        return 0.5
    values, place = np.unique(signal, return_inverse=True)
    good = np.bincount(place, weights=weights * agrees, minlength=len(values))
    bad = np.bincount(place, weights=weights * ~agrees, minlength=len(values))
    below = np.cumsum(bad) - bad
    return float((good * (below + bad / 2)).sum() / (good.sum() * bad.sum()))


def _used(standard: Array, agrees: Bools, weights: Array) -> NDArray[np.int_]:
    """Which signals the head is made from."""
    rarer = min(int(agrees.sum()), int((~agrees).sum()))
    if len(agrees) >= HEAD_ROWS and rarer >= HEAD_EVENTS:
        return np.arange(standard.shape[1])
    if rarer == 0:
        return np.array([DEFAULT_SIGNAL])
    ranks = [ranking(standard[:, s] * DIRECTIONS[s], agrees, weights) for s in range(standard.shape[1])]
    return np.array([int(np.argmax(ranks))])


def _fit_head(standard: Array, used: NDArray[np.int_], agrees: Bools, weights: Array) -> tuple[Array, float]:
    """Weights of all signals (0 where unused) and bias of a ridge logistic regression."""
    head = np.zeros(standard.shape[1])
    if agrees.all() or not agrees.any():  # nothing to fit, and the order must stay useful
        head[used] = DIRECTIONS[used]
        return head, 0.0
    head[used], bias = _logistic(standard[:, used], agrees.astype(np.float64), weights, RIDGE)
    return head, bias


def _cross_fitted(standard: Array, used: NDArray[np.int_], agrees: Bools, weights: Array) -> Array:
    """Each row's log-odds by a head that was fitted without its fold."""
    folds = np.arange(len(agrees)) % FOLDS
    margins = np.empty(len(agrees))
    for fold in range(FOLDS):
        rest, own = folds != fold, folds == fold
        rest = rest if rest.any() else own
        head, bias = _fit_head(standard[rest], used, agrees[rest], weights[rest])
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
    return max(float(slope[0]), 0.05), offset


def _logistic(features: Array, targets: Array, weights: Array, ridge: float) -> tuple[Array, float]:
    """Weights and bias of the penalised likelihood's maximum; ``targets`` are chances in [0, 1]."""

    def cost(point: Array) -> tuple[float, Array]:
        odds = features @ point[:-1] + point[-1]
        value = -(weights * (targets * log_expit(odds) + (1 - targets) * log_expit(-odds))).sum()
        off = weights * (expit(odds) - targets)
        slope = np.append(features.T @ off + ridge * point[:-1], off.sum())
        return float(value + ridge / 2 * (point[:-1] ** 2).sum()), slope

    found = minimize(cost, np.zeros(features.shape[1] + 1), jac=True, method="L-BFGS-B", options={"maxiter": 500})
    return np.asarray(found.x[:-1]), float(found.x[-1])
