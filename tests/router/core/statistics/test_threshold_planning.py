"""The proposal: what it may look at, and what it does with it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.core.statistics.e_process import MOST_ROWS, expected_rows
from router.core.statistics.threshold_planning import (
    LARGEST_AIM,
    NEVER,
    Situation,
    _rows_of,
    aim_for,
    cautious_loss,
    plan,
    propose,
    prospect,
)


@st.composite
def rows(draw, most: int = 60):
    count = draw(st.integers(1, most))
    scores = draw(st.lists(st.sampled_from([0.0, 0.2, 0.5, 0.7, 0.9, 0.99, 1.0]), min_size=count, max_size=count))
    agrees = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    weights = draw(st.lists(st.sampled_from([1.0, 4.0, 20.0]), min_size=count, max_size=count))
    return np.array(scores), np.array(agrees), np.array(weights)


def good_rows(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of a calibrated student whose errors sit at low scores."""
    draw = np.random.default_rng(seed)
    scores = draw.beta(4, 0.5, count)
    return scores, draw.random(count) < scores, np.ones(count)


SITUATION = Situation(alpha=0.025, rows_at_hand=200, queries=3000, rate=1.0, floor=0.05)


@given(data=rows(), allowance=st.floats(0.01, 0.5), aim=st.floats(0.05, 1.0))
def test_a_proposal_keeps_its_aim_on_the_rows_it_looked_at(data, allowance, aim):
    scores, agrees, weights = data
    found = propose(scores, agrees, weights, allowance, aim)
    lost = weights[(scores >= found.threshold) & ~agrees].sum() / weights.sum()
    kept = weights[scores >= found.threshold].sum() / weights.sum()
    assert lost <= aim * allowance + 1e-9
    assert found.expected_loss == pytest.approx(lost)
    assert found.expected_local_share == pytest.approx(kept)


@given(data=rows(), allowance=st.floats(0.01, 0.5), lower=st.floats(0.05, 1), higher=st.floats(0.05, 1))
def test_a_wider_aim_keeps_no_less(data, allowance, lower, higher):
    lower, higher = sorted((lower, higher))
    assert propose(*data, allowance, higher).threshold <= propose(*data, allowance, lower).threshold


@given(data=rows(), allowance=st.floats(0.01, 0.5), seed=st.integers(0, 99))
def test_the_order_of_the_rows_does_not_matter(data, allowance, seed):
    order = np.random.default_rng(seed).permutation(len(data[0]))
    one = propose(*data, allowance)
    other = propose(*(column[order] for column in data), allowance)
    assert one.threshold == other.threshold
    assert one.expected_loss == pytest.approx(other.expected_loss)


@given(data=rows(), allowance=st.floats(0.01, 0.5), times=st.sampled_from([0.5, 3.0, 100.0]))
def test_only_the_ratio_of_weights_matters(data, allowance, times):
    scores, agrees, weights = data
    one = propose(scores, agrees, weights, allowance)
    other = propose(scores, agrees, weights * times, allowance)
    assert other.expected_loss == pytest.approx(one.expected_loss, abs=0.02)


@given(data=rows())
@settings(max_examples=30)
def test_a_plan_is_deterministic_and_names_a_point_of_the_prospect(data):
    points = prospect(*data, 0.1)
    one = plan(points, 0.1, SITUATION)
    assert one == plan(prospect(*data, 0.1), 0.1, SITUATION)
    assert not one.is_worth_proving or one.threshold in {point.threshold for point in points}


@given(data=rows())
@settings(max_examples=30)
def test_a_prospect_goes_from_strict_to_loose_and_keeps_to_the_largest_aim(data):
    points = prospect(*data, 0.1)
    assert all(one.threshold > other.threshold and one.kept < other.kept for one, other in pairwise(points))
    loosest = points[-1].threshold if points else NEVER
    assert propose(*data, 0.1, aim=LARGEST_AIM).threshold == loosest


def test_a_weighted_row_counts_as_that_many():
    scores, agrees = np.array([0.9, 0.9, 0.8]), np.array([True, True, False])
    rare = propose(scores, agrees, np.array([20.0, 20.0, 1.0]), 0.1, aim=1.0)
    common = propose(scores, agrees, np.array([1.0, 1.0, 1.0]), 0.1, aim=1.0)
    assert rare.threshold == 0.8
    assert common.threshold == 0.9


def test_no_rows_or_no_room_propose_nothing():
    empty = np.array([])
    assert propose(empty, empty.astype(bool), empty, 0.02).threshold == NEVER
    assert plan(prospect(empty, empty.astype(bool), empty, 0.02), 0.02, SITUATION).threshold == NEVER
    bad = propose(np.array([1.0]), np.array([False]), np.ones(1), 0.02)
    assert bad.threshold == NEVER and not bad.is_worth_proving


