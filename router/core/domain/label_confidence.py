"""Logits -> signals -> a calibrated score.

Rules:
 * The score is the calibrated confidence: one number ranks a student's answers and is shown to people.
 * The same numbers come out on a device and in the cloud: numpy only, in float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from router.core.arrays import Array, Bools
from router.core.ranges import check_numbers, check_range, check_share

SIGNALS = ("max_probability", "margin", "entropy", "similarity")
TEMPERATURES = (1e-6, 1e6)
MOST_WEIGHT = 1e9  # of a head's numbers, whatever their sign: what is made from them stays finite


@dataclass(frozen=True, slots=True)
class Reading:
    """What a student says before calibration.

    Attributes:
        logits: (texts, labels).
        similarity: (texts,), in [-1, 1].
        cut: (texts,) whether only the beginning of the text was read; ``None`` for a student that cuts nothing.
    """

    logits: Array
    similarity: Array
    cut: Bools | None = None


@dataclass(frozen=True, slots=True)
class Calibration:
    """A logistic head over the signals.

    Attributes:
        temperature: Divides the logits before the softmax, > 0.
        mean: Of each signal over the calibrating rows, in the order of ``SIGNALS``.
        scale: Standard deviation of each signal over them, > 0.
        weights: Of each standardised signal.
        bias: Of the head.
        error: Expected calibration error over the calibrating rows, in [0, 1].
    """

    temperature: float
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float
    error: float = 0.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_range("temperature", self.temperature, *TEMPERATURES)
        check_head(self.mean, self.scale, self.weights, self.bias, len(SIGNALS))
        check_share("error", self.error)


def check_head(
    mean: tuple[float, ...], scale: tuple[float, ...], weights: tuple[float, ...], bias: float, signals: int
) -> None:
    """Check the numbers of a logistic head over ``signals`` standardised signals.

    Raises:
        ValueError: Names the numbers that can't be right.
    """
    for name, numbers in (("mean", mean), ("scale", scale), ("weights", weights)):
        check_numbers(name, numbers, signals, MOST_WEIGHT)
    for number in scale:
        if number <= 0:
            raise ValueError(f"scale is {number}; use more than 0")
    check_range("bias", bias, -MOST_WEIGHT, MOST_WEIGHT)


def probabilities(logits: Array, temperature: float = 1.0) -> Array:
    """Softmax over the last axis.

    Args:
        logits: (..., labels).
        temperature: Divides the logits, > 0.
    """
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    scaled = scaled - scaled.max(axis=-1, keepdims=True)
    exponentials = np.exp(scaled)
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))


def signals(logits: Array, similarity: Array, temperature: float = 1.0) -> Array:
    """What the score is made from.

    Args:
        logits: (rows, labels).
        similarity: (rows,) highest cosine similarity to what each label looks like, in [-1, 1].
        temperature: Divides the logits, > 0.

    Returns:
        (rows, len(SIGNALS)). Entropy is in nats.
    """
    chances = probabilities(logits, temperature)
    if chances.shape[-1] > 1:
        top = np.partition(chances, -2, axis=-1)[:, -2:]
    else:
        top = np.concatenate([np.zeros_like(chances), chances], axis=-1)
    entropy = -(chances * np.log(np.clip(chances, 1e-12, 1.0))).sum(axis=-1)
    return np.stack([top[:, 1], top[:, 1] - top[:, 0], entropy, np.asarray(similarity, np.float64)], axis=-1)


def scores(calibration: Calibration, logits: Array, similarity: Array) -> Array:
    """Calibrated confidence of each row, in [0, 1].

    Args:
        calibration: The fitted head.
        logits: (rows, labels).
        similarity: (rows,), as in ``signals``.
    """
    raw = signals(logits, similarity, calibration.temperature)
    standard = (raw - np.array(calibration.mean)) / np.array(calibration.scale)
    return np.asarray(1.0 / (1.0 + np.exp(-(standard @ np.array(calibration.weights) + calibration.bias))))


def score(calibration: Calibration, logits: Array, similarity: float) -> float:
    """The score of one row, as ``scores`` gives it: a device scores one answer at a time, and arrays of one are dear.

    Args:
        calibration: The fitted head.
        logits: (labels,).
        similarity: As in ``signals``.
    """
    scaled = np.multiply(logits, 1.0 / calibration.temperature, dtype=np.float64)
    likeliest = scaled.argmax()
    scaled -= scaled[likeliest]
    exponentials = np.exp(scaled)
    total = float(np.add.reduce(exponentials))
    entropy = math.log(total) - float(exponentials @ scaled) / total
    exponentials[likeliest] = 0.0
    highest, second = 1.0 / total, float(exponentials[exponentials.argmax()]) / total
    found = (highest, highest - second, entropy, similarity)
    odds = calibration.bias + sum(
        weight * (value - mean) / scale
        for value, mean, scale, weight in zip(
            found, calibration.mean, calibration.scale, calibration.weights, strict=True
        )
    )
    return 1.0 / (1.0 + math.exp(-odds)) if odds > -500 else 0.0
