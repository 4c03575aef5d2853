"""Each world has the property that it is there for, on a sample, and a law that its queries follow."""

from itertools import pairwise

import numpy as np
import pytest

from bench.parts.recorded_scores import generated
from bench.parts.traffic import DEVICES, KINDS, Texts
from bench.parts.worlds import (
    CHANGED_SHARE,
    DAY_SECONDS,
    LONGEST,
    OUTSIDE_EVERY,
    OUTSIDE_KINDS,
    OUTSIDE_LENGTH,
    OUTSIDE_SHARE,
    OWN_SHARE,
    WORLDS,
)

QUERIES = 40_000
DRIFTING = {"slow-drift", "change", "change-back", "outside"}


@pytest.fixture(scope="module")
def texts():
    return Texts.of(generated(6_000))


@pytest.fixture(scope="module")
def sample(texts):
    made = {}

    def of(name):
        if name not in made:
            made[name] = WORLDS[name](texts, QUERIES, np.random.default_rng(5))
        return made[name]

    return of


def runs(values):
    """Lengths of the runs of equal values."""
    starts = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1], [True]]))
    return np.diff(starts)


@pytest.mark.parametrize("name", WORLDS)
def test_a_world_follows_from_its_seed_and_is_whole(name, texts, sample):
    world, again = sample(name), WORLDS[name](texts, QUERIES, np.random.default_rng(5))
    assert np.array_equal(world.texts, again.texts) and np.array_equal(world.asked_at, again.asked_at)
    assert {len(column) for column in (world.texts, world.devices, world.asked_at, world.changed)} == {QUERIES}
    assert world.texts.min() >= 0 and world.texts.max() < texts.count
    assert set(np.unique(world.devices)) == set(range(DEVICES))
    assert (np.diff(world.asked_at) > 0).all()
    assert world.is_stationary is (name not in DRIFTING)
    assert world.spans()[0][1] == 0 and world.spans()[-1][2] == QUERIES


@pytest.mark.parametrize("name", WORLDS)
def test_queries_follow_the_law(name, texts, sample):
    """By kinds of texts, as texts alone are too many to count: within what clusters of 20 let shares vary."""
    world = sample(name)
    for law, start, end in world.spans():
        assert law.chances.sum() == pytest.approx(1)
        if end - start < QUERIES // 8:
            continue
        expected = np.bincount(texts.kinds[law.texts], law.chances, KINDS)
        found = np.bincount(texts.kinds[world.texts[start:end]], minlength=KINDS) / (end - start)
        spread = np.sqrt(expected * (1 - expected) * 40 / (end - start))
        assert (np.abs(found - expected) < 4.5 * spread + 0.003).all()
        assert world.changed[start:end].mean() == pytest.approx(law.chances[law.changed].sum(), abs=0.015)


@pytest.mark.parametrize(("name", "mean"), [("bursts-2", 2), ("bursts-5", 5), ("bursts-20", 20)])
def test_commands_are_repeated_in_a_row_by_one_device(name, mean, sample):
    world = sample(name)
    assert runs(world.texts * DEVICES + world.devices).mean() == pytest.approx(mean, rel=0.08)


def test_constant_bursts_have_eight_queries(sample):
    lengths = runs(sample("constant-bursts").texts)
    assert (lengths % 8 == 0).all() and (lengths == 8).mean() > 0.98


def test_some_bursts_are_very_long_and_most_are_not(sample):
    world = sample("heavy-bursts")
    lengths = runs(world.texts * DEVICES + world.devices)
    assert np.median(lengths) <= 2 and 100 < lengths.max() <= 2 * LONGEST  # two may follow each other


def test_interleaved_devices_repeat_each_for_itself(sample):
    world = sample("interleaved")
    assert runs(world.texts).mean() < 1.2
    alone = [runs(world.texts[world.devices == device]).mean() for device in range(DEVICES)]
    assert np.mean(alone) == pytest.approx(5, rel=0.08)


