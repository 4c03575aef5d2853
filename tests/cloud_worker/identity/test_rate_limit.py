from hypothesis import given
from hypothesis import strategies as st

from cloud_worker.identity.rate_limit import RateLimit

STEPS = st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 5)), max_size=200)


@given(STEPS, st.integers(1, 20), st.integers(1, 40))
def test_no_address_and_not_all_together_get_more_than_a_minutes_calls_and_what_comes_back(steps, each, together):
    limit, now, taken = RateLimit(each, together), 0.0, []
    for address, pause in steps:
        now += pause
        if not limit.wait(address, now):
            taken.append(address)
    for address in "abc":
        assert taken.count(address) <= each * (1 + now / 60) + 1
    assert len(taken) <= together * (1 + now / 60) + 1


def test_who_waits_as_long_as_it_is_told_is_taken():
    limit = RateLimit(2, 100)
    assert [limit.wait("a", 0.0) for _ in range(2)] == [0.0, 0.0]
    wait = limit.wait("a", 0.0)
    assert wait == 30.0
    assert limit.wait("a", 29.0) > 0
    assert limit.wait("b", 29.0) == 0
    assert limit.wait("a", 31.0) == 0


def test_addresses_are_remembered_in_bounded_number():
    limit = RateLimit(1, 10**9)
    for number in range(20_000):
        limit.wait(str(number), 0.0)
    remembered = [number for number in reversed(range(20_000)) if limit.wait(str(number), 0.0)]
    assert len(remembered) == 10_000
