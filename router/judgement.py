"""What a student says of one query, whatever kind it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from router.confidence import Array
from router.query import Query
from router.writers.base import Written


@dataclass(frozen=True, slots=True)
class Judgement:
    """A student's answer.

    Attributes:
        answer: A label, or a text.
        score: Calibrated confidence in [0, 1]; ``None`` where the model gave no probabilities, so that it escalates.
        logits: (labels,) of a student of labels.
        written: What a writing student wrote.
    """

    answer: str
    score: float | None
    logits: Array | None = None
    written: Written | None = None


class DeviceStudent(Protocol):
    """A small model, opened and ready."""

    def judge(self, query: Query) -> Judgement:
        """Its answer to one query.

        Raises:
            ModelError: It failed on this query.
        """