@pytest.mark.parametrize(("name", "commands"), [("zipf-20", 20), ("zipf-100", 100)])
def test_few_commands_by_zipf(name, commands, sample):
    counts = np.sort(np.unique(sample(name).texts, return_counts=True)[1])[::-1]
    assert len(counts) == commands
    assert counts[0] / counts[1] == pytest.approx(2**1.2, rel=0.1)


def test_a_repertoire_is_local(sample):
    world = sample("repertoire")
    _, first, counts = np.unique(world.texts, return_index=True, return_counts=True)
    last = QUERIES - 1 - np.unique(world.texts[::-1], return_index=True)[1]
    assert counts.mean() == pytest.approx(8, rel=0.02)
    assert (last - first).max() < 320
    assert world.memorises and world.laws[0][1].new.mean() > 0.98


def test_more_queries_than_a_repertoire_has_texts_for_are_refused(texts):
    with pytest.raises(ValueError, match="queries need"):
        WORLDS["repertoire"](texts, 8 * texts.count, np.random.default_rng(0))


def test_one_device_asks_half_and_means_a_part_otherwise(sample):
    world = sample("own-meaning")
    loud = world.devices == 0
    assert loud.mean() == pytest.approx(0.5, abs=0.02)
    assert world.changed[loud].mean() == pytest.approx(OWN_SHARE, abs=0.01)
    assert not world.changed[~loud].any()


def test_what_is_hard_is_asked_again_up_to_three_times(texts, sample):
    world = sample("retries")
    lengths = runs(world.texts)
    hard = texts.hard[world.texts[np.concatenate([[0], np.cumsum(lengths)[:-1]])]]
    assert 0 < hard.mean() < 0.3
    assert lengths[hard].mean() == pytest.approx(3, rel=0.1)
    assert lengths[~hard].mean() == pytest.approx(1, rel=0.02)


def test_kinds_have_their_hour(texts, sample):
    world = sample("habits")
    assert world.asked_at[-1] > 10 * DAY_SECONDS
    hour = world.asked_at % DAY_SECONDS / 3600
    hardest = texts.kinds[world.texts] < KINDS // 10
    midnight, noon = (hour < 3) | (hour > 21), (hour > 9) & (hour < 15)
    assert hardest[midnight].mean() > 3 * hardest[noon].mean()


def test_a_session_asks_different_texts_of_one_kind(texts, sample):
    world = sample("sessions")
    assert runs(texts.kinds[world.texts]).mean() > 7
    assert runs(world.texts).mean() < 1.01


def test_load_comes_in_bursts_of_uneven_devices(sample):
    world = sample("load")
    shares = np.bincount(world.devices, minlength=DEVICES) / QUERIES
    assert shares.max() > 5 * shares.min()
    gaps = np.diff(world.asked_at)
    assert np.median(gaps) < 0.2 * gaps.mean()


def test_meanings_change_when_they_are_said_to(sample):
    half, three_quarters = QUERIES // 2, QUERIES * 3 // 4
    change, back, slow = (sample(name).changed for name in ("change", "change-back", "slow-drift"))
    for changed in (change, back, slow):
        assert not changed[:half].any()
    assert change[half:].mean() == pytest.approx(CHANGED_SHARE, abs=0.01)
    assert back[half:three_quarters].mean() == pytest.approx(CHANGED_SHARE, abs=0.01)
    assert not back[three_quarters:].any()
    tenths = [part.mean() for part in np.array_split(slow[half:], 5)]
    assert all(before < after for before, after in pairwise(tenths))


def test_what_no_head_has_learned_comes_in_bursts_from_a_third_on(texts, sample):
    world = sample("outside")
    assert not world.changed[: QUERIES // 3].any()
    since = np.arange(QUERIES) - QUERIES // 3
    in_burst = (since >= 0) & (since % OUTSIDE_EVERY < OUTSIDE_LENGTH)
    assert not world.changed[~in_burst].any()
    assert world.changed[in_burst].mean() == pytest.approx(OUTSIDE_SHARE, abs=0.02)
    assert (texts.kinds[world.texts[world.changed]] < OUTSIDE_KINDS).all()
