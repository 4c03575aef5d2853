"""Which teacher of a pool answers."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from router.core.domain.record import Tried
from router.core.domain.task import Way
from router.core.policy.pool_routing import CEILING, PoolPolicy, Tier, said_by, transformed


def tier(name="small", cost=0.1, going_on=(0.2, 0.0), entering=(0.3, -0.2), **changes):
    return Tier(name, "v1", cost, -2.0, 1.0, 0.5, entering, going_on, **changes)


def policy(way=Way.BOTH, price=0.2, tiers=None):
    return PoolPolicy(way, price, tiers or (tier(), tier("middle", 0.4, (0.1, -0.05))))


ROWS = 6
ODDS = arrays(np.float64, (ROWS, 2), elements=st.floats(-6, 6))
SURE = arrays(np.float64, (ROWS, 2), elements=st.one_of(st.floats(-12, 0), st.just(np.nan)))
ANSWERS = arrays(np.bool_, (ROWS, 2))


@given(way=st.sampled_from(Way), odds=ODDS, sure=SURE, answers=ANSWERS)
def test_a_walk_asks_what_one_query_at_a_time_would_ask(way, odds, sure, answers):
    chosen = policy(way)
    ends, spent = chosen.walk(odds, sure, answers)
    for row in range(ROWS):
        cost, end = 0.0, 2
        for position in range(int(chosen.first(odds[row : row + 1])[0]), 2):
            cost += chosen.tiers[position].cost
            stays = chosen.stays(position, odds[row : row + 1, position], sure[row : row + 1, position])[0]
            if answers[row, position] and stays:
                end = position
                break
        assert (ends[row], spent[row]) == (end, pytest.approx(cost + (end == 2)))


@given(way=st.sampled_from(Way), odds=ODDS, sure=SURE, answers=ANSWERS, order=st.permutations(range(ROWS)))
def test_a_walk_is_invariant_under_permutation(way, odds, sure, answers, order):
    ends, spent = policy(way).walk(odds, sure, answers)
    again, spent_again = policy(way).walk(odds[order], sure[order], answers[order])
    assert again.tolist() == ends[order].tolist()
    assert spent_again.tolist() == spent[order].tolist()


@given(odds=ODDS, sure=SURE)
def test_who_does_not_answer_ends_nothing(odds, sure):
    ends, spent = policy(Way.CASCADE).walk(odds, sure, np.zeros((ROWS, 2), np.bool_))
    assert ends.tolist() == [2] * ROWS
    assert spent == pytest.approx(np.full(ROWS, 0.1 + 0.4 + 1.0))


@given(odds=ODDS, sure=SURE)
def test_routing_looks_at_nothing_but_the_query(odds, sure):
    answers = np.ones((ROWS, 2), np.bool_)
    ends, _ = policy(Way.ROUTING).walk(odds, sure, answers)
    assert ends.tolist() == policy(Way.ROUTING).walk(odds, np.zeros_like(sure), answers)[0].tolist()


@given(sure=SURE, odds=ODDS)
def test_a_surer_teacher_of_a_cascade_never_goes_on_where_a_less_sure_one_stops(sure, odds):
    surer = np.minimum(np.nan_to_num(sure, nan=-9.0) * 0.5, 0.0)
    stops = policy(Way.CASCADE).stays(0, odds[:, 0], sure[:, 0])
    assert (stops <= policy(Way.CASCADE).stays(0, odds[:, 0], surer[:, 0])).all()


def test_a_failed_teacher_and_one_of_another_version_count_for_nothing():
    tried = [Tried("small", "v1", "on", -0.1), Tried("middle", "v2", "on", -0.2)]
    assert said_by(tried, policy())[1] == [True, False]
    assert said_by([replace(tried[0], failed=True)], policy())[1] == [False, False]
    assert said_by(tried, policy())[0] == [-0.1, -0.2]


def test_a_teacher_that_can_not_say_how_sure_it_is_counts_as_not_sure():
    assert transformed(np.array([np.nan, -np.inf, -50.0, 0.0])).tolist() == pytest.approx([0, 0, 0, CEILING], abs=1e-9)
