"""The bets: what they promise, checked against chance itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.core.statistics.detection_delay import describe_delays, detection_delay, divergence
from router.core.statistics.e_process import (
    RESTART_ROWS,
    Sight,
    Watch,
    WatchState,
    attempt_alpha,
    expected_rows,
    is_certified,
    log_evidence,
    log_factors,
    log_mixture,
    sight,
)

ALLOWANCES = st.floats(0.001, 0.4)
COUNTS = st.integers(0, 5000)


def certified_lives(allowance: float, alpha: float, loss: float, lives: int, rows: int) -> float:
    """Share of simulated lives in which a certificate was given at any of ``rows`` looks."""
    # A certificate can only come with a row that is not lost: look after each, by the fewest rows that prove it.
    draw = np.random.default_rng(7)
    fewest = [0] * 200
    for losses in range(200):
        low, high = losses, 1_000_000
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if is_certified(allowance, alpha, middle, losses) else (middle + 1, high)
        fewest[losses] = low
    lost = draw.random((lives, rows)) < loss
    counts = np.minimum(np.cumsum(lost, axis=1), 199)
    return float((np.arange(1, rows + 1) >= np.array(fewest)[counts]).any(axis=1).mean())


def test_a_false_certificate_comes_at_most_with_its_chance():
    share = certified_lives(0.02, 0.05, loss=0.02, lives=2000, rows=3000)
    assert share <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2000)


def test_a_true_certificate_comes_about_when_expected():
    rows = math.ceil(expected_rows(0.02, 0.05, 0.005))
    assert 300 < rows < 550
    assert certified_lives(0.02, 0.05, loss=0.005, lives=500, rows=2 * rows) > 0.8


@given(allowance=ALLOWANCES, rows=COUNTS, losses=COUNTS)
def test_a_loss_never_adds_evidence_for_a_release(allowance, rows, losses):
    losses = min(losses, rows)
    assert log_evidence(allowance, rows + 1, losses + 1) <= log_evidence(allowance, rows, losses) + 1e-9
    assert log_evidence(allowance, rows + 1, losses) >= log_evidence(allowance, rows, losses) - 1e-9


@given(allowance=st.floats(0.001, 0.3), wider=st.floats(1.0, 1.3), rows=COUNTS, losses=st.integers(0, 20))
def test_what_proves_a_tight_allowance_proves_a_wide_one(allowance, wider, rows, losses):
    losses = min(losses, rows)
    if is_certified(allowance, 0.05, rows, losses):
        assert is_certified(allowance * wider, 0.05, rows, losses)


@given(assurance=st.floats(0.5, 0.999), attempts=st.integers(1, 500))
def test_all_attempts_together_spend_less_than_the_assurance_leaves(assurance, attempts):
    assert sum(attempt_alpha(assurance, attempt) for attempt in range(1, attempts + 1)) < 1 - assurance


@given(allowance=ALLOWANCES, lower=st.floats(0, 0.8), higher=st.floats(0, 0.8))
def test_a_higher_loss_takes_more_rows(allowance, lower, higher):
    lower, higher = sorted((lower, higher))
    assert expected_rows(allowance, 0.05, lower * allowance) <= expected_rows(allowance, 0.05, higher * allowance) + 1


def test_a_loss_at_the_allowance_is_never_certified():
    assert expected_rows(0.02, 0.05, 0.02) == math.inf


def test_the_watch_is_quiet_over_life_at_exactly_the_promise():
    alarms = 0
    for life in range(100):
        draw = np.random.default_rng(life)
        watch = Watch(WatchState(promise=0.02, alpha=0.05))
        alarms += any(list(map(watch.update, (draw.random(2000) < 0.02).tolist())))
    assert alarms <= 5 + 3 * math.sqrt(100 * 0.05 * 0.95)


@pytest.mark.parametrize(("quiet", "ratio"), [(0, 2.0), (0, 3.0), (2000, 3.0)])
def test_the_watch_finds_a_break_about_when_it_says(quiet, ratio):
    delays = []
    for life in range(40):
        draw = np.random.default_rng(life)
        watch = Watch(WatchState(promise=0.02, alpha=0.05))
        row = 0
        while not watch.update(bool(draw.random() < (0.02 if row < quiet else 0.02 * ratio))):
            row += 1
        delays.append(row + 1 - quiet)
    said = detection_delay(0.02, 0.05, 0.05, ratio, quiet)
    assert 0.4 * said.rows < np.mean(delays) < 1.3 * said.rows
    assert said.rows < said.queries < 0.3 * said.rows / 0.05  # once it is suspected, each query gives a row


@given(lost=st.lists(st.booleans(), max_size=3 * RESTART_ROWS), cut=st.integers(0, 3 * RESTART_ROWS))
@settings(max_examples=30)
def test_a_watch_goes_on_from_its_state_as_if_it_had_never_stopped(lost, cut):
    whole, first = Watch(WatchState(0.1, 0.05)), Watch(WatchState(0.1, 0.05))
    for row in lost:
        whole.update(row)
    for row in lost[:cut]:
        first.update(row)
    second = Watch(first.freeze())
    for row in lost[cut:]:
        second.update(row)
    assert second.freeze() == whole.freeze()


def test_the_watch_is_the_mixture_of_restarts_that_the_design_says():
    lost = np.random.default_rng(3).random(450) < 0.05
    watch = Watch(WatchState(0.02, 1e-9))
    for row in lost:
        watch.update(bool(row))
    total = 1 / 6  # restarts 6, 7, ... have not begun: their weights, 1 / (b (b + 1)), sum to 1 / 6
    for restart in range(1, 6):
        seen = lost[(restart - 1) * RESTART_ROWS :]
        bets = []
        for ratio in (1.5, 2.0, 3.0, 6.0):
            odds = ratio * 0.02 / 0.98
            worse = odds / (1 + odds)
            bets.append(np.prod(np.where(seen, worse / 0.02, (1 - worse) / 0.98)))
        total += np.mean(bets) / (restart * (restart + 1))
    assert watch.log_evidence == pytest.approx(math.log(total))


def test_an_alarm_stays_on():
    watch = Watch(WatchState(0.02, 0.05))
    for _ in range(20):
        watch.update(True)
    rung = watch.freeze().alarm_row
    for _ in range(1000):
        assert watch.update(False)
    assert watch.freeze().alarm_row == rung > 0


def test_too_few_rows_are_blind_and_a_few_less_are_chance():
    quiet = WatchState(0.02, 0.05)
    assert sight(quiet, rows=0, planned=20.0) is Sight.BLIND
    assert sight(quiet, rows=15, planned=20.0) is Sight.QUIET
    assert sight(quiet, rows=0, planned=2.0) is Sight.QUIET
    assert sight(quiet, rows=0, planned=0.0) is Sight.QUIET
    assert sight(quiet, rows=700, planned=1000.0) is Sight.BLIND
    assert sight(WatchState(0.02, 0.05, rows=9, alarm_row=9), rows=0, planned=20.0) is Sight.ALARM


def test_the_least_delay_is_the_known_one():
    assert [detection_delay(0.02, 0.05, 0.05, ratio).least_rows for ratio in (1.5, 2.0, 3.0)] == [1353, 378, 113]


@given(promise=st.floats(0.001, 0.3), ratio=st.floats(1.5, 3.0), quiet=st.integers(0, 3000))
@settings(max_examples=30)
def test_no_delay_is_below_the_least_possible_one(promise, ratio, quiet):
    delay = detection_delay(promise, 0.05, 0.05, ratio, quiet)
    assert delay.rows >= delay.least_rows - 1


def test_a_ratio_that_the_watch_does_not_bet_on_is_refused():
    with pytest.raises(ValueError, match="ratio"):
        detection_delay(0.02, 0.05, 0.05, 1.1)


def test_the_delays_are_told_in_rows_and_queries():
    assert "2x: 618 explored rows (2,005 queries)" in describe_delays(0.02, 0.05, 0.05)
    assert "never" in describe_delays(0.02, 0.05, 0.0)


@given(loss=st.floats(0, 1), other=st.floats(0.01, 0.99))
def test_divergence_is_zero_only_from_itself(loss, other):
    assert divergence(loss, other) >= -1e-12
    assert divergence(other, other) == pytest.approx(0)


@given(rows=st.integers(1, 400), lost=st.integers(0, 20), allowance=st.floats(0.005, 0.2))
def test_rows_of_weight_one_are_the_bet_of_counts(rows, lost, allowance):
    lost = min(lost, rows)
    kept, worse = log_factors(allowance, np.ones(rows))
    terms = kept.sum(axis=1) + (worse - kept)[:, :lost].sum(axis=1)
    assert float(log_mixture(terms)) == pytest.approx(log_evidence(allowance, rows, lost), abs=1e-6)
