"""When a refresh is due, what further proof costs and brings, and how long a challenger may wait.

The cloud's refresher and a replay of a log both act on these; what they keep in a store or in memory is an argument.

Rules:
 * Nothing here reads a clock, a store or a model.
 * Without a champion nothing is lost by exploring, and the cold rate holds.
 * Where nothing may be explored nothing is proved: no trial begins, and that of a release that serves ends.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from router.core.arrays import Array, Bools
from router.core.certification.certificate_validity import why_never_proved
from router.core.certification.certifying_rows import weight_of
from router.core.certification.serving_rule import rule_of
from router.core.certification.trial import Trial
from router.core.domain.record import Record
from router.core.domain.task import Task
from router.core.learning.row_sums import RowSums
from router.core.statistics.e_process import attempt_alpha
from router.core.statistics.threshold_planning import (
    HORIZON,
    HORIZON_SERVING,
    Point,
    Proposal,
    Situation,
    plan,
    plan_for_budget,
    prospect,
)

PATIENCE = 2.5  # times the rows that a certificate was expected to take
PATIENCE_ROWS = 100
MOST_OF_KEPT = 0.5  # of what a release keeps may be explored while a challenger waits: half of it is saved at least
MUCH_KEPT = 0.25  # share of the queries; where less is kept there is little to save yet, and more of it may be explored
LEAST_MET = 200  # rows that tell a champion's share better than its proposal did
EARLY_PART = 0.3  # of the rows of the first refresh that is not early: fewer start no early one
EARLY_SHARE = 0.4  # of queries that an early student should keep: a first release that keeps little delays a better one
AGAIN = 1.1  # times the rows of a refresh of which nothing serves, before the next: a fit is cheap


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a student is fitted.

    Attributes:
        min_rows: Teachable rows that start the first refresh.
        growth: Times the rows of the last refresh that start the next, > 1.
        patience_rows: Most certifying rows that a challenger may observe, as many as they are worth of drawn ones.
        early_rows: Least rows of an early refresh, as is ``EARLY_PART`` of ``min_rows``; ``min_rows`` for none.
            Early ones come at ``min_rows`` divided by ``growth``, once and again, and their students wait for a
            certificate only where they should keep ``EARLY_SHARE``. None comes below 1,000 rows
            by default: so few do not show that a repertoire stays, and what is proved of new texts alone comes late
            and keeps little (docs/decisions/0127).
    """

    min_rows: int = 1000
    growth: float = 1.4
    patience_rows: int = 3000
    early_rows: int = 1000

    def is_due(self, taught: int, at_refresh: int) -> bool:
        """Whether so many teachable rows start a refresh, after one at ``at_refresh`` rows (0: none yet)."""
        return taught >= self.rows_needed(at_refresh)

    def rows_needed(self, at_refresh: int) -> int:
        """Teachable rows that start the next refresh, after one at ``at_refresh`` rows (0: none yet)."""
        return math.ceil(max(self._steps()[-1], self.growth * at_refresh))

    def _steps(self) -> list[int]:
        """The teachable rows of the first refresh that is not early, and of those before it, falling."""
        steps, least = [self.min_rows], max(self.early_rows, EARLY_PART * self.min_rows)
        while math.floor(steps[-1] / self.growth) >= least:
            steps.append(math.floor(steps[-1] / self.growth))
        return steps

    def least_share(self, taught: int) -> float:
        """Share of queries that a student of so many teachable rows should keep to be tried, in [0, 1]."""
        return EARLY_SHARE if taught < self.min_rows else 0.0

    def in_vain(self, taught: int) -> int:
        """Rows that a refresh counts as having had, while nothing of it serves: a few more may do."""
        if taught < self.min_rows:
            return max((step for step in self._steps() if step <= taught), default=taught)
        return round(taught * min(AGAIN / self.growth, 1.0))


@dataclass(frozen=True, slots=True)
class Champion:
    """What serves: its release, 0 for nothing, and the share of queries that it was expected to keep, in [0, 1]."""

    number: int = 0
    expected: float = 0.0


def exploration_at_rest(task: Task, champion: Champion) -> float:
    """The exploration rate while no challenger waits."""
    return task.exploration.floor if champion.number else task.exploration.cold


def waiting_share(task: Task, sums: RowSums, champion: Champion) -> tuple[float, float]:
    """The champion's local share, and the exploration rate while a challenger waits; each in [0, 1].

    Args:
        task: The task.
        sums: Over its current rows.
        champion: What serves.
    """
    if not champion.number:
        return 0.0, task.exploration.cold
    share = champion_share(sums, champion.number, champion.expected)
    return share, rate_while_waiting(task, share)


def rate_while_waiting(task: Task, share: float) -> float:
    """The exploration rate while a challenger waits, in [0, 1], beside a champion that keeps a share of the queries."""
    rate = waiting_rate(task.exploration.waiting, task.exploration.floor, share)
    most = task.objective.max_escalation
    if most is not None and share > 0:  # what is explored counts too
        rate = max(task.exploration.floor, min(rate, 1.0 - (1.0 - most) / share))
    return rate


def waiting_rate(waiting: float, floor: float, local_share: float) -> float:
    """The exploration rate while a challenger waits, such that the waiting costs ``waiting`` of all queries.

    A certificate takes a number of rows, at any rate; a higher one only brings them sooner. Only explored queries that
    the champion keeps cost anything, so while it keeps little the rate may be high. No more is explored in addition
    than escalates, since a challenger could save no more than that, and no more than half of what is kept, unless that
    is little.

    Args:
        waiting: Share of all queries that may be explored in addition, in [0, 1].
        floor: Least rate, in [0, 1].
        local_share: Of the champion, in [0, 1].
    """
    if local_share <= 0:
        return 1.0
    addition = min(waiting, 1.0 - local_share)
    most = 1.0 - (1.0 - MOST_OF_KEPT) * min(local_share / MUCH_KEPT, 1.0)
    return max(floor, min(most, addition / local_share))


