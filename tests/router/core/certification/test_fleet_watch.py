"""No device alone alarms a fleet, and none hides what the others lose."""

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.core.certification.device_quarantine import Accusation
from router.core.certification.fleet_watch import FleetWatch, Reading
from router.core.certification.live_watch import LiveWatch
from router.core.domain.record import Source
from router.core.domain.task import Task
from router.core.statistics.e_process import RESTART_ROWS, Watch, WatchState, log_gains

PROMISE, ALPHA = 0.02, 0.05
LIAR = "liar"


class Fleet:
    """Honest devices that ask in turn, one a second, and a watch over them and a liar; who is accused is left out."""

    def __init__(self, devices, seed=0):
        self.names = [f"device-{number}" for number in range(devices)]
        self._generator = random.Random(seed)
        self._rows, self.accused = [], []
        self._begin()

    def _begin(self):
        self.watch, self._accusation = FleetWatch(PROMISE, ALPHA), Accusation(PROMISE, ALPHA)
        for name in self.names:
            if name not in self.accused:
                self.watch.meet(name, 0.0)
                self._accusation.meet(name, 0.0)

    def say(self, device, lost):
        self._rows.append((device, lost))
        self._tell(len(self._rows), device, lost)
        while self._accusation.accused:
            self.accused.append(self._accusation.accused)
            self._begin()
            for at, (one, was_lost) in enumerate(self._rows, 1):
                self._tell(at, one, was_lost)

    def _tell(self, at, device, lost):
        if device not in self.accused:
            self.watch.meet(device, float(at))
            self._accusation.meet(device, float(at))
            self.watch.update(device, lost)
            self._accusation.update(device, at, lost)

    @property
    def cured(self):
        """Nobody keeps what it loses."""
        return self.alarmed or {*self.names} <= {*self.accused}

    def live(self, rows, loss, forged=0, lies=True):
        """Ask ``rows`` queries at a loss, with so many forged rows after each; stop at an alarm."""
        for row in range(rows):
            self.say(self.names[row % len(self.names)], self._generator.random() < loss)
            for _ in range(forged):
                self.say(LIAR, lies)
            if self.cured:
                break
        return self

    @property
    def alarmed(self):
        return self.watch.freeze().alarmed


@pytest.mark.parametrize("devices", [1, 2, 3, 20])
@pytest.mark.parametrize("before", [0, 300])
def test_three_forged_rows_alarm_no_fleet(devices, before):
    fleet = Fleet(devices).live(before, 0.0)
    for _ in range(3):
        fleet.say(LIAR, True)
    assert not fleet.live(300, 0.0).alarmed


@pytest.mark.parametrize("devices", [2, 5, 30])
@pytest.mark.parametrize("forged", [1, 5])
def test_no_number_of_forged_rows_alarms_a_fleet_of_several(devices, forged):
    assert not Fleet(devices).live(400, 0.005, forged).alarmed


def test_what_three_rows_of_a_fleet_of_one_say_is_heard():
    fleet = Fleet(0)
    for _ in range(3):
        fleet.say("only", True)
    assert fleet.alarmed


@pytest.mark.parametrize("devices", [1, 2, 4, 20])
def test_five_forged_right_rows_beside_each_honest_one_hide_no_loss_of_ten_percent(devices):
    found = sum(Fleet(devices, seed).live(1500, 0.10, forged=5, lies=False).cured for seed in range(8))
    assert found == 8


def test_a_flood_before_anybody_else_has_asked_the_release_makes_no_fleet_of_one():
    fleet = Fleet(4)
    for _ in range(2000):
        fleet.say(LIAR, True)
    assert not fleet.live(40, 0.0).alarmed


def test_one_device_after_the_other_that_loses_is_accused_in_a_fleet_that_does_not():
    fleet = Fleet(4)
    for row in range(400):
        fleet.say(fleet.names[row % 4], lost=row % 4 == 0)
    assert (fleet.alarmed, fleet.accused) == (False, ["device-0"])
    for row in range(400):
        fleet.say(fleet.names[row % 4], lost=row % 4 == 1 and row % 8 < 4)
    assert (fleet.alarmed, fleet.accused) == (False, ["device-0", "device-1"])


