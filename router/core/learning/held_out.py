"""What a fitted student says of rows that it did not train on, and how its score is calibrated on them.

Rules:
 * What a device would defer whatever the threshold (a text that was cut, an answer that is none) counts as deferred
   here too: it stays among the rows, has the score ``-inf``, and calibrates nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from router.core.arrays import Array, Bools
from router.core.domain.label_confidence import Calibration, Reading, scores
from router.core.errors import ModelError
from router.core.learning.label_calibration import fit_calibration
from router.core.learning.text_calibration import fit_text_calibration
from router.core.policy.text_confidence import TextCalibration, text_scores


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A calibration of one of two kinds, and the score of each row by it, (rows,) in [0, 1], ``-inf`` for none."""

    scores: Array
    label: Calibration | None = None
    text: TextCalibration | None = None


class Measures(Protocol):
    """A student's answers to some rows, and the signals that came with them."""

    @property
    def answers(self) -> list[str]:
        """One a row."""

    def calibrate(self, agrees: Bools, weights: Array) -> Calibrated:
        """Fit the score on whether each answer (rows,) agrees with the reference's; weights (rows,) > 0.

        Raises:
            ModelError: No row has a score.
        """


@dataclass(frozen=True, slots=True)
class LabelMeasures:
    """The measures of a student of labels: ``labels`` in the order of the logits, and its reading of each row."""

    labels: tuple[str, ...]
    reading: Reading

    @property
    def answers(self) -> list[str]:
        """The likeliest label of each row."""
        return [self.labels[position] for position in self.reading.logits.argmax(axis=1)]

    def calibrate(self, agrees: Bools, weights: Array) -> Calibrated:
        """Fit the head over the signals of the logits."""
        reading = self.reading
        whole = np.ones(len(reading.logits), np.bool_) if reading.cut is None else ~reading.cut
        _check_some(whole)
        logits, similarity = reading.logits[whole], reading.similarity[whole]
        calibration = fit_calibration(logits, similarity, agrees[whole], weights[whole])
        return Calibrated(_spread(whole, scores(calibration, logits, similarity)), label=calibration)


@dataclass(frozen=True, slots=True)
class TextMeasures:
    """The measures of a student that writes: texts, and token signals, (rows, len(TEXT_SIGNALS)), NaN for none."""

    texts: tuple[str, ...]
    signals: Array

    @property
    def answers(self) -> list[str]:
        """One text a row."""
        return list(self.texts)

    def calibrate(self, agrees: Bools, weights: Array) -> Calibrated:
        """Fit the head over the signals of the token probabilities."""
        scored: Bools = np.asarray(~np.isnan(self.signals).any(axis=1))
        _check_some(scored)
        calibration = fit_text_calibration(self.signals[scored], agrees[scored], weights[scored])
        return Calibrated(_spread(scored, text_scores(calibration, self.signals[scored])), text=calibration)


def _check_some(scored: Bools) -> None:
    if not scored.any():
        raise ModelError(
            "no calibrating row has a score: what the student reads is cut, or what it writes is no answer"
        )


def _spread(scored: Bools, values: Array) -> Array:
    """The scores of all rows, (rows,), from those that have one."""
    found = np.full(len(scored), -np.inf)
    found[scored] = values
    return found
