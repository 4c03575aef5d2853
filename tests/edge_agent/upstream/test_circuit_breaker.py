"""The laws of the breaker."""

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.upstream.circuit_breaker import FIRST_WAIT, LONGEST_WAIT, TOLERATED, Breaker, State

STEPS = st.lists(
    st.tuples(st.sampled_from(["fail", "succeed", "push", "admit"]), st.floats(0, 5, allow_subnormal=False)),
    max_size=60,
)


def walk(steps):
    breaker, now = Breaker(), 0.0
    for what, seconds in steps:
        now += seconds
        if what == "fail":
            breaker.failed(now)
        elif what == "succeed":
            breaker.succeeded()
        elif what == "push":
            breaker.pushed_back(now, seconds)
        else:
            breaker.admit(now)
    return breaker, now


@given(STEPS)
def test_whatever_happened_it_admits_again_within_the_longest_wait(steps):
    breaker, now = walk(steps)
    assert breaker.next_admission(now) <= LONGEST_WAIT
    assert breaker.admit(now + LONGEST_WAIT + 0.001)


@given(STEPS)
def test_it_says_when_it_admits_and_keeps_its_word(steps):
    breaker, now = walk(steps)
    wait = breaker.next_admission(now)
    assert (wait == 0) == (breaker.state(now) is State.CLOSED)
    assert breaker.admit(now + wait + 1e-6)


@given(STEPS)
def test_a_success_closes_it_unless_it_was_pushed_back(steps):
    breaker, now = walk(steps)
    breaker.succeeded()
    assert not breaker.is_open
    assert breaker.state(now) in {State.CLOSED, State.PUSHED_BACK}


@given(STEPS, st.integers(2, 10))
def test_an_open_breaker_lets_one_probe_through_at_a_time(steps, callers):
    breaker, now = walk(steps)
    if breaker.is_open:
        now += breaker.next_admission(now) + 1e-6
        assert [breaker.admit(now) for _ in range(callers)] == [True] + [False] * (callers - 1)


def test_it_opens_after_the_tolerated_failures_in_a_row():
    breaker = Breaker()
    for _ in range(TOLERATED - 1):
        breaker.failed(1.0)
    assert breaker.admit(1.0)
    breaker.failed(1.0)
    assert not breaker.admit(1.0 + FIRST_WAIT / 2)
    assert breaker.admit(1.0 + FIRST_WAIT)


def test_each_failed_probe_doubles_the_wait():
    breaker, now = Breaker(), 0.0
    for _ in range(TOLERATED):
        breaker.failed(now)
    for doubled in (2, 4, 8):
        now += breaker.next_admission(now)
        assert breaker.admit(now)
        breaker.failed(now)
        assert breaker.next_admission(now) == doubled * FIRST_WAIT


def test_calls_that_were_on_their_way_when_it_opened_do_not_prolong_the_wait():
    breaker = Breaker()
    for _ in range(TOLERATED + 50):
        breaker.failed(0.0)
    assert breaker.next_admission(0.0) == FIRST_WAIT


def test_pushback_is_obeyed_by_a_closed_breaker_too():
    breaker = Breaker()
    breaker.pushed_back(10.0, 3.0)
    assert breaker.state(12.9) is State.PUSHED_BACK
    assert not breaker.admit(12.9)
    assert breaker.admit(13.0)
