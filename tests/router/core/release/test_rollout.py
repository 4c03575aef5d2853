"""A rollout takes the devices of lowest hash, goes on by what they show, and goes back by itself."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.release.rollout import (
    DeviceHealth,
    Facts,
    Gates,
    RolloutState,
    Verdict,
    decide,
    members,
    rank,
    size_of,
    step_after,
)

STEPS = (0.01, 0.05, 0.25, 1.0)
GATES = Gates(healthy_answers=100, step_seconds=60.0)
fleets = st.sets(st.text("abcdefgh-0123456789", min_size=1, max_size=6), min_size=1, max_size=60)
shares = st.floats(0.001, 1.0)
healths = st.builds(
    DeviceHealth,
    device=st.text("abc", min_size=1),
    step=st.integers(0, 2),
    runs=st.booleans(),
    unwell=st.sampled_from(["", "refuses it"]),
    silent=st.booleans(),
    healthy=st.integers(0, 500),
    before=st.floats(0, 100),
    now=st.floats(0, 1000),
)
facts_of_any = st.builds(
    Facts,
    state=st.sampled_from(RolloutState),
    step=st.integers(0, 2),
    is_last=st.booleans(),
    seconds=st.floats(0, 1000),
    devices=st.lists(healths, max_size=8).map(tuple),
    silent_others=st.floats(0, 1),
    broken=st.sampled_from(["", "it lost 9 of 10"]),
    doubted=st.sampled_from(["", "too few rows"]),
)


def well(device, **changes):
    return replace(DeviceHealth(device, 0, runs=True, healthy=200, before=5.0, now=5.0), **changes)


def facts(*devices, **changes):
    return replace(Facts(RolloutState.RUNNING, 0, False, 100.0, devices), **changes)


@given(fleets, st.sets(st.text("xyz", min_size=1, max_size=3)), shares, shares)
def test_a_step_holds_the_lowest_and_all_of_the_steps_before(fleet, already, one, other):
    less, more = sorted((one, other))
    first = members("home", 7, fleet, already, less)
    then = members("home", 7, fleet, first, more)
    assert already <= first <= then
    ranked = sorted(fleet, key=lambda device: rank("home", 7, device))
    assert first - already <= set(ranked[: size_of(less, len(fleet))]) <= first
    assert size_of(less, len(fleet)) >= 1


@given(fleets, fleets, shares)
def test_a_device_that_comes_or_goes_puts_nobody_out(fleet, later, share):
    first = members("home", 7, fleet, frozenset(), share)
    assert first <= members("home", 7, later, first, share)


def test_each_release_is_tried_on_others():
    fleet = [f"device-{number}" for number in range(50)]
    first = {min(fleet, key=lambda device, release=release: rank("home", release, device)) for release in range(20)}
    assert len(first) > 10


@pytest.mark.parametrize(
    ("devices", "sizes"),
    [(1, [1]), (3, [1, 3]), (10, [1, 3, 10]), (50, [1, 3, 13, 50]), (5000, [50, 250, 1250, 5000])],
)
def test_steps_that_hold_the_same_devices_are_one(devices, sizes):
    step, found = 0, [size_of(STEPS[0], devices)]
    while found[-1] < devices:
        step = step_after(STEPS, step, devices)
        found.append(size_of(STEPS[step], devices))
    assert found == sizes


def test_a_share_of_floats_holds_no_device_too_many():
    assert [size_of(0.07, 100), size_of(0.01, 300), size_of(0.29, 100)] == [7, 3, 29]


@given(facts_of_any)
def test_what_was_halted_or_has_ended_never_goes_on(given_facts):
    verdict = decide(given_facts, GATES).verdict
    if given_facts.state is RolloutState.HALTED:
        assert verdict is Verdict.HALT
    elif given_facts.state is not RolloutState.RUNNING:
        assert verdict in {Verdict.HOLD, Verdict.HALT}


@given(facts_of_any)
def test_no_data_means_no_step(given_facts):
    silent = tuple(replace(one, healthy=0) for one in given_facts.devices)
    for quiet in (replace(given_facts, devices=silent), replace(given_facts, devices=())):
        assert decide(quiet, GATES).verdict in {Verdict.HOLD, Verdict.HALT}


@given(facts_of_any)
def test_a_broken_promise_halts_whatever_devices_say(given_facts):
    if given_facts.state.is_open:
        decision = decide(replace(given_facts, broken="it lost 9 of 10"), GATES)
        assert decision.verdict is Verdict.HALT
        assert decision.why


@given(facts_of_any)
def test_each_decision_has_its_reason(given_facts):
    assert decide(given_facts, GATES).why


def test_a_healthy_step_leads_to_the_next_and_the_last_one_ends_it():
    assert decide(facts(well("a")), GATES).verdict is Verdict.ADVANCE
    assert decide(facts(well("a"), is_last=True), GATES).verdict is Verdict.FINISH


@pytest.mark.parametrize(
    ("known", "why"),
    [
        (facts(well("a"), state=RolloutState.PAUSED), "an operator has paused it"),
        (facts(well("a", healthy=99)), "99 of 100 healthy answers"),
        (facts(well("a"), seconds=30.0), "30 of 60 s"),
        (facts(well("a"), well("b", runs=False), well("c", silent=True)), "1 of 3 devices run it"),
        (facts(well("a"), doubted="too few explored rows"), "too few explored rows"),
        (facts(well("a", step=0), well("b", step=1, healthy=3), step=1), "3 of 100 healthy"),
        (facts(*(well(name, healthy=10_000 if name == "a" else 1) for name in "abc")), "36 of 100 healthy"),
    ],
)
def test_it_waits_for_a_reason(known, why):
    decision = decide(known, GATES)
    assert decision.verdict is Verdict.HOLD
    assert decision.why.startswith(why)


@pytest.mark.parametrize(
    ("known", "why"),
    [
        (facts(well("a", unwell="refuses it: its golden inputs differ")), "1 of 1 device that took it are unwell: a"),
        (facts(*map(well, "abcdef"), well("g", runs=False, unwell="went back to 3")), "1 of 7 devices"),
        (facts(well("a", now=60.0), well("b", now=55.0), well("c", now=5.0)), "answers take 11.0 times as long"),
        (facts(*(well(name, silent=name < "d") for name in "abcde")), "3 of 5 devices that took it are silent"),
        (facts(well("a"), state=RolloutState.HALTED), "it was halted"),
        (facts(well("a", unwell="refuses it: x"), state=RolloutState.PAUSED), "1 of 1 device"),
    ],
)
def test_it_goes_back_for_a_reason(known, why):
    decision = decide(known, GATES)
    assert decision.verdict is Verdict.HALT
    assert decision.why.startswith(why)


@pytest.mark.parametrize(
    "known",
    [
        facts(*map(well, "abcdefghijklmnopqrst"), well("u", unwell="refuses it: x")),  # one of many
        facts(well("a", before=1.0, now=4.0)),  # slower by what nobody feels
        facts(well("a", before=0.0, now=900.0)),  # nobody knows how long it took before
        facts(*(well(name, silent=name < "d") for name in "abcde"), silent_others=0.6),  # the cloud was away
    ],
)
def test_it_does_not_go_back_for_what_says_nothing(known):
    assert decide(known, GATES).verdict is not Verdict.HALT
