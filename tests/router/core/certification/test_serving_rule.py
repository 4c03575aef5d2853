"""An objective of escalations: the strictest threshold within the share, a floor that wins, a bound that is proved."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.core.certification.observations import Observation
from router.core.certification.refresh_schedule import (
    Champion,
    Pace,
    begin_trial,
    expectation,
    patience_of,
    points_of,
    waiting_share,
)
from router.core.certification.serving_rule import PROVING_ROWS, ByBudget, ByFloor, Next
from router.core.domain.task import NO_FLOOR, Exploration, Objective, Task
from router.core.learning.row_sums import RowSums
from router.core.statistics.e_process import attempt_alpha, is_certified
from router.core.statistics.threshold_planning import NEVER, Point, Situation, escalation_of, plan_for_budget, provable

ALPHA = attempt_alpha(0.95, 1)
SITUATION = Situation(alpha=ALPHA, rows_at_hand=0, queries=1000)


def scored(count=1000, seed=1):
    """Rows whose answers are the better the higher their score."""
    random = np.random.default_rng(seed)
    scores = random.random(count)
    return scores, random.random(count) < 0.5 + scores / 2, np.ones(count)


def wishing(**objective):
    return Task("home", "big", objective=Objective(**objective), exploration=Exploration(floor=0.05))


def trial_of(task, points, **fields):
    made = begin_trial(task, 1, 1, points, rate=1.0, freeze=0)
    made.patience = 3000
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def observations(count, *, score=0.9, wrong=0, release=0, kept=False, lost=0):
    return [Observation(score, position < wrong, release, kept, position < lost) for position in range(count)]


@given(share=st.floats(0.1, 0.9), floor=st.floats(0, 0.09), seed=st.integers(0, 50))
def test_the_plan_is_the_strictest_threshold_within_the_share(share, floor, seed):
    scores, agrees, weights = scored(200, seed)
    found = plan_for_budget(scores, agrees, weights, share, floor)
    assert escalation_of(found.expected_local_share, floor) <= share + 1e-6
    stricter = np.mean(scores > found.threshold)
    assert escalation_of(stricter, floor) > share


def test_without_rows_nothing_is_planned():
    nothing = np.array([])
    assert plan_for_budget(nothing, nothing.astype(bool), nothing, 0.5, 0.05).threshold == NEVER


@given(rows=st.integers(0, 2000), share=st.floats(0, 0.3), alpha=st.floats(0.001, 0.2))
def test_what_is_provable_is_certified_and_nothing_less_is(rows, share, alpha):
    losses = int(share * rows)
    bound = provable(alpha, rows, losses)
    assert bound == 1.0 or is_certified(bound, alpha, rows, losses)
    assert bound < 1e-3 or not is_certified(bound - 1e-3, alpha, rows, losses)


def test_the_proved_disagreement_is_too_low_in_no_more_lives_than_allowed():
    random = np.random.default_rng(7)
    broken = 0
    for _ in range(300):
        lost = np.cumsum(random.random(400) < 0.05)
        broken += any(provable(0.1, rows, int(lost[rows - 1])) < 0.05 for rows in range(50, 401, 25))
    assert broken <= 0.1 * 300 + 3 * np.sqrt(300 * 0.09)


def test_a_share_alone_is_served_at_its_threshold_once_enough_rows_say_what_it_costs():
    task = wishing(max_escalation=0.3)
    points = points_of(task, *scored())
    trial = trial_of(task, points)
    assert trial.rule == ByBudget(points[-1].threshold, has_floor=False)
    assert trial.allowance == NO_FLOOR
    trial.patience = patience_of(expectation([], trial, SITUATION), trial, Pace())
    assert trial.patience >= PROVING_ROWS
    trial.observations = observations(PROVING_ROWS - 1, wrong=30)
    assert trial.next(0, SITUATION) is Next.WAIT
    trial.observations = observations(PROVING_ROWS, wrong=30)
    assert trial.next(0, SITUATION) is Next.PROMOTE
    assert trial.certified() == points[-1].threshold
    assert 0.1 < trial.certificate(1).allowance < 0.2
    trial.serving, trial.patience = trial.certified(), 3000
    assert trial.next(0, SITUATION) is Next.END  # a looser one would leave less than is allowed


@pytest.mark.parametrize("rate", [1.0, 0.3, 0.09])
def test_a_share_alone_proves_as_much_whatever_its_rows_weigh(rate):
    """A tenth of the rows was drawn, and the rest had to be asked."""

    def weighed(count):
        drawn = observations(count // 10)
        return drawn + [replace(observation, weight=rate) for observation in observations(count - count // 10)]

    task = wishing(max_escalation=0.3)
    trial = trial_of(task, points_of(task, *scored()))
    needed = math.ceil(PROVING_ROWS / (0.1 + 0.9 * rate) / 10) * 10
    trial.observations = weighed(needed - 10)
    assert trial.next(0, SITUATION) is Next.WAIT
    trial.observations = weighed(needed)
    assert trial.next(0, SITUATION) is Next.PROMOTE
    assert trial.certificate(1).allowance <= 0.0165
    assert trial.certificate(1).weight == pytest.approx(PROVING_ROWS, rel=0.03)


def test_beside_a_floor_the_floor_wins():
    task = wishing(max_escalation=0.3, max_disagreement=0.02)
    trial = trial_of(task, (Point(0.8, 0.4, 0.002), Point(0.2, 0.8, 0.1)))
    trial.observations = observations(1000, score=0.9) + observations(300, score=0.3, wrong=200)
    assert 0.3 < trial.certified() < NEVER  # what the share wants is not certified
    assert trial.escalation(trial.certified(), 0.05) > 0.25
    assert trial.certificate(1).allowance == 0.02


def test_beside_a_floor_no_more_stays_than_the_share_wants():
    task = wishing(max_escalation=0.6, max_disagreement=0.2)
    trial = trial_of(task, (Point(0.5, 0.45, 0.01),))
    trial.observations = observations(500, score=0.9) + observations(500, score=0.1)
    assert trial.certified() == 0.5


def test_within_the_share_a_student_that_disagrees_less_replaces_one_that_disagrees_more():
    task = wishing(max_escalation=0.3)
    trial = trial_of(task, (Point(0.5, 0.8, 0.05),))
    trial.observations = observations(400, wrong=10, release=3, kept=True, lost=40)
    assert trial.next(3, SITUATION) is Next.PROMOTE
    trial.observations = observations(400, wrong=40, release=3, kept=True, lost=40)
    trial.patience = 400
    assert trial.next(3, SITUATION) is Next.END


def test_within_the_share_a_challenger_that_keeps_no_more_is_worth_its_rows():
    trial = trial_of(wishing(max_escalation=0.3), (Point(0.5, 0.8, 0.05),))
    served = replace(SITUATION, champion_share=0.8, floor=0.05)
    assert patience_of(expectation([], trial, served), trial, Pace()) >= PROVING_ROWS
    plain = trial_of(wishing(max_disagreement=0.1), (Point(0.5, 0.8, 0.05),))
    assert plain.rule == ByFloor()
    assert patience_of(expectation([], plain, served), plain, Pace()) == 0


def test_what_is_explored_while_a_challenger_waits_counts_in_the_share():
    free, bound = wishing(), wishing(max_escalation=0.3)
    share = 0.8
    assert waiting_share(free, RowSums(), Champion(1, share))[1] == pytest.approx(0.25)
    rate = waiting_share(bound, RowSums(), Champion(1, share))[1]
    assert escalation_of(share, rate) == pytest.approx(0.3)


@settings(max_examples=30)
@given(share=st.floats(0.1, 0.9), floor=st.floats(0.01, 0.2))
def test_no_point_is_looser_than_the_share_wants(share, floor):
    points = points_of(wishing(max_escalation=share, max_disagreement=floor), *scored())
    least = plan_for_budget(*scored(), share, 0.05).threshold
    assert points[-1].threshold == least
    assert list(points) == sorted(points, key=lambda point: -point.threshold)
