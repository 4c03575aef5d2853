"""One e-process that certifies a release before it serves and watches it while it does.

Each explored row says whether the release lost on it: kept its own answer, and the reference's differs. A bet against
a hypothesis about the loss grows when the rows speak against it; by Ville's inequality it exceeds 1 / alpha with a
probability of at most alpha when the hypothesis is true, however often one looks (Waudby-Smith and Ramdas, 2024,
"Estimating means of bounded random variables by betting").

Rules:
 * Each row is looked at once, in any order, and never chosen by its outcome.
 * A certificate needs the bet against "loss >= allowance" to exceed 1 / alpha.
 * Attempt k of a lineage spends ``(1 - assurance) / (k (k + 1))``, so that the sum over all attempts stays below
   ``1 - assurance``.
 * The live watch bets against "loss <= promise". It mixes restarts, one every 100 rows, restart b with weight
   ``1 / (b (b + 1))``: the weights sum to 1, so a release that keeps its promise is alarmed with a probability of at
   most alpha over its whole life, and a late break is found almost as fast as an early one.
 * One row costs the same however many restarts are under way: they all grow by the same factor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from router.core.arrays import Array
from router.core.ranges import check_range, check_share


@dataclass(frozen=True, slots=True)
class Certificate:
    """The proof that one release at one threshold keeps its allowance.

    Attributes:
        allowance: Largest loss that it speaks against, in (0, 1).
        alpha: Chance of a false certificate that this attempt spends, in (0, 1).
        rows: Looked at, drawn or asked all the same.
        losses: How many of them the release lost, whatever they weigh.
        log_evidence: Natural logarithm of the bet.
        attempt: Which attempt of the lineage, from 1.
        first_asked_at: Unix time in seconds of the first row.
        last_asked_at: Unix time in seconds of the last row.
        teacher_version: The reference's, as of all its rows; empty where it was not noted.
        rate: Lowest exploration rate whose rows counted, in (0, 1]; ``None`` in an old one, where all were drawn at it.
        weight: How many independent drawn rows they are worth; ``None`` in an old one, where each counted as one.
        distinct: How many different texts they ask; ``None`` where it was not noted.
    """

    allowance: float
    alpha: float
    rows: int
    losses: int
    log_evidence: float
    attempt: int
    first_asked_at: float = 0.0
    last_asked_at: float = 0.0
    teacher_version: str = ""
    rate: float | None = None
    weight: float | None = None
    distinct: int | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("allowance", "alpha", "rate"):
            check_share(name, getattr(self, name))
        check_range("rows", self.rows, 0)
        check_range("losses", self.losses, 0, self.rows)
        check_range("attempt", self.attempt, 0)
        check_range("weight", self.weight, 0)
        check_range("distinct", self.distinct, 0)


def attempt_alpha(assurance: float, attempt: int) -> float:
    """What attempt ``attempt`` (from 1) of a lineage may spend of ``1 - assurance``."""
    return (1.0 - assurance) / (attempt * (attempt + 1))


MOST_ROWS = 1e7  # a certificate that takes more is never waited for

# The alternatives that the certifying bet is spread over, as shares of the allowance, with equal weights. From a true
# loss of 0 to 0.6 of the allowance they need at most 1.37 times the rows of a bet that knew the loss.
ALTERNATIVES = (0.05, 0.15, 0.3, 0.45, 0.6)


def log_evidence(allowance: float, rows: int, losses: int) -> float:
    """Natural logarithm of the mixture of likelihood ratios against a loss of ``allowance``.

    A likelihood ratio of one smaller loss against ``allowance`` is an e-process for every loss >= ``allowance`` too,
    since it falls with each loss.

    Args:
        allowance: In (0, 1).
        rows: Looked at, >= 0.
        losses: Among them.
    """
    return _log_mixture(allowance, float(rows), float(losses))


def expected_rows(allowance: float, alpha: float, loss: float) -> float:
    """How many rows a certificate takes when losses come at their mean pace, infinite at the allowance and above.

    Args:
        allowance: In (0, 1).
        alpha: Chance of a false certificate, in (0, 1).
        loss: The true loss, in [0, 1].
    """
    if loss >= allowance:
        return math.inf
    needed = -math.log(alpha)
    low, high = 0.0, 1.0
    while _log_mixture(allowance, high, high * loss) < needed:
        low, high = high, 2 * high
        if high > MOST_ROWS:
            return math.inf
    while high - low > 0.5:
        middle = (low + high) / 2
        if _log_mixture(allowance, middle, middle * loss) < needed:
            low = middle
        else:
            high = middle
    return high


def log_factors(allowance: float, weights: Array) -> tuple[Array, Array]:
    """What rows of unequal weight add to the logarithm of each bet: (alternatives, rows) if kept well, and if lost.

    A row of weight w multiplies a bet b on "loss < allowance" by 1 - b w (lost - allowance). With w = 1 that is the
    likelihood ratio of ``log_evidence``. Weights that are the same times the chance of each kind of row to be looked at
    leave the bet a fair one over queries.

    Args:
        allowance: In (0, 1).
        weights: (rows,) in (0, 1].
    """
    bets = (1.0 - np.array(ALTERNATIVES)[:, None]) / (1.0 - allowance)
    stakes = bets * np.asarray(weights, np.float64)
    return np.log1p(stakes * allowance), np.log1p(-stakes * (1.0 - allowance))


def log_mixture(terms: Array) -> Array:
    """Natural logarithm of the mean of bets; ``terms`` are (alternatives, ...) logarithms of theirs."""
    return np.asarray(np.logaddexp.reduce(terms, axis=0) - math.log(len(ALTERNATIVES)))


def _log_mixture(allowance: float, rows: float, losses: float) -> float:
    terms = []
    for share in ALTERNATIVES:
        smaller = share * allowance
        gain = losses * math.log(smaller / allowance)
        gain += (rows - losses) * (math.log1p(-smaller) - math.log1p(-allowance))
        terms.append(gain - math.log(len(ALTERNATIVES)))
    top = max(terms)
    return top + math.log(sum(math.exp(term - top) for term in terms))


def is_certified(allowance: float, alpha: float, rows: int, losses: int) -> bool:
    """Whether the bet exceeds 1 / alpha."""
    return log_evidence(allowance, rows, losses) >= -math.log(alpha)


def most_losses(allowance: float, alpha: float, rows: int) -> int:
    """The most losses with which so many rows still certify; -1 when even none do."""
    low, high = -1, rows
    while low < high:
        middle = (low + high + 1) // 2
        if is_certified(allowance, alpha, rows, middle):
            low = middle
        else:
            high = middle - 1
    return low


RESTART_ROWS = 100
# What the watch bets on, as ratios of the odds of a loss to those that the promise allows, with equal weights.
WORSE = (1.5, 2.0, 3.0, 6.0)
BLIND_CHANCE = 1e-3  # rows this much too few do not happen by chance


class Sight(StrEnum):
    """What the watch sees."""

    QUIET = "quiet"
    ALARM = "alarm"
    BLIND = "blind"  # too few rows came to see anything


@dataclass(frozen=True, slots=True)
class WatchState:
    """Everything that a watch must remember.

    Attributes:
        promise: Largest loss allowed, in (0, 1).
        alpha: Chance of a false alarm over the whole life, in (0, 1).
        rows: Explored rows seen.
        losses: Among them.
        log_bets: For each of ``WORSE``, the natural logarithm of its weighted bets, summed over the restarts so far.
        alarm_row: The row at which the alarm went off, 0 while it has not. It stays on: a release that broke its
            promise needs a new certificate.
    """

    promise: float
    alpha: float
    rows: int = 0
    losses: int = 0
    log_bets: tuple[float, ...] = (-math.inf,) * len(WORSE)
    alarm_row: int = 0

    @property
    def alarmed(self) -> bool:
        """Whether the alarm has gone off."""
        return self.alarm_row > 0


class Watch:
    """The live watch over one release of one task, pooled over its devices."""

    def __init__(self, state: WatchState) -> None:
        """Start, or go on from ``state``."""
        self.state = state
        self._bets = list(state.log_bets)
        self._rows, self._losses, self._alarm_row = state.rows, state.losses, state.alarm_row
        self._gains = log_gains(state.promise)
        self._limit = -math.log(state.alpha)

    def update(self, lost: bool) -> bool:
        """Look at one more explored row; say whether the alarm is on."""
        if self._rows % RESTART_ROWS == 0:
            weight = log_restart_weight(self._rows // RESTART_ROWS + 1)
            self._bets = [log_add(bet, weight) for bet in self._bets]
        self._rows += 1
        self._losses += lost
        self._bets = [bet + gain[lost] for bet, gain in zip(self._bets, self._gains, strict=True)]
        if not self._alarm_row and self.log_evidence >= self._limit:
            self._alarm_row = self._rows
        return self._alarm_row > 0

    @property
    def log_evidence(self) -> float:
        """Natural logarithm of the mixture of all restarts, those to come included."""
        top = max(self._bets)
        if top == -math.inf:
            return 0.0
        started = top + math.log(sum(math.exp(bet - top) for bet in self._bets) / len(self._bets))
        return log_add(started, -math.log(_restarts(self._rows) + 1))

    def freeze(self) -> WatchState:
        """What to store."""
        self.state = WatchState(
            promise=self.state.promise,
            alpha=self.state.alpha,
            rows=self._rows,
            losses=self._losses,
            log_bets=tuple(self._bets),
            alarm_row=self._alarm_row,
        )
        return self.state


def sight(state: WatchState, rows: int, planned: float) -> Sight:
    """What the watch sees, given the rows of the last hour.

    Args:
        state: Of the watch.
        rows: Explored rows that came in the hour.
        planned: Explored rows that the hour's queries should have given: their number times the exploration rate.
    """
    if state.alarmed:
        return Sight.ALARM
    return Sight.BLIND if is_too_few(rows, planned) else Sight.QUIET


def is_too_few(rows: int, planned: float) -> bool:
    """Whether so few rows do not come by chance where so many are planned."""
    return _poisson_tail(rows, planned) < BLIND_CHANCE


def log_gains(promise: float) -> list[tuple[float, float]]:
    """The log gains for each of ``WORSE``: what a row that is not lost, and one that is, adds to the log bet."""
    gains = []
    for ratio in WORSE:
        odds = ratio * promise / (1 - promise)
        worse = odds / (1 + odds)
        gains.append((math.log1p(-worse) - math.log1p(-promise), math.log(worse / promise)))
    return gains


def _restarts(rows: int) -> int:
    """How many restarts have begun after so many rows."""
    return -(-rows // RESTART_ROWS)


def log_restart_weight(restart: int) -> float:
    """Natural logarithm of what restart ``restart`` (from 1) is staked with."""
    return -math.log(restart) - math.log(restart + 1)


def log_add(a: float, b: float) -> float:
    """Natural logarithm of exp(a) + exp(b)."""
    low, high = (a, b) if a < b else (b, a)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))


def _poisson_tail(rows: int, mean: float) -> float:
    """Chance of at most ``rows`` when ``mean`` are expected."""
    if mean <= 0:
        return 1.0
    if rows >= mean:
        return 1.0
    term = total = math.exp(-mean) if mean < 700 else 0.0
    for count in range(1, rows + 1):
        term *= mean / count
        total += term
    return min(total, 1.0) if mean < 700 else math.exp(-((mean - rows) ** 2) / (2 * mean))
