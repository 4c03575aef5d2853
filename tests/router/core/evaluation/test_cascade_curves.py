"""Curves and figures of a cascade."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.core.evaluation.cascade_curves import (
    Curve,
    apgr,
    aurc,
    bootstrap,
    cost_error,
    cpt,
    deferral_curve,
    risk_coverage,
)


@st.composite
def answers(draw):
    count = draw(st.integers(2, 40))
    seed = np.random.default_rng(draw(st.integers(0, 10_000)))
    weak, strong = seed.random(count) < 0.6, seed.random(count) < 0.9
    weak[0], strong[0] = False, True  # so that there is a gap to recover
    if strong.mean() <= weak.mean():
        strong[:] = True
    scores = np.round(seed.random(count), draw(st.integers(0, 3)))
    return scores, weak, strong, seed


@given(data=answers())
def test_figures_do_not_depend_on_the_order_of_rows(data):
    scores, weak, strong, seed = data
    order = seed.permutation(len(scores))
    assert aurc(scores[order], weak[order]) == pytest.approx(aurc(scores, weak))
    one = deferral_curve(scores, weak, strong)
    other = deferral_curve(scores[order], weak[order], strong[order])
    assert apgr(other) == pytest.approx(apgr(one))


@given(data=answers())
def test_a_weight_counts_as_that_many_rows(data):
    scores, weak, strong, seed = data
    times = seed.integers(1, 4, len(scores))
    again = np.repeat(np.arange(len(scores)), times)
    weighted = deferral_curve(scores, weak, strong, times.astype(float))
    repeated = deferral_curve(scores[again], weak[again], strong[again])
    assert weighted.y == pytest.approx(repeated.y)
    assert aurc(scores, weak, times.astype(float)) == pytest.approx(aurc(scores[again], weak[again]))


@given(data=answers())
def test_a_row_of_no_weight_counts_as_none(data):
    scores, weak, strong, seed = data
    some = seed.integers(0, 2, len(scores)).astype(bool)
    some[:2] = True
    weights = some.astype(float)
    assert aurc(scores, weak, weights) == pytest.approx(aurc(scores[some], weak[some]))
    if strong[some].mean() > weak[some].mean():
        one = deferral_curve(scores, weak, strong, weights)
        other = deferral_curve(scores[some], weak[some], strong[some])
        assert apgr(one) == pytest.approx(apgr(other))
        assert cpt(one, 0.8) == pytest.approx(cpt(other, 0.8))


@given(data=answers())
def test_no_router_beats_the_oracle(data):
    scores, weak, strong, _ = data
    best = deferral_curve(
        weak.astype(float) - strong.astype(float), weak, strong
    )  # goes first where only the strong is right
    found = deferral_curve(scores, weak, strong)
    assert apgr(best) >= apgr(found) - 1e-9
    assert cpt(best, 0.8) <= cpt(found, 0.8) + 1e-9


@given(data=answers(), level=st.floats(0.05, 1.0))
def test_a_call_share_recovers_the_gap_that_it_is_for(data, level):
    scores, weak, strong, _ = data
    curve = deferral_curve(scores, weak, strong)
    reached = curve.at(cpt(curve, level))
    assert reached == pytest.approx(curve.y[0] + level * (curve.y[-1] - curve.y[0]))


def test_a_router_that_knows_nothing_recovers_half():
    weak, strong = np.arange(1000) % 2 == 0, np.ones(1000, bool)
    curve = deferral_curve(np.zeros(1000), weak, strong)
    assert apgr(curve) == pytest.approx(0.5)
    assert cpt(curve, 0.8) == pytest.approx(0.8)


def test_risk_falls_with_coverage_when_scores_rank_well():
    scores, correct = np.array([0.9, 0.8, 0.3, 0.1]), np.array([True, True, False, False])
    curve = risk_coverage(scores, correct)
    assert curve.x.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert curve.y.tolist() == pytest.approx([0, 0, 1 / 3, 0.5])
    assert aurc(scores, correct) < aurc(-scores, correct)


def test_an_area_is_the_mean_height_of_joined_points():
    curve = Curve(np.array([1.0, 3.0]), np.array([1.0, 0.0]))
    assert curve.area(1.0, 3.0) == pytest.approx(0.5)
    assert curve.area(2.0, 3.0) == pytest.approx(0.25)
    assert curve.area(0.0, 4.0) == pytest.approx((1 + 1 + 0) / 4)


def test_of_equally_dear_policies_the_best_counts():
    curve = cost_error(np.array([[1.0, 1.0], [1.0, 1.0], [2.0, 2.0]]), np.array([[1, 1], [1, 0], [0, 0]], float))
    assert curve.x.tolist() == [1.0, 2.0]
    assert curve.y.tolist() == [0.5, 0.0]


def test_policies_that_cost_almost_the_same_count_as_one_and_the_best_of_them_counts():
    costs = np.array([[0.1 + 0.2, 0.0], [0.3, 0.0], [0.6, 0.0]])
    curve = cost_error(costs, np.array([[0.0, 1], [1, 1], [0, 0]]))
    assert curve.x == pytest.approx([0.15, 0.3])
    assert curve.y.tolist() == [0.5, 0.0]


@given(seed=st.integers(0, 999), unit=st.floats(1e-12, 1e12))
def test_the_unit_of_cost_changes_no_height_of_a_curve(seed, unit):
    draw = np.random.default_rng(seed)
    costs = draw.integers(0, 4, (12, 5)) * 0.1
    costs[0] += 0.1
    errors = draw.integers(0, 2, costs.shape).astype(float)
    one, other = cost_error(costs, errors), cost_error(costs * unit, errors)
    assert other.y == pytest.approx(one.y)
    assert other.x == pytest.approx(one.x * unit)


def test_a_gap_may_be_that_of_other_ends_than_the_curves():
    best = Curve(np.array([0.0, 0.5, 1.0]), np.array([0.2, 1.0, 1.0]))
    assert apgr(best, (0.2, 0.6)) == pytest.approx((0.8 - 0.2) / 0.4)
    assert cpt(best, 0.5, (0.2, 0.6)) == pytest.approx(0.125)


@given(seed=st.integers(0, 99))
@settings(max_examples=10)
def test_a_bootstrap_is_repeatable_and_holds_its_figure(seed):
    values = np.random.default_rng(seed).random(50)

    def mean(weights):
        return float(np.average(values, weights=weights))

    found = bootstrap(mean, 50, repeats=200, seed=1)
    assert found == bootstrap(mean, 50, repeats=200, seed=1)
    assert found.value == pytest.approx(values.mean())
    assert found.low < found.value < found.high
