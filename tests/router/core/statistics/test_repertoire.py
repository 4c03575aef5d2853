import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.core.statistics.repertoire import explained_by_texts, lasting, lasting_share, repertoire_of


def zipf(kinds, exponent):
    chances = 1.0 / np.arange(1, kinds + 1) ** exponent
    return chances / chances.sum()


def moving(random, rows, times, life):
    """Each text is asked so many times within so many rows, and never again."""
    return np.arange(rows) // times + random.integers(life // times, size=rows)


def found(texts):
    return repertoire_of(texts, np.ones(len(texts), np.int64))


@given(st.lists(st.integers(0, 3), min_size=3, max_size=6))
def test_what_texts_explain_has_the_mean_and_variance_of_all_orders(texts):
    said = [explained_by_texts(np.array(order)) for order in permutations(texts)]
    assert np.mean([explained for explained, _ in said]) == pytest.approx(0.0, abs=1e-9)
    deviation = math.sqrt(np.mean([explained**2 for explained, _ in said]))
    assert said[0][1] == pytest.approx(deviation, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.integers(3, 60), st.integers(60, 3_000), st.integers(0, 1_000))
def test_a_repertoire_that_moves_on_is_seen_however_long_its_texts_live(times, life, seed):
    texts = moving(np.random.default_rng(seed), 1_300, times, max(life, 2 * times))
    assert not found(texts).stays


@pytest.mark.parametrize("kinds, exponent", [(20, 1.2), (100, 1.2), (100, 0.0), (2, 0.0)])
def test_commands_that_stay_are_seen_to_stay_however_frequent_they_are(kinds, exponent):
    chances = zipf(kinds, exponent)
    stays = [found(np.random.default_rng(seed).choice(kinds, 1_300, p=chances)).stays for seed in range(40)]
    assert np.mean(stays) > 0.9


def test_texts_that_are_hardly_repeated_stay():
    assert found(np.arange(300)).stays


def test_too_few_rows_show_nothing():
    assert not found(np.empty(0, np.int64)).stays
    assert not any(found(np.random.default_rng(seed).integers(200, size=300)).stays for seed in range(40))


@pytest.mark.parametrize("times, life", [(8, 320), (20, 800), (8, 1_500)])
def test_a_piece_is_as_many_rows_as_come_for_each_new_text(times, life):
    pieces = [found(moving(np.random.default_rng(seed), 4_000, times, life)).piece for seed in range(10)]
    assert np.mean(pieces) == pytest.approx(times, rel=0.6)


def test_what_is_asked_several_times_in_a_row_is_one_piece_with_all_of_its_visits():
    texts, rows = np.array([0, 1, 2, 3, 4, 3]), np.array([1, 1, 1, 5, 1, 5])
    assert repertoire_of(texts, rows).piece == pytest.approx((10**2 + 1) / 11)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.permutations(range(5)))
def test_names_of_texts_change_nothing(texts, names):
    one, other = found(np.array(texts)), found(np.array([names[text] for text in texts]))
    assert (one.stays, one.piece) == (other.stays, pytest.approx(other.piece))


def lasts(texts, weights=None, ahead=4.0):
    texts = np.array(texts, np.int64)
    return lasting_share(texts, np.ones(len(texts)) if weights is None else weights, ahead)


@given(st.integers(5, 60), st.integers(0, 1_000))
def test_of_commands_that_stay_what_is_known_is_taken_to_last(kinds, seed):
    assert lasts(np.random.default_rng(seed).integers(kinds, size=4_000)) > 0.8


@given(st.sampled_from([320, 800, 1_500]), st.integers(0, 1_000))
def test_where_texts_go_what_is_known_is_taken_to_go_too(life, seed):
    """Of a quarter of the rows that is as long as a text lives, the next one asks of few that were known."""
    assert lasts(moving(np.random.default_rng(seed), 2 * life, 8, life)) < 0.3


def thinned(seed):
    """Half of the queries stay, half move on: all, and as the log has them of a release that keeps what stays."""
    random = np.random.default_rng(seed)
    stays = random.random(8_000) < 0.5
    texts = np.where(stays, random.integers(20, size=8_000), 1_000 + moving(random, 8_000, 8, 2_000))
    late = np.arange(8_000) >= 2_000
    there = ~stays | ~late | (random.random(8_000) < 0.2)
    return texts, texts[there], np.where(stays & late, 5.0, 1.0)[there]


def test_rows_that_stand_for_many_queries_count_as_many():
    whole, weighed, counted = np.mean(
        [[lasts(texts), lasts(seen, weights), lasts(seen)] for texts, seen, weights in map(thinned, range(20))], axis=0
    )
    assert weighed == pytest.approx(whole, rel=0.1)
    assert counted < 0.8 * whole


@pytest.mark.parametrize("texts", [[], [1], [1, 1, 1], [1, 2, 3, 4, 5, 6, 7, 8]])
def test_too_few_rows_and_texts_that_never_come_again_say_nothing_of_how_long_they_last(texts):
    assert lasts(texts) == 1.0


def test_what_is_asked_no_more_at_all_does_not_last():
    assert lasts([1, 1, 1, 1, 1, 1, 2, 2]) < 0.06
    assert lasting(0.5, 0.0, 4.0) == 0.0


@given(st.floats(0.01, 1.0), st.floats(0.01, 1.0), st.floats(0.1, 50.0))
def test_what_falls_at_a_steady_pace_is_the_mean_of_its_curve(before, after, ahead):
    times = np.linspace(0.0, ahead, 20_001)
    curve = np.minimum(after / before, 1.0) ** times
    assert lasting(before, after, ahead) == pytest.approx(float(np.trapezoid(curve, times)) / ahead, rel=1e-3)
