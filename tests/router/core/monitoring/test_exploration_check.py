"""Too few rows are seen whoever says so, and nobody alone makes a fleet blind."""

import random

import pytest

from router.core.monitoring.exploration_check import Hour, expected, is_blind


def test_a_fleet_of_one_is_told_by_its_own_word():
    assert is_blind([Hour(200.0, 60)])
    assert not is_blind([Hour(200.0, 185)])
    assert not is_blind([Hour(2.0, 0)])
    assert not is_blind([])


@pytest.mark.parametrize("others", [1, 3, 30])
@pytest.mark.parametrize("claimed", [50.0, 500_000.0, 1e18])
def test_one_liar_blinds_nobody(others, claimed):
    assert not is_blind([Hour(claimed, 0), *[Hour(50.0, 48)] * others])


@pytest.mark.parametrize("others", [2, 3, 30])
@pytest.mark.parametrize("liar", [Hour(0.0, 100_000), Hour(1e9, 10**9), Hour(1e6, 0, 2**64 - 1), Hour(100.0, 10**6)])
def test_one_liar_hides_no_blindness_of_the_others(others, liar):
    hours = [liar, *[Hour(100.0, 20)] * others]
    assert is_blind(hours)
    assert is_blind([hour.awaited for hour in hours])


@pytest.mark.parametrize("devices", [1, 2, 5, 100])
def test_an_honest_fleet_that_sends_too_little_is_blind(devices):
    assert is_blind([Hour(200.0 / devices, 30 // devices)] * devices)


def test_an_honest_fleet_that_sends_what_it_planned_is_not_blind():
    generator = random.Random(0)
    for devices, planned in ((1, 100.0), (4, 25.0), (100, 1.0), (300, 0.2)):
        for _ in range(50):
            came = [sum(generator.random() < planned / 1000 for _ in range(1000)) for _ in range(devices)]
            assert not is_blind([Hour(planned, one) for one in came])


def test_what_a_device_holds_back_excuses_itself_alone():
    assert not is_blind([Hour(200.0, 60, 150).awaited])
    assert is_blind([Hour(200.0, 60, 2**64 - 1).awaited, Hour(200.0, 60).awaited, Hour(200.0, 60).awaited])


def test_what_is_expected_takes_nobodys_word_for_more_than_twice_the_median():
    assert expected([Hour(1e9), Hour(50.0), Hour(50.0)]) == pytest.approx(200.0)
