"""Suspicion: a warning before the alarm, while what serves seems to lose more than it may. Everything is explored then.

It makes the watch quicker and decides nothing. The watch bets on rows, and at a low exploration rate rows come slowly;
where a few of them look bad, many are fetched at once, and the watch then alarms or the suspicion ends.

The statistic is a mixture of Shiryaev-Roberts statistics, one for each alternative that the watch bets on: each row
multiplies it, after one is added, by the likelihood ratio of that alternative against a loss of exactly the promise
(Shin, Ramdas and Rinaldo 2023, "E-detectors"). Minus the number of rows it is a supermartingale while the loss is at
most the promise, so that no suspicion begins sooner than after ``BOUND / promise`` rows on average.

Rules:
 * It begins when the statistic reaches its bound, and lasts until so many rows in a row were below it. Then the
   statistic begins anew. It begins too, and lasts longer, where ``signals_of_change`` speak of one.
 * Rows observed while it lasts are paid for: by rows observed without it, one for one, and by a stake that each
   release has once. Whatever devices say, it costs no more; unpaid it ends until a whole span is paid for.
 * It depends on rows that were observed before, never on the row whose rate it sets: the watch's bound is untouched.
 * Nothing is stored: the same rows give the same suspicion.

All numbers are in rows that the promise would lose one of: at 2 %, fifty.
"""

from __future__ import annotations

import math

from router.core.statistics.e_process import log_gains
from router.core.statistics.signals_of_change import SignalsOfChange

# At a loss of half the promise the statistic is 1.85 / promise on average; the bound stands above that, and far below
# the evidence that an alarm needs.
BOUND = 3.0
SPAN = 2.0  # rows below the bound that end it: at the promise they lose two
SPAN_AT_SIGNAL = 8.0  # rows that are observed where other signs than lost rows speak of a change
# Evidence for 1.5 times the promise grows by 0.108 a loss that is allowed. The watch needs about 11 after a long quiet
# life: ln(1 / alpha) = 3, ln 4 for its mixture, and what its restarts cost.
STAKE = 100.0


class Suspicion:
    """The suspicion of one release.

    Attributes:
        since: Unix time in seconds at which it began, 0 while nothing is suspected.
    """

    def __init__(self, promise: float) -> None:
        """Nothing is suspected yet of a release that may lose ``promise``, in (0, 1)."""
        self._factors = [(math.exp(kept), math.exp(lost)) for kept, lost in log_gains(promise)]
        self._bound = BOUND / promise
        self._span, self._most = math.ceil(SPAN / promise), math.ceil(STAKE / promise)
        self._span_at_signal = math.ceil(SPAN_AT_SIGNAL / promise)
        self._paid = self._most
        self._left = 0
        self.since = 0.0
        self._terms = [0.0] * len(self._factors)
        self.signals = SignalsOfChange(promise)

    @property
    def is_on(self) -> bool:
        """Whether everything is to be explored."""
        return self._left > 0

    @property
    def rows_left(self) -> int:
        """How many rows below the bound end it; 0 while nothing is suspected."""
        return self._left

    @property
    def statistic(self) -> float:
        """The mixture, in rows: at most the rows observed, on average, while the promise is kept."""
        return math.fsum(self._terms) / len(self._terms)

    def update(self, lost: bool, at: float = 0.0) -> bool:
        """Observe one more explored row; say whether there is a suspicion now.

        Args:
            lost: The release lost it.
            at: Unix time in seconds at which it came.
        """
        was_on = self.is_on
        self._paid = self._paid - 1 if was_on else min(self._paid + 1, self._most)
        self._terms = [(term + 1.0) * factors[lost] for term, factors in zip(self._terms, self._factors, strict=True)]
        self._left = max(self._left - 1, 0)
        if self.statistic >= self._bound:
            self._suspect(self._span, at)
        if was_on and (not self._left or not self._paid):
            self._left, self.since = 0, 0.0
            self._terms = [0.0] * len(self._factors)
            self.signals.begin_anew()
        return self.is_on

    def hear(self, answer: int, text: int, at: float = 0.0, *, counts: bool) -> None:
        """Hear an answer of the reference; ``signals_of_change`` tells what it is held against.

        Args:
            answer: As a number.
            text: What was asked, as a number.
            at: Unix time in seconds at which the row came.
            counts: Whether it speaks of the release that serves: else it is only remembered.
        """
        self.signals.hear(answer, text, counts=counts and not self.is_on)
        self._consider(at)

    def compare(self, wrong: bool, score: float, text: int, at: float = 0.0) -> None:
        """Compare an answer of the release, kept or not, with the reference's.

        Args:
            wrong: They differ.
            score: The student's calibrated confidence, in [0, 1].
            text: What was asked, as a number.
            at: Unix time in seconds at which the row came.
        """
        if not self.is_on:
            self.signals.compare(wrong, score, text)
            self._consider(at)

    def _consider(self, at: float) -> None:
        if self.signals.is_high and not self.is_on:
            self._suspect(self._span_at_signal, at)

    def _suspect(self, span: int, at: float) -> None:
        """Suspect for so many rows at least, if that is paid for."""
        if self.is_on or self._paid >= span:
            self._left = max(self._left, span)
            self.since = self.since or at


def rows_to_suspicion(promise: float, loss: float) -> int:
    """About how many rows it takes to suspect a release that lost half of the promise and now loses more than it may.

    The statistic moves at its mean pace, from half of where it stands on average before: its law has a long tail.

    Args:
        promise: Largest loss allowed, in (0, 1).
        loss: From now on, at least as often as the first alternative of the watch.
    """
    gains, half = log_gains(promise), promise / 2.0
    quiet = [half * math.exp(lost) + (1.0 - half) * math.exp(kept) for kept, lost in gains]
    terms = [mean / (1.0 - mean) / 2.0 for mean in quiet]
    paces = [math.exp(loss * lost + (1.0 - loss) * kept) for kept, lost in gains]
    rows = 0
    while math.fsum(terms) < len(terms) * BOUND / promise:
        terms = [(term + 1.0) * pace for term, pace in zip(terms, paces, strict=True)]
        rows += 1
    return rows
