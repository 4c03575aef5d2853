"""The confidence of a written text: token probabilities in, a probability out."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from router.core.domain.query import TokenProbability
from router.core.learning.logistic_head import HEAD_ROWS
from router.core.learning.reliability import calibration_error, ranking
from router.core.learning.text_calibration import OF_TEXT, fit_text_calibration
from router.core.policy.text_confidence import (
    LEAST_DOUBT,
    LEAST_LOG_PROBABILITY,
    TEXT_SIGNALS,
    TextCalibration,
    features,
    text_scores,
)

LOGS = st.lists(st.floats(-30, 0), min_size=1, max_size=30)


def tokens(logs) -> list[TokenProbability]:
    return [TokenProbability(f"t{position}", value) for position, value in enumerate(logs)]


def signal(logs, name: str) -> float:
    return float(features(tokens(logs))[TEXT_SIGNALS.index(name)])


@functools.cache
def rows(count: int, seed: int = 0):
    """Texts of 3 to 20 tokens by a model that is too sure: each token is right less often than it says."""
    draw = np.random.default_rng(seed)
    found, agrees = [], []
    for _ in range(count):
        logs = -draw.exponential(draw.choice([0.002, 0.02, 0.1]), draw.integers(3, 20))
        logs[draw.integers(len(logs))] -= draw.choice([0.0, 0.0, 0.5])
        found.append(features(tokens(logs)))
        agrees.append(draw.random() < math.exp(2 * logs.sum()))
    return np.array(found), np.array(agrees)


@given(logs=LOGS, seed=st.integers(0, 9))
def test_the_order_of_tokens_changes_nothing(logs, seed):
    mixed = np.random.default_rng(seed).permutation(logs)
    assert features(tokens(mixed)) == pytest.approx(features(tokens(logs)))


@given(logs=LOGS)
def test_signals_stand_in_their_order(logs):
    names = ("total", "minimum", "quantile_05", "quantile_10", "quantile_25")
    low = [signal(logs, name) for name in names]
    assert low == sorted(low)
    assert signal(logs, "minimum") - 1e-9 <= signal(logs, "mean") <= signal([max(logs)], "mean") + 1e-9
    assert signal(logs, "length") == pytest.approx(math.log(len(logs)))


def test_signals_are_log_odds_of_probabilities():
    logs = [math.log(0.9), math.log(0.5), math.log(0.8)]
    assert signal(logs, "minimum") == pytest.approx(0.0)
    assert signal(logs, "total") == pytest.approx(math.log(0.36 / 0.64))
    assert signal([0.0, 0.0], "mean") == pytest.approx(-math.log(LEAST_DOUBT))


@given(logs=LOGS, position=st.integers(0, 29), more=st.floats(0, 5))
def test_a_likelier_token_lowers_no_signal(logs, position, more):
    raised = list(logs)
    raised[position % len(logs)] = min(0.0, raised[position % len(logs)] + more)
    assert (features(tokens(raised)) >= features(tokens(logs)) - 1e-9).all()


@given(value=st.floats(-30, 0))
def test_one_token_is_all_of_its_signals(value):
    *chances, length = features(tokens([value]))
    assert chances == pytest.approx([chances[0]] * 6)
    assert length == 0.0


@pytest.mark.parametrize("value", [-math.inf, -9999.0, math.nan])
def test_an_impossible_token_keeps_signals_finite(value):
    assert signal([-0.1, value], "minimum") == pytest.approx(LEAST_LOG_PROBABILITY)
    assert np.isfinite(features(tokens([-0.1, value]))).all()


def test_a_text_without_probabilities_has_no_signals():
    with pytest.raises(ValueError, match="no signals"):
        features([])


@pytest.mark.parametrize("count", [1, 2, HEAD_ROWS - 1, HEAD_ROWS, 1500])
def test_scores_of_texts_are_probabilities_with_any_number_of_rows(count):
    raw, agrees = rows(count)
    found = text_scores(fit_text_calibration(raw, agrees, np.ones(count)), rows(300, seed=1)[0])
    assert np.isfinite(found).all() and (found >= 0).all() and (found <= 1).all()


def test_fresh_texts_agree_as_often_as_their_score_says():
    raw, agrees = rows(3000)
    calibration = fit_text_calibration(raw, agrees, np.ones(3000))
    fresh, right = rows(3000, seed=1)
    found = text_scores(calibration, fresh)
    assert calibration_error(found, right, np.ones(3000)) < 0.04
    assert calibration.error < 0.05


def test_the_head_ranks_no_worse_than_any_single_signal():
    raw, agrees = rows(3000)
    fresh, right = rows(3000, seed=1)
    found = ranking(text_scores(fit_text_calibration(raw, agrees, np.ones(3000)), fresh), right, np.ones(3000))
    turned = fresh * np.array(OF_TEXT.directions)
    assert found > max(ranking(column, right, np.ones(3000)) for column in turned.T) - 0.005


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 500), count=st.integers(20, HEAD_ROWS - 1))
def test_few_rows_use_one_signal_and_more_of_it_is_never_less_sure(seed, count):
    raw, agrees = rows(count, seed)
    calibration = fit_text_calibration(raw, agrees, np.ones(count))
    (used,) = np.flatnonzero(calibration.weights)
    low, high = raw.min(axis=0), raw.max(axis=0)
    ladder = low + np.linspace(0, 1, 20)[:, None] * (high - low)
    if OF_TEXT.directions[used] < 0:
        ladder = ladder[::-1]
    assert (np.diff(text_scores(calibration, ladder)) >= 0).all()


def test_rows_that_all_agree_rank_by_the_least_likely_token():
    raw, _ = rows(400)
    found = text_scores(fit_text_calibration(raw, np.ones(400, bool), np.ones(400)), raw)
    assert (np.argsort(found) == np.argsort(raw[:, TEXT_SIGNALS.index("minimum")])).all()
    assert found.mean() > 0.9


def test_a_calibration_of_texts_goes_through_json_unchanged():
    raw, agrees = rows(500)
    calibration = fit_text_calibration(raw, agrees, np.ones(500))
    adapter = TypeAdapter(TextCalibration)
    assert adapter.validate_json(adapter.dump_json(calibration)) == calibration


def test_text_rows_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        fit_text_calibration(np.zeros((0, len(TEXT_SIGNALS))), np.zeros(0, bool), np.zeros(0))
    with pytest.raises(ValueError, match="different lengths"):
        fit_text_calibration(np.zeros((2, len(TEXT_SIGNALS))), np.zeros(1, bool), np.ones(1))
    with pytest.raises(ValueError, match="use \\(rows, 7\\)"):
        fit_text_calibration(np.zeros((2, 3)), np.zeros(2, bool), np.ones(2))