def test_two_devices_that_lose_at_once_alarm_the_fleet_or_are_both_accused():
    fleet = Fleet(4)
    for row in range(400):
        fleet.say(fleet.names[row % 4], lost=row % 4 in (0, 1) and row % 8 < 4)
    assert fleet.alarmed or fleet.accused == ["device-0", "device-1"]


@settings(max_examples=30)
@given(st.lists(st.booleans(), max_size=3 * RESTART_ROWS))
def test_a_fleet_of_one_device_is_watched_as_ever(lost):
    plain, fleet = Watch(WatchState(PROMISE, ALPHA)), FleetWatch(PROMISE, ALPHA)
    for row in lost:
        fleet.meet("only", 0.0)
        assert fleet.update("only", row) == plain.update(row)
    assert fleet.log_evidence == pytest.approx(plain.log_evidence, abs=1e-9)
    assert (fleet.freeze().rows, fleet.freeze().losses) == (len(lost), sum(lost))


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=3 * RESTART_ROWS))
def test_what_stands_without_a_device_is_the_bet_over_the_rows_of_the_others(rows):
    reading, left_out = Reading(PROMISE, ALPHA), []
    for device, lost in rows:
        if lost and device not in left_out:
            left_out.append(device)
            reading.leave_out(device)
        reading.update(device, lost)
    gains = np.array(log_gains(PROMISE))
    for device, said in zip(left_out, reading.without(), strict=True):
        total, begun = 0.0, math.ceil(len(rows) / RESTART_ROWS)
        for restart in range(1, begun + 1):
            since = rows[(restart - 1) * RESTART_ROWS :]
            bets = [sum(gain[int(lost)] for one, lost in since if one != device) for gain in gains]
            total += np.mean(np.exp(bets)) / (restart * (restart + 1))
        assert said == pytest.approx(math.log(total + 1 / (begun + 1)))


@pytest.mark.parametrize("losses", [(0.02, 0.02, 0.02, 0.02), (0.0, 0.0, 0.02, 0.06)])
def test_a_fleet_that_just_keeps_its_promise_is_alarmed_at_most_with_its_chance(losses):
    alarms = 0
    for seed in range(60):
        generator, fleet = random.Random(seed), Fleet(len(losses))
        for row in range(800):
            fleet.say(fleet.names[row % len(losses)], generator.random() < losses[row % len(losses)])
        alarms += fleet.alarmed
    assert alarms / 60 <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / 60)


@pytest.mark.parametrize("devices", [3, 20])
def test_a_true_break_is_found_about_as_fast_as_without_liars(devices):
    delays = {}
    for seed in range(20):
        fleet, plain = Fleet(devices, seed).live(2000, 0.06), Watch(WatchState(PROMISE, ALPHA))
        generator, row = random.Random(seed), 1
        while not plain.update(generator.random() < 0.06):
            row += 1
        delays[seed] = (fleet.watch.freeze().alarm_row, row)
    found, alone = (np.mean([delay[position] for delay in delays.values()]) for position in (0, 1))
    assert found < 1.7 * alone * devices / (devices - 1)


def test_a_fresh_release_is_not_alarmed_by_three_forged_rows_of_it(record):
    live_watch = LiveWatch.over(3, Task("home", reference="big"), lambda asked, answer, reference: answer == reference)
    lost = {"local_answer": "music", "release": 3, "kept": True, "source": Source.TAUGHT}
    rows = [record(position, release=2, caller=f"device-{position % 5}") for position in range(50)]
    rows += [record(100 + position, caller=LIAR, **lost) for position in range(3)]
    assert not live_watch.observe(rows)
    assert live_watch.watch.freeze().losses == 3
    rows += [record(200 + position, caller=f"device-{position % 5}", **lost) for position in range(6)]
    assert live_watch.observe(rows)
