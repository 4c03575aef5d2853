"""Chains: one path of policies, from cheap to accurate."""

from __future__ import annotations

import numpy as np
import pytest

from router.core.evaluation.model_chain import fit_chain, spent
from router.core.policy.pool_routing import CEILING, transformed

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
    assert transformed(np.array([0.0, -1e-12, -50.0])).tolist() == pytest.approx([CEILING, CEILING, 0.0], abs=1e-9)
