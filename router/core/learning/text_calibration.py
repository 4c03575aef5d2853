"""Fit the head that turns a text's token probabilities into one calibrated score. Called in the cloud only.

Rules:
 * It looks at calibrating rows only: rows that neither train the student nor certify the release.
 * Fewer rows than ``router.core.learning.logistic_head.HEAD_ROWS``, or few disagreements, get the best single signal.
"""

from __future__ import annotations

import numpy as np

from router.core.arrays import Array, Bools
from router.core.learning.logistic_head import Signals, checked_rows, fit_head
from router.core.policy.text_confidence import TEXT_SIGNALS, TextCalibration

OF_TEXT = Signals(
    directions=tuple(-1.0 if name == "length" else 1.0 for name in TEXT_SIGNALS),
    default=TEXT_SIGNALS.index("minimum"),  # good on short and on long texts; see bench/text_deferral.py
)


def fit_text_calibration(signals: Array, agrees: Bools, weights: Array) -> TextCalibration:
    """Fit the head and its last calibration.

    Args:
        signals: (rows, len(TEXT_SIGNALS)), as ``router.core.policy.text_confidence.features`` gives them.
        agrees: (rows,) whether the student's text agrees with the reference's.
        weights: (rows,) one over the propensity, > 0.

    Raises:
        ValueError: No row, arrays of different lengths, or another number of signals.
    """
    signals = np.asarray(signals, np.float64)
    agrees, weights = checked_rows(agrees, weights, signals)
    if signals.shape != (len(agrees), len(TEXT_SIGNALS)):
        raise ValueError(f"signals are {signals.shape}; use (rows, {len(TEXT_SIGNALS)})")
    head = fit_head(signals, agrees, weights, OF_TEXT)
    return TextCalibration(head.mean, head.scale, head.weights, head.bias, head.error)
