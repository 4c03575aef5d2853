"""Who is right: the teacher, the student, and what is served, against labels that people gave without seeing either.

Accuracy here is against people's labels. Agreement, which is what the promise is about, is against the teacher. The
two are never mixed.

Rules:
 * Only drawn rows count, handed out by a draw that knows no answer; the order of the rows changes no figure.
 * Rows of unequal chance are weighted by one over it, and their interval counts as many rows as the weights are worth.
 * To certify, rows are thinned to the lowest chance instead, and a row handed out without a label back counts as wrong.
 * Whether escalating pays is a bet over pairs (Waudby-Smith and Ramdas 2024, "Estimating means of bounded random
   variables by betting"), so that one may look after every label.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from router.core.statistics.e_process import expected_rows, log_evidence
from router.core.statistics.intervals import Interval, share_interval

STAKES = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7)  # of what a row may win at most, with equal weights
MOST_LABELS = 1_000_000  # more are never waited for
SCORE_BINS = 4


class Verdict(StrEnum):
    """Whether escalating what the student is unsure of makes more answers right."""

    PAYS = "escalating pays"
    PAYS_NOT = "escalating does not pay here"
    UNKNOWN = "not known yet"


@dataclass(frozen=True, slots=True)
class LabelledRow:
    """One drawn row, judged by its gold label.

    Attributes:
        chance: That the row's query came to be handed out, in (0, 1].
        rank: Of the query in that draw, uniform in [0, chance].
        teacher_right: The reference's answer is right.
        student_right: The student's is, ``None`` where there was no student.
        kept: The student's answer stayed, or would have.
        score: The student's, ``None`` where it gave none.
        release: The student's, 0 for none.
        pool_right: What the pool serves in the reference's place is right; ``None`` where it serves the reference's.
        speaks: The row tells what is served now.
    """

    chance: float
    rank: float
    teacher_right: bool
    student_right: bool | None = None
    kept: bool = False
    score: float | None = None
    release: int = 0
    pool_right: bool | None = None
    speaks: bool = True

    @property
    def served_right(self) -> bool:
        """Whether the answer that Headrace's policies serve is right: the student's, or the pool's."""
        if self.kept:
            return bool(self.student_right)
        return self.teacher_right if self.pool_right is None else self.pool_right


@dataclass(frozen=True, slots=True)
class Pairs:
    """Rows on which both answered, by who was right."""

    both: int = 0
    teacher_alone: int = 0
    student_alone: int = 0
    neither: int = 0

    @property
    def rows(self) -> int:
        """The number of rows."""
        return self.both + self.teacher_alone + self.student_alone + self.neither


@dataclass(frozen=True, slots=True)
class Worth:
    """What the teacher's answer adds on some rows where both answered.

    Attributes:
        pairs: The rows.
        gain: Share of rows that the teacher makes right, less those that it makes wrong, in [-1, 1].
        verdict: What is known of it.
        least_gain: The gain that escalating must bring to pay.
        more_labels: How many more would settle it at this pace, ``None`` where none are needed or none suffice.
    """

    pairs: Pairs
    gain: float
    verdict: Verdict
    least_gain: float
    more_labels: int | None


@dataclass(frozen=True, slots=True)
class Competence:
    """Who is right how often: intervals of weighted shares, and worths of escalating by where the policy sends rows."""

    teacher: Interval
    student: Interval
    student_kept: Interval
    student_deferred: Interval
    teacher_deferred: Interval
    served: Interval
    deferred: Worth
    kept: Worth
    by_score: tuple[tuple[float, float, Worth], ...]

    @property
    def teacher_is_worse(self) -> bool:
        """Whether it is known that the student is right more often where it is asked to give way."""
        return self.deferred.verdict is Verdict.PAYS_NOT and self.deferred.gain < 0


