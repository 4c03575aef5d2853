"""Each world in which something comes and goes has the property that it is there for, and laws that hold."""

import numpy as np
import pytest

from bench.lives import maker_of
from bench.parts.moving_worlds import MOVING_WORLDS, OWN_COMMANDS, TOPIC_SHARE
from bench.parts.recorded_scores import generated
from bench.parts.traffic import DEVICES, KINDS, Texts

QUERIES = 6_000


@pytest.fixture(scope="module")
def texts():
    return Texts.of(generated(15_000))


@pytest.fixture(scope="module")
def sample(texts):
    made = {}

    def of(name):
        if name not in made:
            made[name] = maker_of(name)(texts, QUERIES, np.random.default_rng(5))
        return made[name]

    return of


@pytest.mark.parametrize("name", MOVING_WORLDS)
def test_a_world_follows_from_its_seed_and_its_laws_are_whole(name, texts, sample):
    world, again = sample(name), maker_of(name)(texts, QUERIES, np.random.default_rng(5))
    assert np.array_equal(world.texts, again.texts) and np.array_equal(world.devices, again.devices)
    assert {len(column) for column in (world.texts, world.devices, world.asked_at, world.changed)} == {QUERIES}
    assert world.texts.min() >= 0 and world.texts.max() < texts.count
    assert (np.diff(world.asked_at) > 0).all() and not world.changed.any()
    for _, law in world.laws:
        assert law.chances.sum() == pytest.approx(1) and (law.chances >= 0).all()


def test_topics_come_in_waves(texts, sample):
    kinds = texts.kinds[sample("topics-100").texts]
    alike = [(kinds[gap:] == kinds[:-gap]).mean() for gap in (1, 1_500)]
    assert alike[0] > 0.6 * TOPIC_SHARE**2 + alike[1]


@pytest.mark.parametrize(("name", "least", "most"), [("growing-fast", 0.1, 0.5), ("growing-slowly", 0.0, 0.1)])
def test_a_vocabulary_grows_as_its_law_says(name, least, most, sample):
    world = sample(name)
    _, first = np.unique(world.texts, return_index=True)
    fresh = ((first >= QUERIES // 2).sum()) / (QUERIES - QUERIES // 2)
    said = [law.chances[law.new].sum() for start, law in world.laws if start >= QUERIES // 2]
    assert least < fresh < most and np.mean(said) == pytest.approx(fresh, rel=0.15)


@pytest.mark.parametrize(("name", "life"), [("turnover-600", 600), ("turnover-3000", 3_000)])
def test_devices_come_and_go_with_commands_of_their_own(name, life, sample):
    world = sample(name)
    assert len(np.unique(world.devices)) == pytest.approx(DEVICES * (1 + QUERIES / life), rel=0.4)
    assert max(len(np.unique(world.texts[world.devices == one])) for one in range(DEVICES)) <= OWN_COMMANDS
    assert world.laws[0][1].new.all() and world.memorises


def test_a_device_joins_half_way_and_asks_half_of_all_and_harder_kinds(texts, sample):
    world, half = sample("joins"), QUERIES // 2
    theirs = world.devices == DEVICES
    assert not theirs[:half].any() and theirs[half:].mean() == pytest.approx(0.5, abs=0.05)
    assert texts.kinds[world.texts[theirs]].max() < 0.3 * KINDS < texts.kinds[world.texts[~theirs]].mean()
