from hypothesis import given
from hypothesis import strategies as st

from cloud_worker.log.recent_queries import RecentQueries

NOW = 1_800_000_000.0
SECONDS = 600.0
TIMES = st.lists(st.tuples(st.integers(0, 30), st.floats(0, 2000)), max_size=60)


@given(TIMES, st.integers(1, 20))
def test_a_query_that_was_answered_within_the_time_is_never_said_to_be_new(answers, most):
    recent, answered, now = RecentQueries(SECONDS, most), {}, NOW
    for number, after in sorted(answers, key=lambda one: one[1]):
        now = NOW + after
        recent.add("kitchen", f"q{number}", now)
        answered[number] = now
        assert len(recent) <= most
    known = {number for number, at in answered.items() if at > now - SECONDS}
    assert all(recent.may_know("kitchen", f"q{number}", now) for number in known)


def test_what_was_never_answered_is_new_and_every_caller_has_ids_of_its_own():
    recent = RecentQueries(SECONDS)
    recent.add("kitchen", "q1", NOW)
    assert recent.may_know("kitchen", "q1", NOW)
    assert not recent.may_know("garage", "q1", NOW)
    assert not recent.may_know("kitchen", "q2", NOW)


def test_it_holds_what_is_recent_alone():
    recent = RecentQueries(SECONDS)
    for number in range(10_000):
        recent.add("kitchen", f"q{number}", NOW + number)
    assert len(recent) <= SECONDS * 1.2 + 1
    assert not recent.may_know("kitchen", "q0", NOW + 10_000)


def test_when_more_came_than_it_holds_any_may_be_known_until_their_time_is_over():
    recent = RecentQueries(SECONDS, most=100)
    for number in range(300):
        recent.add("kitchen", f"q{number}", NOW + number)
    assert recent.may_know("kitchen", "never asked", NOW + 300)
    assert not recent.may_know("kitchen", "never asked", NOW + 300 + SECONDS)


def test_a_clock_that_is_set_back_loses_none():
    recent = RecentQueries(SECONDS)
    recent.add("kitchen", "q1", NOW + 5000)
    recent.add("kitchen", "q2", NOW)
    assert recent.may_know("kitchen", "q2", NOW + 10)
    recent.add("kitchen", "q3", NOW + 5000)
    assert recent.may_know("kitchen", "q1", NOW + 5000)