def competence(rows: Sequence[LabelledRow], assurance: float, least_gain: float = 0.0) -> Competence:
    """Everything that labelled rows say.

    Args:
        rows: Labelled ones.
        assurance: Of each interval and verdict, in (0, 1).
        least_gain: The gain that escalating must bring to pay, in (-1, 1).
    """
    both = [row for row in rows if row.student_right is not None]
    kept, deferred = [row for row in both if row.kept], [row for row in both if not row.kept]
    speaking = [row for row in rows if row.speaks]

    def share(some: Sequence[LabelledRow], hits: Iterable[bool]) -> Interval:
        return weighted_share(list(hits), [1.0 / row.chance for row in some], assurance)

    def student(some: Sequence[LabelledRow]) -> Interval:
        return share(some, (bool(row.student_right) for row in some))

    return Competence(
        teacher=share(rows, (row.teacher_right for row in rows)),
        student=student(both),
        student_kept=student(kept),
        student_deferred=student(deferred),
        teacher_deferred=share(deferred, (row.teacher_right for row in deferred)),
        served=share(speaking, (row.served_right for row in speaking)),
        deferred=worth(thinned(deferred), assurance, least_gain),
        kept=worth(thinned(kept), assurance, least_gain),
        by_score=_by_score(both, assurance, least_gain),
    )


def weighted_share(hits: Sequence[bool], weights: Sequence[float], assurance: float) -> Interval:
    """A share with its interval: exact for equal weights, else at the number of rows that the weights are worth.

    The second is the interval of Korn and Graubard 1998, with Kish's effective number of rows.

    Args:
        hits: One for each row.
        weights: As many, above 0.
        assurance: In (0, 1).
    """
    if not hits or max(weights) <= min(weights) * (1 + 1e-9):
        return share_interval(sum(hits), len(hits), assurance)
    from scipy.special import betaincinv  # late: half a second of CPU

    total = math.fsum(weights)
    share = math.fsum(weight for hit, weight in zip(hits, weights, strict=True) if hit) / total
    worth_rows = total**2 / math.fsum(weight**2 for weight in weights)
    found, edge = share * worth_rows, (1 - assurance) / 2
    low = float(betaincinv(found, worth_rows - found + 1, edge)) if any(hits) else 0.0
    high = float(betaincinv(found + 1, worth_rows - found, 1 - edge)) if not all(hits) else 1.0
    return Interval(share, low, high, len(hits))


def thinned(rows: Sequence[LabelledRow]) -> list[LabelledRow]:
    """The rows that the draw would have handed out at the lowest of their chances: all equally likely.

    Where all chances are equal, as usual, all stay.
    """
    lowest = min((row.chance for row in rows), default=1.0)
    return [row for row in rows if row.rank <= lowest]


def pairs_of(rows: Iterable[LabelledRow]) -> Pairs:
    """Count rows on which both answered."""
    counts = {(True, True): 0, (True, False): 0, (False, True): 0, (False, False): 0}
    for row in rows:
        if row.student_right is not None:
            counts[(row.teacher_right, row.student_right)] += 1
    return Pairs(counts[True, True], counts[True, False], counts[False, True], counts[False, False])


def worth(rows: Sequence[LabelledRow], assurance: float, least_gain: float = 0.0) -> Worth:
    """What the teacher adds on ``rows``; see ``competence`` for the arguments."""
    pairs = pairs_of(rows)
    gain = (pairs.teacher_alone - pairs.student_alone) / pairs.rows if pairs.rows else 0.0
    needed = -math.log((1 - assurance) / 2)  # half for either verdict
    counts = (float(pairs.teacher_alone), float(pairs.both + pairs.neither), float(pairs.student_alone))
    if log_bet_above(counts, least_gain) >= needed:
        return Worth(pairs, gain, Verdict.PAYS, least_gain, None)
    if log_bet_above(counts[::-1], -least_gain) >= needed:
        return Worth(pairs, gain, Verdict.PAYS_NOT, least_gain, None)
    return Worth(pairs, gain, Verdict.UNKNOWN, least_gain, _more_labels(counts, least_gain, needed))


def log_bet_above(counts: tuple[float, float, float], mean: float) -> float:
    """Natural logarithm of a bet against "the mean is at most ``mean``", spread over several stakes.

    Each row won, drawn or lost is worth 1, 0 or -1. The bet multiplies by ``1 + stake (worth - mean)``, whose
    expectation is at most 1 while the mean is at most ``mean``.

    Args:
        counts: Rows won, drawn and lost.
        mean: In (-1, 1).
    """
    terms = []
    for part in STAKES:
        stake = part / (1 + mean)
        gains = (math.log1p(stake * (value - mean)) for value in (1, 0, -1))
        terms.append(math.fsum(count * gain for count, gain in zip(counts, gains, strict=True)))
    top = max(terms)
    return top + math.log(math.fsum(math.exp(term - top) for term in terms) / len(terms))


