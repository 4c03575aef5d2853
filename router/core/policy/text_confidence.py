"""Token probabilities of a written text -> signals -> a calibrated score.

Rules:
 * The score is the calibrated confidence: one number ranks a student's answers and is shown to people.
 * The order of the tokens does not matter; which of them was unlikely, and how unlikely, does.
 * A text without token probabilities has no score: who can't say how sure it is escalates.
 * The same numbers come out on a device and in the cloud: numpy only, in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from router.core.arrays import Array
from router.core.domain.label_confidence import check_head
from router.core.domain.query import TokenProbability
from router.core.ranges import check_share

TEXT_SIGNALS = ("mean", "minimum", "quantile_05", "quantile_10", "quantile_25", "total", "length")
QUANTILES = (0.05, 0.10, 0.25)
LEAST_LOG_PROBABILITY = -100.0  # below it a token is as good as impossible; some servers write -9999 or minus infinity
LEAST_DOUBT = 1e-6  # chance of another token below which float32 servers can't tell it from none
_MOST_ODDS = 60.0  # log-odds at which a score is 0 or 1 in float64 anyway


@dataclass(frozen=True, slots=True)
class TextCalibration:
    """A logistic head over the signals.

    Attributes:
        mean: Of each signal over the calibrating rows, in the order of ``TEXT_SIGNALS``.
        scale: Standard deviation of each signal over them, > 0.
        weights: Of each standardised signal.
        bias: Of the head.
        error: Expected calibration error over the calibrating rows, in [0, 1].
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float
    error: float = 0.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_head(self.mean, self.scale, self.weights, self.bias, len(TEXT_SIGNALS))
        check_share("error", self.error)


def features(tokens: Sequence[TokenProbability]) -> Array:
    """The signals of one text, (len(TEXT_SIGNALS),): log-odds of probabilities, and the logarithm of their number.

    Probabilities are the geometric mean, the minimum, low quantiles, and the whole text's. As log-odds they tell 0.99
    from 0.9999 as well as 0.1 from 0.001, which a logistic head over plain logarithms can't.

    Args:
        tokens: Every token written, at least one.

    Raises:
        ValueError: No token.
    """
    if not tokens:
        raise ValueError("a text without token probabilities has no signals")
    logs = np.array([token.log_probability for token in tokens], np.float64)
    logs = np.clip(np.nan_to_num(logs, nan=LEAST_LOG_PROBABILITY), LEAST_LOG_PROBABILITY, 0.0)
    low = np.quantile(logs, QUANTILES)
    return np.append(_log_odds(np.array([logs.mean(), logs.min(), *low, logs.sum()])), np.log(len(logs)))


def text_scores(calibration: TextCalibration, signals: Array) -> Array:
    """Calibrated confidence of each text, in [0, 1].

    Args:
        calibration: The fitted head.
        signals: (texts, len(TEXT_SIGNALS)), as ``features`` gives them.
    """
    standard = (np.asarray(signals, np.float64) - np.array(calibration.mean)) / np.array(calibration.scale)
    odds = standard @ np.array(calibration.weights) + calibration.bias
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(odds, -_MOST_ODDS, _MOST_ODDS))))


def _log_odds(logs: Array) -> Array:
    """The log odds of natural log-probabilities."""
    return np.asarray(logs - np.log(np.maximum(-np.expm1(logs), LEAST_DOUBT)))
