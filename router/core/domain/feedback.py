"""What a caller thinks of an answer that it got: right or wrong, and what would have been right.

Rules:
 * Feedback warns. It never certifies, and teaches nothing before an operator has reviewed it.
 * Only the caller that was answered may give it; whoever else asks hears the same as of an id that never was.
 * Feedback on the same query replaces what was said before.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from router.core.domain.query import MAX_QUERY_ID_BYTES, Attempt
from router.core.errors import BadInputError, UnknownTaskError

MAX_CORRECTION_BYTES = 16 * 1024
MAX_COMMENT_BYTES = 2000
UNKNOWN_ANSWER = "you were given no answer of that id and task here, or too long ago"


class Opinion(StrEnum):
    """What the caller thinks."""

    RIGHT = "right"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Feedback:
    """One caller's opinion of one answer.

    Attributes:
        query_id: As the answer named it.
        task: Of the query.
        opinion: Right or wrong.
        correction: What would have been right, empty if not said.
        comment: For people, may be empty.
        attempt: Of the tier that answered, when it passes the feedback on; ``None`` from whoever was answered.
    """

    query_id: str
    task: str
    opinion: Opinion
    correction: str = ""
    comment: str = ""
    attempt: Attempt | None = None


def check_feedback(feedback: Feedback) -> Feedback:
    """The feedback, if every field is in its range.

    Raises:
        BadInputError: Names the field, as the contract spells it, and what would do.
    """
    _check_length("query_id", feedback.query_id, MAX_QUERY_ID_BYTES)
    if not feedback.query_id:
        raise BadInputError("query_id", "is empty; it stands in the answer")
    if not feedback.task:
        raise BadInputError("task", "is empty; name the task of the query")
    _check_length("correction", feedback.correction, MAX_CORRECTION_BYTES)
    _check_length("comment", feedback.comment, MAX_COMMENT_BYTES)
    if feedback.correction and feedback.opinion is Opinion.RIGHT:
        raise BadInputError("correction", "is given for an answer that is called right; leave it out, or call it wrong")
    return feedback


def unknown_answer() -> UnknownTaskError:
    """What everybody hears who was not given that answer, or no longer."""
    return UnknownTaskError(UNKNOWN_ANSWER)


def _check_length(field: str, text: str, most: int) -> None:
    try:
        length = len(text.encode())
    except UnicodeEncodeError:
        raise BadInputError(field, "has characters that UTF-8 can't carry") from None
    if length > most:
        raise BadInputError(field, f"has {length} bytes; {most} are allowed")


class Allowance:
    """How often each caller may speak: a bucket that fills steadily. ``now`` is any clock in seconds."""

    def __init__(self, burst: int = 60, per_second: float = 1.0, most_callers: int = 10_000) -> None:
        """Let ``burst`` through at once, and ``per_second`` after that; remember ``most_callers``."""
        self._burst, self._per_second, self._most = burst, per_second, most_callers
        self._buckets: dict[str, tuple[float, float]] = {}  # left, and when; longest unheard first

    def wait(self, caller: str, now: float) -> float:
        """Seconds until the caller may speak again; 0, and counted, if it may now."""
        left, since = self._buckets.pop(caller, (float(self._burst), now))
        left = min(float(self._burst), left + (now - since) * self._per_second)
        allowed = left >= 1
        self._buckets[caller] = (left - 1 if allowed else left, now)
        while len(self._buckets) > self._most:
            del self._buckets[next(iter(self._buckets))]
        return 0.0 if allowed else (1 - left) / self._per_second
