from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.certification.observations import Observation
from router.core.certification.refresh_schedule import (
    LEAST_MET,
    MOST_OF_KEPT,
    MUCH_KEPT,
    PATIENCE_ROWS,
    Champion,
    Pace,
    begin_trial,
    expectation,
    exploration_at_rest,
    patience_of,
    rate_once_served,
    situation_of,
    waiting_rate,
    waiting_share,
    why_no_trial,
)
from router.core.certification.serving_rule import Next
from router.core.domain.task import Exploration, Objective, Task
from router.core.learning.row_sums import RowSums
from router.core.statistics.e_process import attempt_alpha
from router.core.statistics.threshold_planning import HORIZON, HORIZON_SERVING, Point

TASK = Task("home", reference="big", objective=Objective(0.05), exploration=Exploration(floor=0.05, waiting=0.25))
POINTS = (Point(0.9, 0.4, 0.001), Point(0.5, 0.8, 0.02))


def trial(**fields):
    return begin_trial(TASK, 3, fields.pop("attempt", 1), fields.pop("points", POINTS), rate=1.0, freeze=0, **fields)


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_more_rows_never_make_a_refresh_less_due(taught, at_refresh):
    pace = Pace()
    assert pace.is_due(taught + 1, at_refresh) >= pace.is_due(taught, at_refresh)
    assert not pace.is_due(min(taught, pace.early_rows - 1), at_refresh)


def test_the_next_refresh_waits_for_growth():
    pace = Pace(min_rows=100, growth=1.5)
    assert pace.is_due(100, 0)
    assert not pace.is_due(149, 100)
    assert pace.is_due(150, 100)


def test_early_refreshes_lead_up_to_the_first_that_is_not_early():
    pace, at, due = Pace(1000, 1.4, early_rows=300), 0, []
    for taught in range(1, 1300):
        if pace.is_due(taught, at):
            due.append(taught)
            at = pace.in_vain(taught)
    assert due == [364, 510, 714, 1000, 1101, 1211]
    assert [pace.least_share(taught) > 0 for taught in due] == [True, True, True, False, False, False]


def test_who_wants_no_student_gets_none_early():
    assert not Pace(1_000_000).is_due(50_000, 0)
    assert not Pace(400).is_due(399, 0)


def test_no_student_is_early_by_default():
    """So few rows do not tell a repertoire that moves on from commands that stay: see decision 0127."""
    assert not Pace().is_due(Pace().min_rows - 1, 0)


@pytest.mark.parametrize("early_rows", [1000, 5000])
def test_without_early_refreshes_the_first_waits_for_its_rows(early_rows):
    pace = Pace(1000, 1.4, early_rows=early_rows)
    assert [taught for taught in (300, 999, 1000) if pace.is_due(taught, 0)] == [1000]


def test_an_early_student_that_keeps_little_does_not_wait():
    few, ready = Pace(least := 1000, early_rows=300), trial(points=(Point(0.9, 0.3, 0.0001),))
    known = situation_of(TASK, RowSums(queries=600.0), ready, Champion())
    expected = expectation((), ready, known)
    assert patience_of(expected, ready, few) > 0
    assert patience_of(expected, ready, few, few.least_share(least - 1)) == 0


def test_without_a_champion_the_cold_rate_holds():
    assert exploration_at_rest(TASK, Champion()) == TASK.exploration.cold
    assert waiting_share(TASK, RowSums(), Champion()) == (0.0, TASK.exploration.cold)


def test_a_champion_lowers_the_rate_to_what_waiting_may_cost():
    assert exploration_at_rest(TASK, Champion(2, 0.5)) == TASK.exploration.floor
    assert waiting_share(TASK, RowSums(), Champion(2, 0.5)) == (0.5, 0.5)


def test_a_later_attempt_spends_less_of_the_assurance():
    spent = [trial(attempt=attempt).alpha for attempt in range(1, 50)]
    assert spent == sorted(spent, reverse=True)
    assert sum(spent) < 1 - TASK.objective.assurance
    assert spent[0] == attempt_alpha(0.95, 1)


def test_a_challenger_worth_its_rows_gets_patience_for_more_than_it_should_need(record):
    one = trial()
    rows = [record(position) for position in range(2000)]
    expected = expectation(rows, one, situation_of(TASK, RowSums.of(rows), one, Champion()))
    patience = patience_of(expected, one, Pace())
    assert expected.expected_gain > 0
    assert PATIENCE_ROWS < patience <= Pace().patience_rows


@pytest.mark.parametrize("points", [(), (Point(0.9, 0.0, 0.0),)])
def test_a_challenger_that_keeps_nothing_gets_no_patience(record, points):
    one = trial(points=points)
    rows = [record(position) for position in range(500)]
    expected = expectation(rows, one, situation_of(TASK, RowSums.of(rows), one, Champion()))
    assert (patience_of(expected, one, Pace()), expected.expected_gain) == (0, 0.0)


def served(task, kept, rate=1.0):
    """A trial whose own threshold serves, and keeps that share of the rows looked at."""
    stays = [position < 1000 * kept for position in range(1000)]
    observations = [Observation(0.9 if one else 0.1, not one, 0, False) for one in stays]
    one = begin_trial(task, 3, 1, POINTS, rate=rate, freeze=0)
    one.observations, one.serving, one.patience = observations, 0.9, 3000
    return one


