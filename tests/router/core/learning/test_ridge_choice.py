"""The ridge of a head: chosen on rows that no candidate learned."""

import numpy as np
import pytest

from router.core.learning.ridge_choice import DEFAULT, LEAST_ROWS, RIDGES, chosen_ridge, held_out_cost


def said(sharpness, rows=200, labels=5, seed=0, scale=1.0):
    """Logits that speak for the answer as clearly as ``sharpness``, and the answers."""
    draw = np.random.default_rng(seed)
    answers = draw.integers(labels, size=rows)
    logits = draw.normal(size=(rows, labels))
    logits[np.arange(rows), answers] += sharpness
    return scale * logits, answers


def test_the_candidate_that_knows_the_answers_best_is_chosen():
    logits = {ridge: said(1.0)[0] for ridge in RIDGES} | {0.005: said(3.0)[0]}
    assert chosen_ridge(logits, said(1.0)[1], np.ones(200)) == 0.005


@pytest.mark.parametrize("scale", [0.2, 1.0, 5.0])
def test_how_sure_a_candidate_is_of_itself_changes_nothing(scale):
    plain, (scaled, answers) = said(2.0)[0], said(2.0, scale=scale)
    costs = [held_out_cost(logits, answers, np.ones(200)) for logits in (plain, scaled)]
    assert costs[0] == pytest.approx(costs[1], abs=0.01)


def test_too_few_rows_choose_nothing():
    few = LEAST_ROWS - 1
    logits = {ridge: said(1.0)[0][:few] for ridge in RIDGES} | {0.005: said(3.0)[0][:few]}
    assert chosen_ridge(logits, said(1.0)[1][:few], np.ones(few)) == DEFAULT


def test_rows_whose_answer_no_student_knows_choose_nothing():
    logits = {ridge: said(1.0)[0] for ridge in RIDGES} | {0.005: said(3.0)[0]}
    assert chosen_ridge(logits, np.full(200, -1), np.ones(200)) == DEFAULT


def test_rows_that_stand_for_more_queries_weigh_more():
    good, answers = said(3.0)
    bad = said(0.0)[0]
    mixed = {0.05: np.vstack([good[:100], bad[100:]]), 0.005: np.vstack([bad[:100], good[100:]])}
    heavy = np.where(np.arange(200) < 100, 1.0, 20.0)
    assert chosen_ridge(mixed, answers, heavy) == 0.005
    assert chosen_ridge(mixed, answers, heavy[::-1]) == 0.05
