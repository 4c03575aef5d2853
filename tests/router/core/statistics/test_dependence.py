import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.core.statistics.dependence import LONGEST_REACH, Dependence, dependence, pieces

ZIPF = 1.0 / np.arange(1, 101) ** 1.2
FREQUENCY = ZIPF / ZIPF.sum()


def measured(keys, devices=None, wrong=None, weights=None):
    keys = np.asarray(keys, np.int64)
    rows = len(keys)
    return dependence(
        [keys],
        np.zeros(rows, np.int64) if devices is None else np.asarray(devices, np.int64),
        np.ones(rows) if weights is None else weights,
        np.zeros(rows, np.bool_) if wrong is None else wrong,
    )


def bursts(random, rows, mean):
    keys = random.choice(100, rows, p=FREQUENCY)
    again = random.random(rows) < 1.0 - 1.0 / mean
    for row in range(1, rows):
        if again[row]:
            keys[row] = keys[row - 1]
    return keys


@pytest.mark.parametrize("seed", range(5))
def test_frequent_commands_that_come_independently_are_no_clusters(seed):
    keys = np.random.default_rng(seed).choice(100, 2000, p=FREQUENCY)
    assert measured(keys).piece == 1.0


def test_of_devices_that_asked_little_frequent_texts_do_not_stand_for_all():
    found = []
    for seed in range(5):
        random = np.random.default_rng(seed)
        lengths = random.geometric(0.5, 1300)
        keys = np.repeat(random.integers(4000, size=1300), lengths)[:1300]
        devices = np.repeat(random.integers(10, size=1300), lengths)[:1300]
        found.append(measured(keys, devices).effect)
    assert 2.7 < np.mean(found) < 3.6  # 3 in truth: a square of the length over the length, on average


def test_distinct_texts_depend_on_nothing():
    assert measured(np.arange(1000)) == Dependence()


@pytest.mark.parametrize("mean", [2, 5, 20])
def test_bursts_show_the_size_of_the_cluster_in_which_an_average_row_stands(mean):
    found = [measured(bursts(np.random.default_rng(seed), 4000, mean)).effect for seed in range(5)]
    assert np.median(found) == pytest.approx(2 * mean - 1, rel=0.4)


def test_bursts_of_interleaved_devices_show_too():
    random, rows = np.random.default_rng(0), 300
    devices = np.tile(np.arange(10), rows)
    keys = np.stack([bursts(random, rows, 5) for _ in range(10)], axis=1).ravel()
    assert measured(keys, devices).effect == pytest.approx(9, rel=0.5)


def test_a_local_repertoire_shows_its_reach():
    random = np.random.default_rng(0)
    keys = np.concatenate([random.permutation(np.repeat(np.arange(40), 8)) + 40 * start for start in range(10)])
    found = measured(keys)
    assert found.effect == pytest.approx(8, rel=0.2)
    assert 64 <= found.reach <= LONGEST_REACH


def test_what_is_wrong_in_clusters_counts_though_most_rows_stand_alone():
    alone, clusters = np.arange(900), np.repeat(np.arange(1000, 1030), 8)
    keys = np.concatenate(
        [np.concatenate([alone[30 * n : 30 * n + 30], clusters[8 * n : 8 * n + 8]]) for n in range(30)]
    )
    assert measured(keys).effect < 4
    assert measured(keys, wrong=keys >= 1000).effect == pytest.approx(8, rel=0.1)


def test_clusters_of_rows_that_weigh_little_are_no_more_than_a_row():
    keys = np.repeat(np.arange(200), 5)
    assert measured(keys, weights=np.full(1000, 0.1)).piece == 1.0


@given(st.lists(st.integers(0, 5), max_size=60), st.integers(1, 7))
def test_a_piece_holds_alike_rows_in_their_order_and_no_more_than_its_weight(keys, most):
    keys = np.array(keys, np.int64)
    found = pieces(keys, np.ones(len(keys)), float(most))
    for number in np.unique(found):
        rows = np.flatnonzero(found == number)
        assert len(set(keys[rows])) == 1
        assert len(rows) <= most
    for key in np.unique(keys):
        own = found[keys == key]
        assert list(own) == sorted(own)
        assert len(np.unique(own)) == -(-len(own) // most)


@settings(max_examples=30)
@given(st.lists(st.integers(0, 3), min_size=8, max_size=60), st.randoms(use_true_random=False))
def test_names_of_keys_and_devices_change_nothing(keys, random):
    names = random.sample(range(1000), 4)
    devices = np.array([key % 2 for key in keys], np.int64)
    other = measured([names[key] for key in keys], 7 - devices)
    assert measured(keys, devices).effect == pytest.approx(other.effect)
