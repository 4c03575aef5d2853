"""Chains: one path of policies, from cheap to accurate."""

from __future__ import annotations

import numpy as np
import pytest

from router.core.evaluation.model_chain import MOST_ODDS, fit_chain, log_odds, spent

PRICES = np.geomspace(1e-6, 10, 60)
COSTS = np.array([1.0, 5.0, 25.0])


def rows(count: int = 600, seed: int = 0):
    """Three models, each more often right and, where it is sure, more often so."""
    draw = np.random.default_rng(seed)
    chance = np.clip(draw.beta(2, 1.2, count)[:, None] ** np.array([1.0, 0.5, 0.2]), 0.01, 0.999)
    return np.log(chance), (draw.random(chance.shape) < chance).astype(float)


def test_a_higher_price_of_cost_never_spends_more():
    chain = fit_chain(*rows(), COSTS, PRICES)
    paid = spent(chain.stops(rows(seed=1)[0]), COSTS).mean(axis=1)
    assert (np.diff(paid) <= 1e-9).all()
    assert paid[0] > 10 * paid[-1]


def test_at_the_ends_of_the_path_all_or_nothing_is_asked():
    chain = fit_chain(*rows(), COSTS, PRICES)
    confidences, correct = rows(seed=1)
    stops = chain.stops(confidences)
    assert (stops[-1] == 0).all()
    reached = correct[np.arange(len(correct)), stops[0]].mean()
    assert reached >= correct[:, -1].mean() - 0.01


def test_a_stop_depends_only_on_models_that_have_answered():
    chain = fit_chain(*rows(), COSTS, PRICES)
    confidences, _ = rows(seed=1)
    stops = chain.stops(confidences)
    changed = confidences.copy()
    changed[:, 2] = np.log(0.5)
    assert (chain.stops(changed) == stops).all()
    changed[:, 1] = np.log(0.5)
    assert ((chain.stops(changed) == 0) == (stops == 0)).all()


def test_a_row_costs_the_sum_of_the_models_it_passed():
    assert spent(np.array([[0, 1, 2]]), COSTS).tolist() == [[1.0, 6.0, 31.0]]


def test_a_chain_beats_tossing_a_coin_between_its_models():
    chain = fit_chain(*rows(), COSTS, PRICES)
    confidences, correct = rows(4000, seed=1)
    stops = chain.stops(confidences)
    paid = spent(stops, COSTS).mean(axis=1)
    accuracy = correct[np.arange(len(correct)), stops].mean(axis=1)
    line = np.interp(paid, [1.0, 31.0], [correct[:, 0].mean(), correct[:, 2].mean()])
    assert (accuracy - line)[10:50].mean() > 0.02


def test_certain_confidence_is_finite():
    odds = log_odds(np.array([0.0, -1e-12, -50.0, -np.inf, np.nan, np.log(0.5)]))
    assert odds.tolist() == pytest.approx([MOST_ODDS, MOST_ODDS, *[-MOST_ODDS] * 3, 0.0], abs=1e-6)


def test_of_two_sure_wrong_answers_the_surer_is_kept_first():
    sure = -np.geomspace(1e-6, 1e-4, 400)  # beyond what a probability of four digits tells apart
    correct = np.stack([sure > -1e-5, np.ones(400)], axis=1).astype(float)
    confidences = np.stack([sure, np.full(400, np.log(0.9))], axis=1)
    stops = fit_chain(confidences, correct, COSTS[:2], PRICES).stops(confidences)
    accuracy = correct[np.arange(400), stops].mean(axis=1)
    paid = spent(stops, COSTS[:2]).mean(axis=1)
    assert np.interp(3.5, paid[::-1], accuracy[::-1]) > correct[:, 0].mean() + 0.4


def test_confidence_that_tells_nothing_costs_no_more_than_a_coin():
    draw = np.random.default_rng(0)
    worse = []
    for _ in range(20):
        confidences = np.log(draw.uniform(0.3, 1.0, (1300, 2)))
        correct = (draw.random((1300, 2)) < (0.6, 0.9)).astype(float)
        stops = fit_chain(confidences[:300], correct[:300], COSTS[:2], PRICES).stops(confidences[300:])
        paid = spent(stops, COSTS[:2]).mean(axis=1)
        wrong = 1 - correct[300:][np.arange(1000), stops].mean(axis=1)
        coin = np.interp(paid, [1.0, 6.0], 1 - correct[300:].mean(axis=0))
        worse.append((wrong - coin).mean())
    assert np.mean(worse) < 0.005


def test_a_dearer_model_that_is_never_right_is_asked_where_nothing_is_lost_alone():
    confidences, correct = rows()
    correct[:, 1] = 0.0
    stops = fit_chain(confidences[:, :2], correct[:, :2], COSTS[:2], PRICES).stops(confidences[:, :2])
    assert spent(stops, COSTS[:2]).mean(axis=1).max() < 1.1
