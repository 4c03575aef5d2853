"""Signs that queries have changed which cost no query: they are read off what was asked of the reference anyway.

Whatever escalates is answered by the student and by the reference. Where a part of the traffic changes its meaning, the
student is wrong there more often than its own confidence says, and a text that was asked before is answered otherwise.
Each row has a chance to show one of the two by itself; the statistic is a mixture of Shiryaev-Roberts statistics as in
``suspicion``: each row multiplies it, after one is added, by the likelihood ratio of "so large a share of the queries
has changed" against that chance.

Rules:
 * It decides nothing. It is a reason to look closer, never evidence of a broken promise.
 * Scores are believed as far as they have been right: what they expect is scaled by how often the student was wrong
   before the row where it was about as sure, a standard error more, so that one that is too sure from the start raises
   no doubt for that, even while few rows tell.
 * A text that was asked before is expected to be wrong as often as it was: a command that is answered wrongly each time
   is one surprise, not many, and one that was right until now is a large one.
 * A reference that contradicts itself now and then is expected to go on so.
 * Each signal in vain makes the next one need more.
 * It depends on rows that were looked at before: what follows from it is known before the next row.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections import OrderedDict
from typing import Generic, TypeVar

SHARES = (1.0, 2.0, 4.0)  # times the promise: how large a share of the queries has changed
LEAST_EXPECTED = 0.25  # times the promise: the rarest event that is believed to be that rare
MOST_EXPECTED = 0.95
SURE = (0.02, 0.1, 0.3)  # doubts that part the rows by how sure the student was
PRIOR_ERRORS = 1.0  # expected ones of a part, for which the scores are believed at first
PRIOR_REPEATS = 2.0  # over the promise: repeats for which a reference is expected to contradict itself once
MOST_TEXTS = 5_000  # of which something is remembered, the latest
BOUND = 20.0  # over the promise: rows to a false signal, about
REST = 0.1  # of the evidence, after a look
DEARER = 2.0  # times the last bound after a signal in vain

_Known = TypeVar("_Known")


class SignalsOfChange:
    """The signals of a change in what one student is asked; it may lose ``promise``, in (0, 1)."""

    def __init__(self, promise: float) -> None:
        """Nothing is known yet."""
        self._promise = promise
        self._bound = BOUND / promise
        self._wrong = [0.0] * (len(SURE) + 1)
        self._expected = [0.0] * (len(SURE) + 1)
        self._asked = _Latest[tuple[int, int]]()  # of each text, how often, and how often the student was wrong
        self._answers = _Latest[int]()
        self._repeats = self._contradictions = 0
        self._of_student, self._of_reference = [0.0] * len(SHARES), [0.0] * len(SHARES)

    @property
    def statistic(self) -> float:
        """The mixture, in rows: at most the rows looked at, on average, while nothing changes."""
        return math.fsum(self._of_student + self._of_reference) / (2 * len(SHARES))

    @property
    def is_high(self) -> bool:
        """Whether more speaks of a change than chance brings."""
        return self.statistic >= self._bound

    def begin_anew(self) -> None:
        """Take most of the evidence back: it was looked at. What was learned of student and reference stays."""
        if self.is_high:
            self._bound *= DEARER
        self._of_student = [REST * term for term in self._of_student]
        self._of_reference = [REST * term for term in self._of_reference]

    def compare(self, wrong: bool, score: float, text: int) -> None:
        """Hold an answer of the student against the reference's.

        Args:
            wrong: They differ.
            score: The student's calibrated confidence, in [0, 1].
            text: What was asked, as a number.
        """
        doubt = 1.0 - score
        part = bisect(SURE, doubt)
        seen = PRIOR_ERRORS + self._wrong[part]
        known = (seen + math.sqrt(seen)) / (PRIOR_ERRORS + self._expected[part])
        asked, before = self._asked.pop(text) or (0, 0)
        self._of_student = self._moved(self._of_student, wrong, (before + known * doubt) / (asked + 1.0))
        self._asked.put(text, (asked + 1, before + wrong))
        self._wrong[part] += wrong
        self._expected[part] += doubt

    def hear(self, answer: int, text: int, *, counts: bool) -> None:
        """Hold an answer of the reference against its last one to the same text.

        Args:
            answer: The reference's, as a number.
            text: What was asked, as a number.
            counts: Whether it speaks of now: else it is only remembered.
        """
        before = self._answers.pop(text)
        self._answers.put(text, answer)
        if before is None:
            return
        differs = before != answer
        if counts:
            chance = (1.0 + self._contradictions) / (PRIOR_REPEATS / self._promise + self._repeats)
            self._of_reference = self._moved(self._of_reference, differs, chance)
        self._repeats += 1
        self._contradictions += differs

    def _moved(self, terms: list[float], happened: bool, chance: float) -> list[float]:
        expected = min(max(chance, LEAST_EXPECTED * self._promise), MOST_EXPECTED)
        factors = [_factor(happened, expected, share * self._promise) for share in SHARES]
        return [(term + 1.0) * factor for term, factor in zip(terms, factors, strict=True)]


def _factor(happened: bool, chance: float, share: float) -> float:
    """Likelihood ratio of what comes with ``chance`` by itself, if ``share`` of all have changed."""
    changed = min(share, MOST_EXPECTED)
    return (chance + changed * (1.0 - chance)) / chance if happened else 1.0 - changed


class _Latest(Generic[_Known]):
    """What is known of the latest texts."""

    def __init__(self) -> None:
        self._known: OrderedDict[int, _Known] = OrderedDict()

    def pop(self, text: int) -> _Known | None:
        return self._known.pop(text, None)

    def put(self, text: int, known: _Known) -> None:
        self._known[text] = known
        if len(self._known) > MOST_TEXTS:
            self._known.popitem(last=False)
