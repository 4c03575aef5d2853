"""Fit the head that turns a student's signals into one calibrated score. Called in the cloud only.

Rules:
 * It looks at calibrating rows only: rows that neither train the student nor certify the release.
 * The temperature comes first, since the signals are made with it; the head over them is ``logistic_head.py``'s.
"""

from __future__ import annotations

import numpy as np

from router.core.arrays import Array, Bools
from router.core.domain.label_confidence import SIGNALS, Calibration, probabilities, signals
from router.core.learning.logistic_head import Signals, checked_rows, fit_head

TEMPERATURES = (0.02, 50.0)  # a head that is already scaled wants more, a margin in degrees less

LABEL_SIGNALS = Signals(directions=(1.0, 1.0, -1.0, 1.0), default=SIGNALS.index("margin"))


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
    agrees, weights = checked_rows(agrees, weights, logits, similarity)
    temperature = fit_temperature(logits, agrees, weights)
    head = fit_head(signals(logits, similarity, temperature), agrees, weights, LABEL_SIGNALS)
    return Calibration(temperature, head.mean, head.scale, head.weights, head.bias, head.error)


def fit_temperature(logits: Array, agrees: Bools, weights: Array) -> float:
    """The temperature at which the highest probability predicts agreement best, by a bounded search over its logarithm.

    Args:
        logits: (rows, labels).
        agrees: (rows,).
        weights: (rows,) > 0.
    """
    from scipy.optimize import minimize_scalar  # late: half a second of CPU

    if np.shape(logits)[-1] < 2 or agrees.all():
        return 1.0  # nothing speaks against any temperature

    def cost(log_temperature: float) -> float:
        top = np.clip(probabilities(logits, float(np.exp(log_temperature))).max(axis=-1), 1e-9, 1 - 1e-9)
        return float(-np.average(np.where(agrees, np.log(top), np.log1p(-top)), weights=weights))

    found = minimize_scalar(cost, bounds=tuple(np.log(TEMPERATURES)), method="bounded", options={"xatol": 1e-3})
    return float(np.exp(found.x))
