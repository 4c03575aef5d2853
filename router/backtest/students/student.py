"""What a student of the replay is: fitted on teachable rows, read on texts, calibrated, and judged like any other.

Rules:
 * A fit sees the rows that it is given, and nothing else of the log.
 * What it says of calibrating rows comes from heads that did not train on them.
 * A student answers each distinct text once; the answers are kept, as they would be the same again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from router.core.domain.label_confidence import Calibration, Reading, scores
from router.core.domain.prediction import Prediction
from router.core.domain.query import Query
from router.core.domain.record import Record
from router.core.learning.held_out import LabelMeasures
from router.core.release.kept_texts import KeptTexts


class Reader(Protocol):
    """A fitted model."""

    def read(self, texts: Sequence[str]) -> Reading:
        """Logits and similarity of each text.

        Raises:
            ModelError: The model failed.
        """


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted student, its labels and how sure it is.

    Attributes:
        labels: What it can answer, in the order of its logits.
        reader: The model.
        rows: Calibrating rows.
        measures: What a student that did not train on them says of each.
    """

    labels: tuple[str, ...]
    reader: Reader
    rows: list[Record]
    measures: LabelMeasures


class Fitter(Protocol):
    """A kind of student."""

    def fit(self, rows: Sequence[Record]) -> Fit | None:
        """Fit on teachable rows; ``None`` when fewer than two labels have enough of them.

        Raises:
            ModelError: A model of its own can't be used.
        """


@dataclass(slots=True)
class ReplayedStudent:
    """A fitted and calibrated student that serves, or waits for its certificate.

    Attributes:
        labels: That it knows.
        reader: What it reads with.
        calibration: From signals to score.
        known: What it said of texts that it was asked already.
        keeps: The texts that it may keep, ``None`` for any.
    """

    labels: tuple[str, ...]
    reader: Reader
    calibration: Calibration
    known: dict[str, Prediction] = field(default_factory=dict)
    keeps: KeptTexts | None = None

    def prepare(self, texts: Sequence[str]) -> None:
        """Answer texts that will be asked, together, since that is faster."""
        new = [text for text in dict.fromkeys(texts) if text not in self.known]
        if not new:
            return
        reading = self.reader.read(new)
        confidence = scores(self.calibration, reading.logits, reading.similarity)
        positions = reading.logits.argmax(axis=1)
        cut = np.zeros(len(new), np.bool_) if reading.cut is None else reading.cut
        for text, position, score, is_cut in zip(new, positions, confidence, cut.tolist(), strict=True):
            may_keep = not is_cut and (self.keeps is None or text in self.keeps)
            self.known[text] = Prediction(self.labels[int(position)], float(score) if may_keep else None, cut=is_cut)

    def answers(self, texts: Sequence[str]) -> list[Prediction]:
        """The likeliest label of each text, with its score."""
        self.prepare(texts)
        return [self.known[text] for text in texts]

    def predict(self, query: Query) -> Prediction:
        """The likeliest label, with its score."""
        self.prepare((query.text,))
        return self.known[query.text]
