"""The calibration: signals in, a probability out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.core.domain.label_confidence import SIGNALS, probabilities, scores, signals
from router.core.learning.label_calibration import fit_calibration, fit_temperature
from router.core.learning.logistic_head import HEAD_ROWS
from router.core.learning.reliability import calibration_error, ranking, reliability_curve

LABELS = 12


def rows(count: int, seed: int = 0, edge: float = 3.0):
    """Logits whose top label is right most of the time, a similarity that says little, and who was right."""
    draw = np.random.default_rng(seed)
    truth = draw.integers(0, LABELS, count)
    logits = draw.normal(size=(count, LABELS))
    logits[np.arange(count), truth] += draw.uniform(0, 2 * edge, count)
    agrees = logits.argmax(axis=1) == truth
    return logits, np.where(agrees, 0.6, 0.5) + draw.normal(0, 0.1, count), agrees


@pytest.mark.parametrize("count", [1, 2, 10, HEAD_ROWS - 1, HEAD_ROWS, 2000])
def test_scores_are_probabilities_with_any_number_of_rows(count):
    logits, similarity, agrees = rows(count)
    calibration = fit_calibration(logits, similarity, agrees, np.ones(count))
    fresh, near, _ = rows(500, seed=1)
    found = scores(calibration, fresh, near)
    assert np.isfinite(found).all() and (found >= 0).all() and (found <= 1).all()
    assert calibration.temperature > 0 and all(scale > 0 for scale in calibration.scale)


def test_fresh_rows_agree_as_often_as_their_score_says():
    logits, similarity, agrees = rows(3000)
    calibration = fit_calibration(logits, similarity, agrees, np.ones(3000))
    fresh, near, right = rows(3000, seed=1)
    found = scores(calibration, fresh, near)
    assert calibration_error(found, right, np.ones(3000)) < 0.04
    assert calibration.error < 0.05
    margin = signals(fresh, near)[:, SIGNALS.index("margin")]
    assert ranking(found, right, np.ones(3000)) > ranking(margin, right, np.ones(3000)) - 0.005


def test_few_rows_use_one_signal():
    logits, similarity, agrees = rows(HEAD_ROWS - 1)
    calibration = fit_calibration(logits, similarity, agrees, np.ones(HEAD_ROWS - 1))
    assert sum(weight != 0 for weight in calibration.weights) == 1


def test_rows_that_all_agree_still_rank_by_margin():
    logits, similarity, _ = rows(400)
    calibration = fit_calibration(logits, similarity, np.ones(400, bool), np.ones(400))
    found = scores(calibration, logits, similarity)
    margin = signals(logits, similarity)[:, SIGNALS.index("margin")]
    assert (np.argsort(found) == np.argsort(margin)).all()
    assert found.mean() > 0.9


def test_a_weight_counts_as_that_many_rows():
    logits, similarity, agrees = rows(600)
    weights = np.where(np.arange(600) % 2 == 0, 1.0, 3.0)
    weighted = fit_calibration(logits, similarity, agrees, weights)
    again = np.repeat(np.arange(600), weights.astype(int))
    repeated = fit_calibration(logits[again], similarity[again], agrees[again], np.ones(len(again)))
    assert weighted.temperature == pytest.approx(repeated.temperature, rel=0.02)
    assert weighted.mean == pytest.approx(repeated.mean)


def test_the_same_rows_give_the_same_calibration():
    logits, similarity, agrees = rows(500)
    assert fit_calibration(logits, similarity, agrees, np.ones(500)) == fit_calibration(
        logits, similarity, agrees, np.ones(500)
    )


def test_a_temperature_undoes_a_scale():
    logits, _, agrees = rows(2000)
    one = fit_temperature(logits, agrees, np.ones(2000))
    assert fit_temperature(logits * 5, agrees, np.ones(2000)) == pytest.approx(5 * one, rel=0.02)


def test_no_rows_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        fit_calibration(np.zeros((0, 3)), np.zeros(0), np.zeros(0, bool), np.zeros(0))
    with pytest.raises(ValueError, match="different lengths"):
        fit_calibration(np.zeros((2, 3)), np.zeros(1), np.zeros(2, bool), np.ones(2))


@given(
    signal=st.lists(st.sampled_from([0.0, 1.0, 2.0]), min_size=2, max_size=20),
    seed=st.integers(0, 99),
)
def test_ranking_is_the_chance_of_the_right_order(signal, seed):
    values = np.array(signal)
    agrees = np.random.default_rng(seed).random(len(values)) < 0.5
    if agrees.all() or not agrees.any():
        assert ranking(values, agrees, np.ones(len(values))) == 0.5
        return
    assert ranking(values, agrees, agrees.astype(float)) == 0.5  # rows of no weight are no rows
    pairs = [(good > bad) + 0.5 * (good == bad) for good in values[agrees] for bad in values[~agrees]]
    assert ranking(values, agrees, np.ones(len(values))) == pytest.approx(np.mean(pairs))


@given(seed=st.integers(0, 50), count=st.integers(1, 200))
@settings(max_examples=30)
def test_a_reliability_curve_holds_every_row_once(seed, count):
    draw = np.random.default_rng(seed)
    curve = reliability_curve(draw.random(count), draw.random(count) < 0.7, draw.uniform(0.5, 20, count))
    assert sum(share for share, _, _ in curve) == pytest.approx(1)
    said = [score for _, score, _ in curve]
    assert said == sorted(said)
    assert reliability_curve(np.zeros(0), np.zeros(0, bool), np.zeros(0)) == []


@given(shift=st.floats(-50, 50), temperature=st.floats(0.1, 10))
def test_probabilities_know_only_differences_and_sum_to_one(shift, temperature):
    logits, _, _ = rows(5)
    chances = probabilities(logits, temperature)
    assert chances.sum(axis=1) == pytest.approx(1)
    assert probabilities(logits + shift, temperature) == pytest.approx(chances, abs=1e-9)


def test_signals_are_in_their_ranges():
    logits, similarity, _ = rows(50)
    raw = signals(logits, similarity, 0.5)
    assert raw.shape == (50, len(SIGNALS))
    assert (raw[:, 0] <= 1).all() and (raw[:, 1] >= 0).all() and (raw[:, 1] <= raw[:, 0]).all()
    assert (raw[:, 2] >= 0).all() and (raw[:, 2] <= np.log(LABELS)).all()


def test_one_label_is_certain():
    raw = signals(np.zeros((3, 1)), np.zeros(3))
    assert raw[:, :3].tolist() == [[1.0, 1.0, 0.0]] * 3


def test_one_row_scores_as_it_does_among_others():
    logits, similarity, agrees = rows(400)
    calibration = fit_calibration(logits, similarity, agrees, np.ones(400))
    together = scores(calibration, logits, similarity)
    alone = np.array([scores(calibration, logits[[row]], similarity[[row]])[0] for row in range(20)])
    assert alone == pytest.approx(together[:20], abs=1e-12)