@pytest.mark.parametrize(("kept", "rate"), [(0.5, 0.5), (0.8, 0.25), (1.0, 0.05), (0.25, 0.5), (0.1, 0.8), (0.0, 1.0)])
def test_once_a_release_serves_its_trial_goes_on_at_the_rate_that_waiting_may_cost(kept, rate):
    assert rate_once_served(TASK, RowSums(), served(TASK, kept), 0.9) == pytest.approx(rate)


def test_once_a_release_serves_its_trial_goes_on_at_no_higher_rate_than_before():
    assert rate_once_served(TASK, RowSums(), served(TASK, 0.5, rate=0.3), 0.9) == 0.3


def test_once_a_release_serves_the_rate_goes_by_what_its_rows_kept_when_enough_have_met_it(record):
    escalated = [record(position, release=3) for position in range(LEAST_MET)]
    assert rate_once_served(TASK, RowSums.of(escalated), served(TASK, 0.5), 0.9) == 1.0
    assert rate_once_served(TASK, RowSums.of(escalated[1:]), served(TASK, 0.5), 0.9) == 0.5


UNEXPLORED = replace(TASK, exploration=Exploration(floor=0.0, waiting=0.0))


def test_a_release_that_may_not_explore_beside_itself_ends_its_trial():
    one = served(UNEXPLORED, 0.4)
    one.rate = rate_once_served(UNEXPLORED, RowSums(), one, one.serving)
    assert one.rate == 0.0
    assert one.next(3, situation_of(UNEXPLORED, RowSums(), one, Champion(3, 0.4))) is Next.END


def test_a_challenger_that_may_not_explore_gets_no_patience(record):
    rows = [record(position, exploration=0.0, release=2, local_answer="lights") for position in range(50)]
    one = begin_trial(UNEXPLORED, 3, 1, POINTS, rate=0.0, freeze=0)
    situation = situation_of(UNEXPLORED, RowSums.of(rows), one, Champion(2, 0.5))
    assert patience_of(expectation(rows, one, situation), one, Pace()) == 0


@pytest.mark.parametrize(
    ("exploration", "champion", "words"),
    [
        (Exploration(), Champion(), ""),
        (Exploration(cold=0.0), Champion(), "exploration.cold is 0"),
        (Exploration(cold=0.0), Champion(2, 0.5), ""),
        (Exploration(floor=0.0, waiting=0.0), Champion(), ""),
        (Exploration(floor=0.0, waiting=0.0), Champion(2, 0.5), "beside a release that serves"),
    ],
)
def test_nothing_is_tried_where_nothing_may_be_explored(exploration, champion, words):
    why = why_no_trial(replace(TASK, exploration=exploration), RowSums(), champion)
    assert (words in why, bool(why)) == (True, bool(words))


def test_nothing_is_tried_where_the_share_of_escalations_leaves_no_room_to_explore():
    task = replace(TASK, objective=Objective(max_escalation=0.3), exploration=Exploration(floor=0.0))
    assert "no room" in why_no_trial(task, RowSums(), Champion(2, 0.7))
    assert why_no_trial(task, RowSums(), Champion(2, 0.8)) == ""


def test_what_serves_already_counts_as_what_a_looser_threshold_must_beat(record):
    one = replace(trial(), serving=0.5)
    assert (
        situation_of(TASK, RowSums.of([record(0)]), one, Champion(3, 0.9)).champion_share == 0.0
    )  # of no rows looked at
    assert situation_of(TASK, RowSums.of([record(0)]), trial(), Champion(3, 0.9)).champion_share == 0.9


def test_each_attempt_in_vain_beside_a_release_makes_the_next_one_less_worth():
    sums, champion = RowSums.of([]), Champion(3, 0.9)
    horizons = [situation_of(TASK, sums, trial(), champion, in_vain).horizon for in_vain in range(3)]
    assert horizons == [HORIZON_SERVING, HORIZON_SERVING / 2, HORIZON_SERVING / 3]
    assert situation_of(TASK, sums, trial(), Champion(), 5).horizon == HORIZON


@given(waiting=st.floats(0, 1), floor=st.floats(0, 1), share=st.floats(0, 1))
def test_waiting_costs_what_the_operator_allows_and_keeps_the_floor(waiting, floor, share):
    rate = waiting_rate(waiting, floor, share)
    assert floor <= rate <= 1
    assert rate * share <= max(waiting, floor) + 1e-9
    assert rate * share <= max(1 - share, floor * share) + 1e-9  # at most as much again as escalates
    assert rate <= max(MOST_OF_KEPT, floor) or share < MUCH_KEPT  # so that half of what is kept is saved at least


@given(waiting=st.floats(0.25, 1), share=st.floats(0, 0.25))
def test_the_less_is_kept_the_more_of_it_may_be_explored_without_a_jump(waiting, share):
    rates = [waiting_rate(waiting, 0.0, one) for one in (0.0, share / 2, share)]
    assert rates == sorted(rates, reverse=True)
    assert waiting_rate(waiting, 0.0, 1e-6) == pytest.approx(1.0, abs=1e-5)
