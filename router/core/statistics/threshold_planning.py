"""Scores and agreements -> the threshold worth proposing. Proving it is ``e_process.py``.

Rules:
 * A proposal looks at calibrating rows only, never at rows that certify.
 * It aims below the allowance, at a loss that the certifying rows at hand, and those worth waiting for, can prove.
 * Loss counts over all queries, kept or not: bounding the error among the kept finds no threshold half of the time.
 * What it expects of a threshold is no promise; a wrong expectation costs a longer wait, never a broken promise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from router.core.arrays import Array, Bools
from router.core.statistics.e_process import ALTERNATIVES, MOST_ROWS, expected_rows, is_certified, log_factors

NEVER = 2.0  # a threshold above every score: everything is deferred

CAUTION = 0.5  # quantile of a threshold's loss, given the calibrating rows, that a plan reckons with
MARGIN = 1.3  # rows that an aim wants for each row that it expects to need: certificates differ in length by chance
LARGEST_AIM = 0.75  # beyond this share of the allowance a certificate takes thousands of rows
CANDIDATES = 200  # most thresholds that a plan compares
HORIZON = 4.0  # times the queries seen so far, within which a first release pays for itself: waiting costs only time
HORIZON_SERVING = 2.0  # beside a release that serves waiting costs queries
HALF_A_ROW = 0.5
ESCALATED_LOSSES = 0.5  # share of a challenger's losses that a plan expects among what the champion escalates
PROVABLE_STEP = 1e-5  # of an allowance
_ROUNDING = 1e-9
LEAST_GAIN = 0.1  # share of the champion's escalations that a challenger should save to be worth a certificate


@dataclass(frozen=True, slots=True)
class Proposal:
    """A threshold worth proving.

    Attributes:
        threshold: Least score kept, in [0, 1], or ``NEVER``.
        expected_local_share: Of the calibrating rows, weighted, in [0, 1].
        expected_loss: Of the calibrating rows, weighted, in [0, 1]; a plan reckons it cautiously.
        expected_rows: Certifying rows that it should take, 0 where that was not asked.
        expected_gain: Queries that it should save by the time that it should have paid for itself, likewise.
    """

    threshold: float
    expected_local_share: float
    expected_loss: float
    expected_rows: float = 0.0
    expected_gain: float = 0.0

    @property
    def is_worth_proving(self) -> bool:
        """Whether it keeps anything."""
        return self.threshold < NEVER


@dataclass(frozen=True, slots=True)
class Situation:
    """What a plan weighs a certificate's rows against.

    Attributes:
        alpha: Chance of a false certificate that this attempt may spend, in (0, 1).
        rows_at_hand: Certifying rows that wait already, as many as they are worth of drawn ones.
        queries: Seen so far, > 0: the older a task, the longer a release may take to pay for itself.
        rate: Exploration rate while a challenger waits, in [0, 1]; at 0 nothing is worth proving.
        floor: Exploration rate otherwise, in [0, rate].
        champion_share: Local share of what serves now, in [0, 1]; 0 without a student.
        piece: Rows that come for each one that is independent of the others, >= 1.
        horizon: Times the queries seen so far, within which a certificate should have paid for itself, > 0.
        lasting: What a challenger keeps on average over that time, of what it keeps at first, in [0, 1].
    """

    alpha: float
    rows_at_hand: float
    queries: float
    rate: float = 1.0
    floor: float = 1.0
    champion_share: float = 0.0
    piece: float = 1.0
    horizon: float = HORIZON
    lasting: float = 1.0

    @property
    def queries_ahead(self) -> float:
        """Within how many queries to come a certificate should have paid for itself."""
        return self.horizon * self.queries

    @property
    def price(self) -> float:
        """What waiting for a certificate costs: the share of queries that are asked of the cloud in addition."""
        return (self.rate - self.floor) * self.champion_share


def propose(scores: Array, agrees: Bools, weights: Array, allowance: float, aim: float = 0.35) -> Proposal:
    """The loosest threshold whose loss on the calibrating rows is at most ``aim * allowance``.

    Args:
        scores: (rows,) in [0, 1], of a student that did not train on the row; ``-inf`` where it must defer.
        agrees: (rows,) whether its answer agrees with the reference's.
        weights: (rows,) one over the propensity.
        allowance: Largest loss over all queries, in (0, 1).
        aim: Share of the allowance to aim at, in (0, 1].
    """
    curve = _Curve.of(scores, agrees, weights)
    fits = np.flatnonzero(curve.loss <= aim * allowance)
    return curve.proposal(int(fits[-1])) if len(fits) else Proposal(NEVER, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Point:
    """One threshold that might be proved.

    Attributes:
        threshold: Least score kept, in [0, 1].
        kept: Share of queries that it keeps, in [0, 1].
        loss: Its loss, reckoned cautiously, in [0, 1].
    """

    threshold: float
    kept: float
    loss: float


def prospect(scores: Array, agrees: Bools, weights: Array, allowance: float) -> tuple[Point, ...]:
    """The thresholds that might be proved, strict to loose, with what the calibrating rows say of each.

    Args:
        scores: (rows,) in [0, 1], of a student that did not train on the row; ``-inf`` where it must defer.
        agrees: (rows,) whether its answer agrees with the reference's.
        weights: (rows,) one over the propensity.
        allowance: Largest loss over all queries, in (0, 1).
    """
    curve = _Curve.of(scores, agrees, weights)
    fits = np.flatnonzero(curve.loss <= LARGEST_AIM * allowance)
    if not len(fits):
        return ()
    tried = fits[np.unique(np.linspace(0, len(fits) - 1, CANDIDATES).astype(int))]
    losses = curve.cautious_loss(tried)
    return tuple(
        Point(float(curve.thresholds[position]), float(curve.kept[position]), loss)
        for position, loss in zip(tried, losses, strict=True)
    )


def plan_for_budget(
    scores: Array, agrees: Bools, weights: Array, max_escalation: float, exploration: float
) -> Proposal:
    """The strictest threshold, so the one that disagrees least, that keeps the escalations within their share.

    Where no threshold does, the loosest.

    Args:
        scores: (rows,) in [0, 1], of a student that did not train on the row; ``-inf`` where it must defer.
        agrees: (rows,) whether its answer agrees with the reference's.
        weights: (rows,) one over the propensity.
        max_escalation: Largest share of queries that may leave, explored ones included, in (0, 1).
        exploration: Rate that holds while it serves, in [0, max_escalation).
    """
    curve = _Curve.of(scores, agrees, weights)
    if not len(curve.kept):
        return Proposal(NEVER, 0.0, 0.0)
    within = np.flatnonzero(escalation_of(curve.kept, exploration) <= max_escalation + _ROUNDING)
    position = int(within[0]) if len(within) else len(curve.kept) - 1
    return replace(curve.proposal(position), expected_loss=curve.cautious_loss(np.array([position]))[0])


def escalation_of(kept: Array, exploration: float) -> Array:
    """Share of queries that leave the device: deferred, or kept and explored.

    Args:
        kept: Share that is kept, in [0, 1].
        exploration: Rate, in [0, 1].
    """
    return 1.0 - kept * (1.0 - exploration)


def provable(alpha: float, rows: int, losses: int) -> float:
    """The least allowance that so many rows certify, in (0, 1]; 1 where they certify none.

    An upper confidence bound of the loss: an e-process for every allowance grows with the allowance, so that a bound
    below the true loss takes a false certificate for that loss, however often one looks.

    Args:
        alpha: Chance that the bound is too low, in (0, 1).
        rows: Looked at.
        losses: Among them.
    """
    return least_where(lambda allowance: is_certified(allowance, alpha, rows, losses))


def least_where(certifies: Callable[[float], bool]) -> float:
    """The least allowance in (0, 1] that certifies, where every larger one does too; 1 where none does."""
    low, high = 0.0, 1.0
    while high - low > PROVABLE_STEP:
        middle = (low + high) / 2
        low, high = (low, middle) if certifies(middle) else (middle, high)
    return high


def plan(points: Sequence[Point], allowance: float, situation: Situation) -> Proposal:
    """The threshold that should bring most answers home by the time that it should have paid for itself.

    Each threshold is worth the queries that it keeps more than the champion from its certificate on, less those that
    are explored to certify it. Where none is worth its rows, nothing is proposed and no assurance spent.

    Args:
        points: That might be proved.
        allowance: Largest loss over all queries, in (0, 1).
        situation: What a certificate costs and brings.
    """
    if not points or situation.rate <= 0:
        return Proposal(NEVER, 0.0, 0.0)
    rows = _rows_of(allowance, np.array([point.loss for point in points]), situation)
    wait = np.maximum(rows - situation.rows_at_hand, 0.0) / situation.rate * situation.piece
    kept, champion = np.array([point.kept for point in points]), situation.champion_share
    ahead = np.maximum(situation.queries_ahead - wait, 0.0)
    gain = ahead * (kept * situation.lasting - champion) - wait * situation.price
    gain[kept - champion < LEAST_GAIN * (1.0 - champion)] = -np.inf
    best = int(np.argmax(gain))
    if not gain[best] > 0:
        return Proposal(NEVER, 0.0, 0.0)
    point = points[best]
    return Proposal(point.threshold, point.kept, point.loss, float(rows[best]), float(gain[best]))


def aim_for(allowance: float, alpha: float, rows_available: float) -> float:
    """The largest share of the allowance whose certificate is expected within so many rows, 0 when none is.

    Args:
        allowance: In (0, 1).
        alpha: Chance of a false certificate that this attempt may spend, in (0, 1).
        rows_available: Certifying rows at hand, and those that one will wait for.
    """
    within = rows_available / MARGIN
    if _rows(allowance, alpha, 0.0) > within:
        return 0.0
    low, high = 0.0, LARGEST_AIM
    if _rows(allowance, alpha, high * allowance) <= within:
        return high
    while high - low > 1e-3:
        middle = (low + high) / 2
        if _rows(allowance, alpha, middle * allowance) <= within:
            low = middle
        else:
            high = middle
    return low


def cautious_loss(loss: float, rows: float, quantile: float = CAUTION) -> float:
    """Clopper-Pearson's upper bound of a loss, in [0, 1].

    Args:
        loss: As estimated, in [0, 1].
        rows: How many equal rows the estimate is worth, > 0.
        quantile: In (0, 1).
    """
    lost = min(loss * rows, rows)
    if lost >= rows:
        return 1.0
    from scipy.special import betaincinv  # late: half a second of CPU

    return float(betaincinv(lost + 1.0, rows - lost, quantile))


@dataclass(frozen=True, slots=True)
class _Curve:
    """Thresholds, strict to loose, each with the share it keeps, its loss, and the variance of that loss."""

    thresholds: Array
    kept: Array
    loss: Array
    variance: Array
    rows: float

    @classmethod
    def of(cls, scores: Array, agrees: Bools, weights: Array) -> _Curve:
        """The curve over the distinct scores; a row of score ``-inf`` is one that no threshold keeps."""
        order = np.argsort(-scores, kind="stable")
        ranked = scores[order]
        share = weights[order] / weights.sum() if len(order) else weights[order]
        lost = share * ~agrees[order]
        ends = np.append(ranked[1:] != ranked[:-1], True)[: len(ranked)]  # a threshold keeps all rows of equal score
        ends &= np.isfinite(ranked)
        return cls(
            thresholds=ranked[ends],
            kept=np.cumsum(share)[ends],
            loss=np.cumsum(lost)[ends],
            variance=np.cumsum(lost**2)[ends],
            rows=float(1.0 / (share**2).sum()) if len(order) else 0.0,
        )

    def proposal(self, position: int, rows: float = 0.0) -> Proposal:
        """The threshold at ``position``."""
        return Proposal(float(self.thresholds[position]), float(self.kept[position]), float(self.loss[position]), rows)

    def cautious_loss(self, positions: NDArray[np.int_]) -> list[float]:
        """Loss at each position, at the quantile ``CAUTION``: unequal weights make an estimate worth fewer rows."""
        bounds = []
        for loss, variance in zip(self.loss[positions], self.variance[positions], strict=True):
            rows = loss / variance if variance > 0 else self.rows
            bounds.append(cautious_loss(float(loss), max(float(rows), 1.0)))
        return bounds


def _rows(allowance: float, alpha: float, loss: float) -> float:
    return min(expected_rows(allowance, alpha, loss), MOST_ROWS)


def _rows_of(allowance: float, losses: Array, situation: Situation) -> Array:
    """Rows drawn at the rate that a certificate takes at each loss, (losses,), at most ``MOST_ROWS``.

    What the champion escalates is always there, at a weight of the rate; only what it keeps must be drawn.
    """
    rate, keeps = situation.rate, situation.champion_share
    # (alternatives, 2) each: of a drawn row, of one that is there
    kept, lost = log_factors(allowance, np.array([1.0, rate]))
    drawn, there = (lost - kept).T
    rows = keeps * kept[:, :1] + (1.0 - keeps) / rate * kept[:, 1:]
    fall = (1.0 - ESCALATED_LOSSES) * drawn[:, None] + ESCALATED_LOSSES / rate * there[:, None]
    pace = rows + losses * fall  # (alternatives, losses): what a row adds to each bet's logarithm
    needed = -math.log(situation.alpha) + math.log(len(ALTERNATIVES))
    low, high = np.zeros(len(losses)), np.full(len(losses), MOST_ROWS)
    for _ in range(math.ceil(math.log2(MOST_ROWS / HALF_A_ROW))):
        middle = (low + high) / 2
        enough = np.logaddexp.reduce(middle * pace, axis=0) >= needed
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return high
