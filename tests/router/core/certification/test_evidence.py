"""Evidence of alike rows: one bet a piece, and the weaker of two readings."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.certification.evidence import Evidence
from router.core.certification.observations import Columns, Observation
from router.core.certification.readings import AskedBefore, Readings
from router.core.statistics.dependence import INDEPENDENT, Dependence
from router.core.statistics.e_process import log_evidence
from router.core.statistics.likeness import likeness
from router.core.statistics.threshold_planning import NEVER

ALLOWANCE, ALPHA = 0.05, 0.05
NOTHING = AskedBefore()
ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.booleans()), min_size=1, max_size=80)


def looks_of(rows, caller="device-1"):
    return [
        Observation(score / 10, wrong, 0, kept=False, caller=caller, alike=likeness(f"text {text}", "", ""))
        for text, score, wrong in rows
    ]


def evidence_of(rows, effect=1.0, missing=0):
    columns = Columns.of(looks_of(rows))
    return Evidence.of(columns, np.ones(len(rows), np.bool_), Dependence(effect, 1 if effect > 1 else 0), missing)


@given(ROWS, st.integers(0, 3))
def test_rows_that_stand_alone_are_bets_as_ever(rows, missing):
    found = evidence_of(rows, missing=missing)
    lost = sum(wrong and score >= 5 for _, score, wrong in rows) + missing
    assert found.at(0.5, ALLOWANCE) == pytest.approx(log_evidence(ALLOWANCE, len(rows) + missing, lost))


@given(ROWS, st.sampled_from([1.0, 3.0, 8.0]))
def test_the_loosest_threshold_is_the_last_one_with_enough_evidence(rows, effect):
    found = evidence_of(rows * 12, effect)
    loosest = found.loosest(ALLOWANCE, ALPHA)
    enough = [score for score in sorted(set(found.scores)) if found.at(score, ALLOWANCE) >= -math.log(ALPHA) + 1e-9]
    assert loosest == (min(enough) if enough else NEVER) or found.at(loosest, ALLOWANCE) >= -math.log(ALPHA) - 1e-9


@given(ROWS, st.sampled_from([1.0, 3.0, 8.0]))
def test_evidence_falls_as_thresholds_loosen(rows, effect):
    found = evidence_of(rows, effect)
    scores = sorted(set(found.scores), reverse=True)
    said = [found.at(score, ALLOWANCE) for score in scores]
    assert all(one >= other - 1e-9 for one, other in pairwise(said))


def test_a_lost_piece_costs_as_much_as_a_lost_row():
    together = evidence_of([(0, 9, True)] * 7, 8.0)
    assert together.at(0.0, ALLOWANCE) == pytest.approx(evidence_of([(0, 9, True)]).at(0.0, ALLOWANCE))
    assert together.weight == pytest.approx(1.0)


def test_what_repeats_certifies_later():
    once = [(text, 9, False) for text in range(200)]
    again = [(text // 8, 9, False) for text in range(200)]
    assert evidence_of(once).loosest(ALLOWANCE, ALPHA) < NEVER
    assert evidence_of(again, effect=8.0).loosest(ALLOWANCE, ALPHA) == NEVER


def readings_of(observations, apart=(), missing=0, known=None, asked=NOTHING):
    return Readings.of(Columns.of(observations), apart, INDEPENDENT, missing, known, asked)


def test_the_weaker_reading_decides():
    quiet = looks_of([(text, 9, text % 10 == 0) for text in range(100)], "quiet")
    loud = looks_of([(1000 + text, 9, False) for text in range(900)], "loud")
    apart = range(200, 1000)  # of the loud one's rows all but a hundred
    assert readings_of(quiet + loud).loosest(0.03, ALPHA) < NEVER
    assert readings_of(quiet + loud, apart).loosest(0.03, ALPHA) == NEVER
    assert readings_of(quiet + loud, apart).weight == 200
    wrong = looks_of([(1000 + text, 9, text % 10 == 0) for text in range(900)], "loud")
    right = looks_of([(text, 9, False) for text in range(100)], "quiet")
    assert readings_of(right + wrong, range(110, 1000)).loosest(0.03, ALPHA) == NEVER  # by traffic it loses too much


def test_the_same_rows_give_the_same_readings_in_one_look_or_many():
    observations = looks_of([(text // 6, text % 10, text % 7 == 0) for text in range(700)])
    known = None
    for count in range(30, 701, 67):
        known = readings_of(observations[:count], known=known)
    whole = readings_of(observations, known=known)
    assert whole.dependence == readings_of(observations).dependence
    assert whole.at(0.3, ALLOWANCE) == pytest.approx(readings_of(observations).at(0.3, ALLOWANCE))


def test_texts_are_alike_by_their_words():
    assert likeness("Turn ON the lights!", "", "") == likeness("turn on the lights", "", "")
    assert likeness("turn on the lights", "", "")[0] != likeness("turn off the lights", "", "")[0]
    assert likeness("?!", "", "")[0] != likeness("!!", "", "")[0]
    assert likeness("a", "", "")[1:] == (0, 0)


def bursts(random, rows, mean):
    """Commands by Zipf, each repeated in a row."""
    frequency = 1.0 / np.arange(1, 101) ** 1.2
    asked = random.choice(100, rows, p=frequency / frequency.sum())
    again = random.random(rows) < 1.0 - 1.0 / mean
    for row in range(1, rows):
        if again[row]:
            asked[row] = asked[row - 1]
    return asked, frequency / frequency.sum()


def is_falsely_certified(seed, mean, count_pieces):
    """Whether a student whose loss is just above the allowance is ever certified, on looks after 100 rows each."""
    random = np.random.default_rng(seed)
    asked, frequency = bursts(random, 1500, mean)
    order = random.permutation(100)
    lossy = order[: int(np.searchsorted(np.cumsum(frequency[order]), 1.05 * ALLOWANCE)) + 1]
    observations = looks_of([(text, 9, bool(np.isin(text, lossy))) for text in asked.tolist()])
    known = None
    for count in range(100, 1501, 100):
        known = readings_of(observations[:count], known=known)
        rows = Evidence.of(Columns.of(observations[:count]), np.ones(count, np.bool_), INDEPENDENT, 0)
        if (known if count_pieces else rows).loosest(ALLOWANCE, ALPHA) < NEVER:
            return True
    return False


def test_bursts_falsely_certify_no_more_often_than_promised():
    lives = 60
    assert sum(is_falsely_certified(seed, 5, count_pieces=False) for seed in range(lives)) > 3 * ALPHA * lives
    assert sum(is_falsely_certified(seed, 5, count_pieces=True) for seed in range(lives)) <= 2 * ALPHA * lives


def number_of_text(text):
    return likeness(f"text {text}", "", "")[0]


def test_where_a_repertoire_may_move_on_only_new_texts_speak_and_each_is_one_piece():
    known = looks_of([(0, 9, False), (1, 9, False)] * 200)
    new = looks_of([(text, 9, False) for text in range(2, 42)] * 10)
    asked = AskedBefore(np.array(sorted([number_of_text(0), number_of_text(1)])), 10.0)
    assert readings_of(known).loosest(ALLOWANCE, ALPHA) < NEVER
    assert readings_of(known, asked=asked).loosest(ALLOWANCE, ALPHA) == NEVER
    assert readings_of(known, asked=asked).weight == 0
    mixed = [(known + new)[row] for row in np.random.default_rng(0).permutation(800)]
    assert readings_of(mixed, asked=asked).weight == pytest.approx(50)  # 400 rows, by 0.85 of 10 as a whole number


def test_where_a_repertoire_may_move_on_the_texts_that_stay_must_hold_too():
    wrong = looks_of([(0, 9, True)] * 20 + [(1, 9, False)] * 180)
    new = looks_of([(text, 9, False) for text in range(2, 402)])
    asked = AskedBefore(np.array(sorted([number_of_text(0), number_of_text(1)])))
    assert readings_of(new, asked=asked).loosest(ALLOWANCE, ALPHA) < NEVER
    assert readings_of(wrong + new, asked=asked).loosest(ALLOWANCE, ALPHA) == NEVER
