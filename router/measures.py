"""What a fitted student says of rows that it did not train on, and how its score is calibrated on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from router.calibration import fit_calibration
from router.confidence import Array, Calibration, scores
from router.student import Reading
from router.text_calibration import fit_text_calibration
from router.text_confidence import TextCalibration, text_scores

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A calibration of one of two kinds, and the score of each row by it, (rows,) in [0, 1]."""

    scores: Array
    label: Calibration | None = None
    text: TextCalibration | None = None


class Measures(Protocol):
    """A student's answers to some rows, and the signals that came with them."""

    @property
    def answers(self) -> list[str]:
        """One a row."""

    def calibrate(self, agrees: Bools, weights: Array) -> Calibrated:
        """Fit the score on whether each answer (rows,) agrees with the reference's; weights (rows,) > 0."""


@dataclass(frozen=True, slots=True)
class LabelMeasures:
    """Of a student of labels: ``labels`` in the order of the logits, and its reading of each row."""

    labels: tuple[str, ...]
    reading: Reading

    @property
    def answers(self) -> list[str]:
        """The likeliest label of each row."""
        return [self.labels[place] for place in self.reading.logits.argmax(axis=1)]

    def calibrate(self, agrees: Bools, weights: Array) -> Calibrated:
        """Fit the head over the signals of the logits."""
        logits, similarity = self.reading.logits, self.reading.similarity
        calibration = fit_calibration(logits, similarity, agrees, weights)
        return Calibrated(scores(calibration, logits, similarity), label=calibration)


@dataclass(frozen=True, slots=True)
class TextMeasures:
    """Of a student that writes: its texts, and the signals of their tokens, (rows, len(TEXT_SIGNALS))."""

    texts: tuple[str, ...]
    signals: Array

    @property
    def answers(self) -> list[str]:
        """One text a row."""
        return list(self.texts)

    def calibrate(self, agrees: Bools, weights: Array) -> Calibrated:
        """Fit the head over the signals of the token probabilities."""
        calibration = fit_text_calibration(self.signals, agrees, weights)
        return Calibrated(text_scores(calibration, self.signals), text=calibration)
