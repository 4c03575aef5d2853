"""What a student says of one query, whatever kind it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from router.core.arrays import Array
from router.core.domain.generation import Written
from router.core.domain.query import Query
from router.core.visible_text import is_blank

UNKNOWN_SCORE = -1.0


@dataclass(frozen=True, slots=True)
class Prediction:
    """A student's answer.

    Attributes:
        answer: A label, or a text.
        score: Calibrated confidence in [0, 1]; ``None`` where nothing can be said of it, so that it escalates.
        logits: (labels,) of a student of labels.
        written: What a writing student wrote.
        cut: The student read only the beginning of the query: such an answer has no score.
    """

    answer: str
    score: float | None
    logits: Array | None = None
    written: Written | None = None
    cut: bool = False

    @property
    def says_nothing(self) -> bool:
        """Whether the answer holds nothing that can be seen."""
        return is_blank(self.answer)


def score_of(prediction: Prediction | None) -> float | None:
    """What ranks an answer: below every threshold where nothing can be said of it, ``None`` without a student."""
    if prediction is None:
        return None
    return UNKNOWN_SCORE if prediction.score is None else prediction.score


class DeviceStudent(Protocol):
    """A small model, opened and ready."""

    def predict(self, query: Query) -> Prediction:
        """Answer one query.

        Raises:
            ModelError: It failed on this query.
        """
