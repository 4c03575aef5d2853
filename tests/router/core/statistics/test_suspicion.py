"""A suspicion: what its statistic is, when it begins and ends, and what it may cost."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.core.statistics.e_process import log_gains
from router.core.statistics.suspicion import BOUND, SPAN, STAKE, Suspicion, rows_to_suspicion

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
    suspicion, since = Suspicion(promise), []
    for row in rows_of(drawn):
        was_on = suspicion.is_on
        suspicion.update(row)
        since = [] if was_on and not suspicion.is_on else [*since, row]
    assert suspicion.statistic == pytest.approx(direct_sum(since, promise), rel=1e-9)


@settings(deadline=None)
@given(ROWS, ROWS)
def test_whether_there_is_a_suspicion_depends_on_the_past_alone(before, after):
    rows, other = rows_of(before), rows_of(after)
    seen = [[], []]
    for told, more in zip(seen, (other, [not row for row in other]), strict=True):
        suspicion = Suspicion(PROMISE)
        for row in rows + more:
            told.append((suspicion.is_on, suspicion.rows_left))
            suspicion.update(row)
    assert seen[0][: len(rows) + 1] == seen[1][: len(rows) + 1]


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 4000)), max_size=8))
def test_a_suspicion_costs_no_more_than_its_stake_and_the_rows_looked_at_without_it(runs):
    suspicion, on, off = Suspicion(PROMISE), 0, 0
    for lost, count in runs:
        for _ in range(count):
            was_on = suspicion.is_on
            suspicion.update(lost)
            on, off = on + was_on, off + (not was_on)
            assert on <= off + STAKE / PROMISE


def test_losses_begin_a_suspicion_and_rows_without_any_end_it():
    suspicion = Suspicion(PROMISE)
    for _ in range(200):
        assert not suspicion.update(False)
    while not suspicion.update(True, at=7.0):
        pass
    assert suspicion.since == 7.0
    assert suspicion.rows_left == SPAN / PROMISE
    for _ in range(1000):
        if not suspicion.update(False, at=9.0):
            break
        assert suspicion.since == 7.0
    assert (suspicion.is_on, suspicion.rows_left, suspicion.since, suspicion.statistic) == (False, 0, 0.0, 0.0)


def test_what_is_used_up_ends_a_suspicion_until_the_next_is_paid():
    suspicion = Suspicion(PROMISE)
    on = [suspicion.update(True) for _ in range(7000)]
    first_out = on.index(False, on.index(True))
    assert on[: first_out + 1].count(True) <= STAKE / PROMISE
    assert on[first_out:].index(True) >= SPAN / PROMISE - 1


@pytest.mark.parametrize("promise", [0.01, 0.02, 0.05])
def test_at_the_promise_a_suspicion_begins_no_sooner_than_the_bound_says(promise):
    draw, firsts = np.random.default_rng(3), []
    for _ in range(150):
        suspicion, rows = Suspicion(promise), 1
        while not suspicion.update(bool(draw.random() < promise)):
            rows += 1
        firsts.append(rows)
    assert np.mean(firsts) > 0.9 * BOUND / promise


@pytest.mark.parametrize(("ratio", "most"), [(1.5, 300), (3.0, 100)])
def test_the_rows_to_a_suspicion_are_about_those_it_takes(ratio, most):
    said, draw, found = rows_to_suspicion(PROMISE, ratio * PROMISE), np.random.default_rng(4), []
    for _ in range(150):
        suspicion = Suspicion(PROMISE)
        for _ in range(1500):
            suspicion.update(bool(draw.random() < PROMISE / 2))
        rows = 0
        while not suspicion.is_on:
            suspicion.update(bool(draw.random() < ratio * PROMISE))
            rows += 1
        found.append(rows)
    assert 0.5 * said < np.mean(found) < 1.5 * said < most