def champion_share(sums: RowSums, champion: int, expected: float) -> float:
    """Share of covered queries that the champion keeps, by propensity, in [0, 1]; 0 without a student.

    Where nothing is explored the log holds what escalates alone, and says nothing of it.

    Args:
        sums: Over the current rows.
        champion: Its release, 0 for none.
        expected: What it was expected to keep, believed until it has met ``LEAST_MET`` rows.
    """
    if not champion:
        return 0.0
    met = sums.met.get(champion)
    return expected if met is None or met.rows < LEAST_MET else met.kept / met.weight


def why_no_trial(task: Task, sums: RowSums, champion: Champion) -> str:
    """Why no challenger may wait for a certificate now; empty when one may.

    Args:
        task: The task.
        sums: Over its current rows.
        champion: What serves.
    """
    if waiting_share(task, sums, champion)[1] > 0:
        return ""
    why = "it may not explore beside a release that serves: exploration gives no room for it"
    return why if champion.number else why_never_proved(task)


def points_of(task: Task, scores: Array, agrees: Bools, weights: Array) -> tuple[Point, ...]:
    """The thresholds that might be proved, strict to loose; none looser than the share of escalations wants.

    Args:
        task: The task.
        scores: (rows,) in [0, 1], of a student that did not train on the row.
        agrees: (rows,) whether its answer agrees with the reference's.
        weights: (rows,) one over the propensity.
    """
    objective = task.at_device
    points = prospect(scores, agrees, weights, objective.max_disagreement)
    if objective.max_escalation is None:
        return points
    least = plan_for_budget(scores, agrees, weights, objective.max_escalation, task.exploration.floor)
    if not least.is_worth_proving:
        return ()
    last = Point(least.threshold, least.expected_local_share, least.expected_loss)
    return (*(point for point in points if point.threshold > last.threshold), last)


def begin_trial(task: Task, number: int, attempt: int, points: tuple[Point, ...], *, rate: float, freeze: int) -> Trial:
    """A challenger's trial, which has no patience yet.

    Args:
        task: Its task.
        number: Its release.
        attempt: Which of the lineage, from 1.
        points: Thresholds that might be proved.
        rate: Exploration rate while it waits, in [0, 1]; at 0 it gets no patience.
        freeze: Last batch of the log that it may have learned from.
    """
    return Trial(
        number=number,
        allowance=task.at_device.max_disagreement,
        alpha=attempt_alpha(task.at_device.assurance, attempt),
        rate=rate,
        freeze=freeze,
        patience=0,
        points=points,
        kind=task.kind,
        rule=rule_of(task, points),
    )


def rate_once_served(task: Task, sums: RowSums, trial: Trial, threshold: float) -> float:
    """The exploration rate while a release that serves goes on to a looser threshold: never above that of its trial.

    Args:
        task: The task.
        sums: Over its current rows.
        trial: Of the release.
        threshold: That serves.
    """
    champion = Champion(trial.number, trial.kept(threshold))
    return min(trial.rate, waiting_share(task, sums, champion)[1])


def situation_of(task: Task, sums: RowSums, trial: Trial, champion: Champion, in_vain: int = 0) -> Situation:
    """What further rows cost a challenger and bring it.

    Args:
        task: The task.
        sums: Over its current rows.
        trial: The challenger's.
        champion: What serves.
        in_vain: Attempts since it was certified that came to nothing: each makes the next one less worth.
    """
    return Situation(
        alpha=trial.alpha,
        rows_at_hand=trial.weight,
        queries=sums.queries,
        rate=trial.rate,
        floor=task.exploration.floor if champion.number else trial.rate,
        piece=trial.piece,
        horizon=HORIZON_SERVING / (1 + in_vain) if champion.number else HORIZON,
        champion_share=trial.kept(trial.serving) if trial.has_served else waiting_share(task, sums, champion)[0],
    )


def expectation(at_hand: Sequence[Record], trial: Trial, situation: Situation) -> Proposal:
    """The threshold of a challenger that is most worth a certificate, ``NEVER`` where none is.

    Args:
        at_hand: The rows that it may observe now, no device ahead of its share.
        trial: The challenger's.
        situation: As ``situation_of`` gives it.
    """
    counted = at_hand if trial.asked.stays else []  # their texts were asked before the freeze
    weight = math.fsum(weight_of(row) for row in counted) / situation.piece
    weighed = trial.rule.weighed(replace(situation, rows_at_hand=weight), has_served=trial.has_served)
    return plan(trial.points, trial.allowance, weighed)


def patience_of(expected: Proposal, trial: Trial, pace: Pace, least_share: float = 0.0) -> int:
    """Most rows that a challenger may observe; 0 where none of its thresholds is worth a certificate.

    Args:
        expected: As ``expectation`` gives it.
        trial: The challenger's.
        pace: Holds the most rows that any challenger may observe.
        least_share: Share of queries that it should keep, in [0, 1].
    """
    if not expected.is_worth_proving or expected.expected_local_share < least_share:
        return 0
    return int(min(max(PATIENCE * expected.expected_rows + PATIENCE_ROWS, trial.rule.least_rows), pace.patience_rows))