def test_rows_of_equal_score_are_kept_together():
    scores, agrees = np.full(10, 0.9), np.array([True] * 9 + [False])
    assert propose(scores, agrees, np.ones(10), 0.05, aim=1.0).threshold == NEVER


def test_a_plan_proves_more_when_more_rows_are_at_hand():
    data = good_rows(3000)
    few = plan(prospect(*data, 0.02), 0.02, Situation(alpha=0.025, rows_at_hand=0, queries=2000, rate=0.3, floor=0.05))
    many = plan(
        prospect(*data, 0.02), 0.02, Situation(alpha=0.025, rows_at_hand=5000, queries=2000, rate=0.3, floor=0.05)
    )
    assert many.expected_local_share > few.expected_local_share
    assert many.expected_rows > few.expected_rows


def test_a_plan_is_silent_where_the_champion_keeps_as_much():
    data = good_rows(3000)
    best = plan(prospect(*data, 0.02), 0.02, SITUATION)
    assert best.is_worth_proving
    champion = Situation(
        alpha=0.01, rows_at_hand=0, queries=3000, rate=0.5, floor=0.05, champion_share=best.expected_local_share
    )
    assert not plan(prospect(*data, 0.02), 0.02, champion).is_worth_proving


def test_a_plan_is_silent_where_a_certificate_costs_more_queries_than_it_saves_within_the_horizon():
    data = good_rows(3000)
    kept = plan(prospect(*data, 0.02), 0.02, SITUATION).expected_local_share
    asked = {
        "alpha": 0.01,
        "rows_at_hand": 0,
        "queries": 1000,
        "rate": 0.5,
        "floor": 0.05,
        "champion_share": kept - 0.1,
    }
    soon, late = (plan(prospect(*data, 0.02), 0.02, Situation(**asked, horizon=horizon)) for horizon in (1.0, 20.0))
    assert not soon.is_worth_proving
    assert late.is_worth_proving


def test_few_calibrating_rows_make_a_plan_careful():
    few, many = good_rows(300), tuple(np.tile(column, 20) for column in good_rows(300))
    situation = Situation(alpha=0.025, rows_at_hand=400, queries=3000)
    careful, sure = (plan(prospect(*rows, 0.02), 0.02, situation) for rows in (few, many))
    assert careful.expected_local_share <= sure.expected_local_share + 1e-9


@given(allowance=st.sampled_from([0.01, 0.02, 0.05]), few=st.integers(0, 8000), more=st.integers(0, 8000))
@settings(max_examples=40)
def test_more_rows_prove_a_wider_aim(allowance, few, more):
    few, more = sorted((few, more))
    assert aim_for(allowance, 0.025, few) <= aim_for(allowance, 0.025, more)


def test_an_aim_is_expected_to_be_proved_with_the_rows_at_hand():
    for available in (400, 1000, 3000):
        aim = aim_for(0.02, 0.025, available)
        assert 0 < aim <= LARGEST_AIM
        assert expected_rows(0.02, 0.025, aim * 0.02) <= available
    assert aim_for(0.02, 0.025, 100) == 0


@given(loss=st.floats(0, 0.5), count=st.integers(1, 5000))
def test_a_cautious_loss_is_above_the_estimate_and_falls_with_rows(loss, count):
    assert loss - 1e-9 <= cautious_loss(loss, count, 0.9) <= 1
    assert cautious_loss(loss, 4 * count, 0.9) <= cautious_loss(loss, count, 0.9) + 1e-9


@given(losses=st.lists(st.floats(0, 0.05), min_size=1, max_size=20), alpha=st.sampled_from([0.05, 0.025, 0.001]))
@settings(max_examples=40)
def test_the_rows_of_many_losses_are_those_of_each(losses, alpha):
    many = _rows_of(0.02, np.array(losses), Situation(alpha, 0, 1000))
    for loss, rows in zip(losses, many.tolist(), strict=True):
        assert rows == pytest.approx(min(expected_rows(0.02, alpha, loss), MOST_ROWS), abs=2, rel=1e-3)


@given(loss=st.floats(0, 0.015), rate=st.floats(0.05, 1), share=st.floats(0, 1))
@settings(max_examples=40)
def test_rows_that_are_always_there_never_make_a_certificate_longer(loss, rate, share):
    (rows,) = _rows_of(0.02, np.array([loss]), Situation(0.025, 0, 1000, rate, 0.05, share))
    assert rows <= 1.01 * min(expected_rows(0.02, 0.025, loss), MOST_ROWS) + 2
