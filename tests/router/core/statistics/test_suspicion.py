"""The yellow light: what its statistic is, when it comes on and goes out, and what it may cost."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.core.statistics.e_process import log_gains
from router.core.statistics.suspicion import LIGHT, SPAN, STAKE, Suspicion, rows_to_light

PROMISE = 0.02
ROWS = st.lists(st.tuples(st.booleans(), st.integers(0, 120)), max_size=30)  # a loss or none, and rows without one


def rows_of(drawn):
    return [row for lost, well in drawn for row in [lost, *[False] * well]]


def direct_sum(rows, promise):
    """The mean over the alternatives of the sum over all beginnings of the likelihood ratio since."""
    sums = []
    for kept, lost in log_gains(promise):
        gains = [lost if row else kept for row in rows]
        sums.append(math.fsum(math.exp(math.fsum(gains[start:])) for start in range(len(gains))))
    return math.fsum(sums) / len(sums)


@settings(deadline=None, max_examples=60)
@given(ROWS, st.sampled_from([0.005, 0.02, 0.1]))
def test_the_statistic_is_the_direct_sum_over_all_beginnings(drawn, promise):
    light, since = Suspicion(promise), []
    for row in rows_of(drawn):
        was_on = light.is_on
        light.update(row)
        since = [] if was_on and not light.is_on else [*since, row]
    assert light.statistic == pytest.approx(direct_sum(since, promise), rel=1e-9)


@settings(deadline=None)
@given(ROWS, ROWS)
def test_whether_the_light_is_on_depends_on_the_past_alone(before, after):
    rows, other = rows_of(before), rows_of(after)
    seen = [[], []]
    for told, more in zip(seen, (other, [not row for row in other]), strict=True):
        light = Suspicion(PROMISE)
        for row in rows + more:
            told.append((light.is_on, light.rows_left))
            light.update(row)
    assert seen[0][: len(rows) + 1] == seen[1][: len(rows) + 1]


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 4000)), max_size=8))
def test_a_light_costs_no_more_than_its_stake_and_the_rows_looked_at_without_it(runs):
    light, on, off = Suspicion(PROMISE), 0, 0
    for lost, count in runs:
        for _ in range(count):
            was_on = light.is_on
            light.update(lost)
            on, off = on + was_on, off + (not was_on)
            assert on <= off + STAKE / PROMISE


def test_losses_put_the_light_on_and_rows_without_any_put_it_out():
    light = Suspicion(PROMISE)
    for _ in range(200):
        assert not light.update(False)
    while not light.update(True, at=7.0):
        pass
    assert light.since == 7.0
    assert light.rows_left == SPAN / PROMISE
    for _ in range(1000):
        if not light.update(False, at=9.0):
            break
        assert light.since == 7.0
    assert (light.is_on, light.rows_left, light.since, light.statistic) == (False, 0, 0.0, 0.0)


def test_what_is_used_up_puts_the_light_out_until_the_next_look_is_paid():
    light = Suspicion(PROMISE)
    lit = [light.update(True) for _ in range(7000)]
    first_out = lit.index(False, lit.index(True))
    assert lit[: first_out + 1].count(True) <= STAKE / PROMISE
    assert lit[first_out:].index(True) >= SPAN / PROMISE - 1


@pytest.mark.parametrize("promise", [0.01, 0.02, 0.05])
def test_at_the_promise_the_light_comes_on_no_sooner_than_the_bound_says(promise):
    draw, firsts = np.random.default_rng(3), []
    for _ in range(150):
        light, rows = Suspicion(promise), 1
        while not light.update(bool(draw.random() < promise)):
            rows += 1
        firsts.append(rows)
    assert np.mean(firsts) > 0.9 * LIGHT / promise


@pytest.mark.parametrize(("ratio", "most"), [(1.5, 300), (3.0, 100)])
def test_the_rows_to_the_light_are_about_those_it_takes(ratio, most):
    said, draw, found = rows_to_light(PROMISE, ratio * PROMISE), np.random.default_rng(4), []
    for _ in range(150):
        light = Suspicion(PROMISE)
        for _ in range(1500):
            light.update(bool(draw.random() < PROMISE / 2))
        rows = 0
        while not light.is_on:
            light.update(bool(draw.random() < ratio * PROMISE))
            rows += 1
        found.append(rows)
    assert 0.5 * said < np.mean(found) < 1.5 * said < most