@lru_cache(maxsize=256)  # most tasks have no label, or the same few
def _more_labels(counts: tuple[float, float, float], least_gain: float, needed: float) -> int | None:
    """Rows until one of both bets wins if they go on as they were, with one row of each kind added."""
    seen = sum(counts)
    shares = [(count + 1) / (seen + 3) for count in counts]
    low, high = 0.0, 64.0

    def settled(more: float) -> bool:
        then = (counts[0] + more * shares[0], counts[1] + more * shares[1], counts[2] + more * shares[2])
        return max(log_bet_above(then, least_gain), log_bet_above(then[::-1], -least_gain)) >= needed

    while not settled(high):
        low, high = high, 2 * high
        if high > MOST_LABELS:
            return None
    while high - low > 1:
        middle = (low + high) / 2
        low, high = (low, middle) if settled(middle) else (middle, high)
    return math.ceil(high)


def _by_score(
    rows: Sequence[LabelledRow], assurance: float, least_gain: float
) -> tuple[tuple[float, float, Worth], ...]:
    """Least and most score, and the worth of escalating there, of the newest student's rows in bins of equal rows."""
    newest = max((row.release for row in rows), default=0)
    scored = thinned([row for row in rows if row.release == newest and row.score is not None])
    ranked = sorted(
        ((row.score, row) for row in scored if row.score is not None),
        key=lambda pair: (pair[0], pair[1].teacher_right, bool(pair[1].student_right)),
    )
    bins = min(SCORE_BINS, len(ranked))
    cuts = [round(rank * len(ranked) / bins) for rank in range(bins + 1)] if bins else []
    return tuple(
        (ranked[start][0], ranked[end - 1][0], worth([row for _, row in ranked[start:end]], assurance, least_gain))
        for start, end in itertools.pairwise(cuts)
    )


@dataclass(frozen=True, slots=True)
class Proof:
    """How far a promised accuracy is proved.

    Attributes:
        min_accuracy: What is promised, in (0, 1).
        certified: The bet against "more than the rest is wrong" has won.
        rows: Rows observed.
        wrong: Of them, those without a label counted as wrong.
        alpha: Chance of a false proof that this attempt spends.
        log_evidence: Natural logarithm of the bet.
        more_labels: How many more would prove it at the accuracy seen, ``None`` where none are needed or none suffice.
    """

    min_accuracy: float
    certified: bool
    rows: int
    wrong: int
    alpha: float
    log_evidence: float
    more_labels: int | None


def prove(min_accuracy: float, alpha: float, rows: int, wrong: int) -> Proof:
    """Bet against "at least ``1 - min_accuracy`` of what is served is wrong".

    Args:
        min_accuracy: In (0, 1).
        alpha: Chance of a false proof that may be spent, in (0, 1).
        rows: Handed out, of equal chance, under one release.
        wrong: Of them, wrong or without a label.
    """
    allowance = 1 - min_accuracy
    evidence = log_evidence(allowance, rows, wrong)
    certified = evidence >= -math.log(alpha)
    wanted = expected_rows(allowance, alpha, (wrong + 0.5) / (rows + 1) if rows else 0.0)
    more = None if certified or wanted == math.inf else max(1, math.ceil(wanted) - rows)
    return Proof(min_accuracy, certified, rows, wrong, alpha, evidence, more)


def settle(said: Sequence[str], same: Callable[[str, str], bool]) -> str | None:
    """The label of one row on which most of its labellers agree, ``None`` where two stand against each other.

    Args:
        said: What each person said.
        same: Whether two labels say the same.
    """
    votes = [sum(same(one, other) for other in said) for one in said]
    best = max(votes, default=0)
    leading = [one for one, count in zip(said, votes, strict=True) if count == best]
    return leading[0] if leading and all(same(leading[0], other) for other in leading) else None


def most_of_each(callers: Sequence[str], share: float, slack: int) -> int:
    """The most rows of one caller, so that none gives more than its share of what is left, and ``slack`` above.

    Args:
        callers: Of each row.
        share: Of all rows that one may give, or its fair share where there are few callers, in (0, 1].
        slack: Rows that nobody is held to.
    """
    counts = [sum(1 for _ in group) for _, group in itertools.groupby(sorted(callers))]
    allowed = max(share, 1 / len(counts)) if counts else 1.0
    most = max(counts, default=0)
    while True:
        total = sum(min(count, most) for count in counts)
        held = int(allowed * total) + slack
        if most <= held:
            return most
        most = held
