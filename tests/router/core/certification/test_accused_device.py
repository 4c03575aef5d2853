"""A device that loses alone is accused, and no other is."""

import random

import pytest

from router.core.certification.fleet_watch import FleetWatch

PROMISE, ALPHA = 0.02, 0.05


def told(losses, rows, seed=0, traffic=None):
    """The watch after ``rows`` rows of devices that lose as told, or at an alarm or accusation; and the row of that."""
    names, generator = [*losses], random.Random(seed)
    watch = FleetWatch(PROMISE, ALPHA)
    for name in names:
        watch.meet(name, 0.0)
    for row in range(rows):
        name = generator.choices(names, traffic)[0] if traffic else names[row % len(names)]
        watch.meet(name, 1.0 + row)
        if watch.update(name, generator.random() < losses[name]) or watch.accused:
            return watch, row
    return watch, rows


def fleet(devices, loss, **others):
    return {f"device-{number}": loss for number in range(devices)} | others


@pytest.mark.parametrize("honest", [1, 2, 5, 20])
def test_a_device_that_loses_alone_is_accused_and_nobody_alarmed(honest):
    for seed in range(4):
        watch, _ = told(fleet(honest, 0.003, bad=0.5), 40_000, seed)
        assert watch.accused == "bad"
        assert not watch.freeze().alarmed


@pytest.mark.parametrize("honest", [1, 3, 20])
def test_a_few_forged_rows_accuse_their_device_alone(honest):
    watch, row = told(fleet(honest, 0.0, liar=1.0), 40_000)
    assert watch.accused == "liar"
    assert row <= 20 * (honest + 1)


@pytest.mark.parametrize("devices", [3, 10, 20])
def test_where_all_lose_the_fleet_is_alarmed(devices):
    alarmed = sum(told(fleet(devices, 0.12), 40_000, seed)[0].freeze().alarmed for seed in range(8))
    assert alarmed >= 7


def test_who_has_half_of_the_traffic_and_loses_is_accused_at_once():
    losses = fleet(9, 0.005, half=0.10)
    watch, row = told(losses, 40_000, traffic=[1 / 18] * 9 + [0.5])
    assert watch.accused == "half"
    assert row < 2_000


def test_a_fleet_of_one_accuses_nobody():
    watch, _ = told({"only": 0.5}, 4_000)
    assert watch.freeze().alarmed
    assert not watch.accused


def test_releases_that_keep_their_promise_are_neither_alarmed_on_nor_is_anybody_accused_more_often_than_alpha():
    said = [told(fleet(6, 0.02), 3_000, seed)[0] for seed in range(60)]
    assert sum(bool(one.accused) or one.freeze().alarmed for one in said) <= 6


def test_once_somebody_is_accused_no_row_counts():
    watch, _ = told(fleet(5, 0.0, liar=1.0), 1_000)
    before = watch.freeze()
    assert not watch.update("device-1", True)
    assert watch.freeze() == before
