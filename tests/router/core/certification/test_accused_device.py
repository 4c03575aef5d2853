"""A device that loses alone is accused, and no other is."""

import random

import pytest

from router.core.certification.device_quarantine import Accusation
from router.core.certification.fleet_watch import FleetWatch

PROMISE, ALPHA = 0.02, 0.05


class Told:
    """The watch and the accusation over the same rows, each of another text."""

    def __init__(self, names):
        self.watch, self.accusation, self.row = FleetWatch(PROMISE, ALPHA), Accusation(PROMISE, ALPHA), 0
        for name in names:
            self.meet(name)

    def meet(self, name):
        self.watch.meet(name, float(self.row))
        self.accusation.meet(name, float(self.row))

    def say(self, name, lost, text=None):
        self.row += 1
        self.meet(name)
        self.watch.update(name, lost)
        self.accusation.update(name, self.row if text is None else text, lost)

    @property
    def alarmed(self):
        return self.watch.freeze().alarmed

    @property
    def accused(self):
        return self.accusation.accused


def told(losses, rows, seed=0, traffic=None):
    """What ``rows`` rows of devices that lose as told say, up to an alarm or an accusation."""
    names, generator = [*losses], random.Random(seed)
    said = Told(names)
    for row in range(rows):
        name = generator.choices(names, traffic)[0] if traffic else names[row % len(names)]
        said.say(name, generator.random() < losses[name])
        if said.alarmed or said.accused:
            break
    return said


def fleet(devices, loss, **others):
    return {f"device-{number}": loss for number in range(devices)} | others


@pytest.mark.parametrize("honest", [1, 2, 5, 20])
def test_a_device_that_loses_alone_is_accused_and_nobody_alarmed(honest):
    for seed in range(4):
        said = told(fleet(honest, 0.003, bad=0.5), 40_000, seed)
        assert said.accused == "bad"
        assert not said.alarmed


@pytest.mark.parametrize("honest", [1, 3, 20])
def test_a_few_forged_rows_accuse_their_device_alone(honest):
    said = told(fleet(honest, 0.0, liar=1.0), 40_000)
    assert said.accused == "liar"
    assert said.row <= 20 * (honest + 1)


@pytest.mark.parametrize("devices", [3, 10, 20])
def test_where_all_lose_the_fleet_is_alarmed(devices):
    alarmed = sum(told(fleet(devices, 0.12), 40_000, seed).alarmed for seed in range(8))
    assert alarmed >= 7


def test_who_has_half_of_the_traffic_and_loses_is_accused_at_once():
    losses = fleet(9, 0.005, half=0.10)
    said = told(losses, 40_000, traffic=[1 / 18] * 9 + [0.5])
    assert said.accused == "half"
    assert said.row < 2_000


def test_a_fleet_of_one_accuses_nobody():
    said = told({"only": 0.5}, 4_000)
    assert said.alarmed
    assert not said.accused


def test_releases_that_keep_their_promise_are_neither_alarmed_on_nor_is_anybody_accused_more_often_than_alpha():
    said = [told(fleet(6, 0.02), 3_000, seed) for seed in range(60)]
    assert sum(bool(one.accused) or one.alarmed for one in said) <= 6


def test_once_somebody_is_accused_no_row_counts():
    said = told(fleet(5, 0.0, liar=1.0), 1_000)
    for _ in range(50):
        said.say("device-1", True)
    assert said.accused == "liar"


def test_one_text_that_is_asked_again_and_again_accuses_nobody():
    said = Told(fleet(5, 0.0))
    for row in range(400):
        said.say(f"device-{row % 5}", False)
        said.say("device-1", True, text=-1)
    assert not said.accused
