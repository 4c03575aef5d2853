"""Limits: no window sees more than they allow, whatever comes when."""

from hypothesis import given
from hypothesis import strategies as st

from router.core.policy.budget import (
    DAY_SECONDS,
    MINUTE_SECONDS,
    Budget,
    Spent,
    allows,
    hold,
    release,
    seconds_until,
    settle,
    spend,
    taken_up,
)

TIMES = st.lists(st.floats(0, 4 * MINUTE_SECONDS), min_size=10, max_size=60)
ANY_TIMES = st.lists(st.floats(DAY_SECONDS, 3 * DAY_SECONDS), min_size=10, max_size=60)
LIMITS = st.integers(0, 4)  # fewer than the times, so that they bind


def sent(budget, times, usd=0.0):
    """The times at which queries left, as the clock that never goes back tells them, and what is spent."""
    spent, left, latest = Spent(), [], 0.0
    for now in times:
        if allows(budget, spent, now, usd):
            spent = spend(budget, spent, now, usd)
            latest = max(latest, now)
            left.append(latest)
    return left, spent


@given(times=TIMES, limit=LIMITS)
def test_no_minute_sees_more_than_its_limit_whatever_the_order_of_the_times(times, limit):
    left, _ = sent(Budget(per_minute=limit), times)
    for end in left:
        assert sum(end - MINUTE_SECONDS < time <= end for time in left) <= limit


@given(times=ANY_TIMES, limit=LIMITS)
def test_no_day_sees_more_than_its_limit(times, limit):
    left, _ = sent(Budget(per_day=limit), sorted(times))
    for day in range(4):
        assert sum(time // DAY_SECONDS == day for time in left) <= limit


@given(times=ANY_TIMES, limit=LIMITS)
def test_a_clock_that_is_set_back_frees_no_day(times, limit):
    spent, used = Spent(), {}
    for now in times:
        if allows(Budget(per_day=limit), spent, now):
            spent = spend(Budget(per_day=limit), spent, now)
            used[spent.day] = used.get(spent.day, 0) + 1
    assert all(count <= limit for count in used.values())


@given(times=ANY_TIMES, usd=st.floats(0, 2), limit=st.floats(0, 5))
def test_no_day_costs_more_than_its_limit(times, usd, limit):
    budget, spent = Budget(usd_per_day=limit), Spent()
    for now in sorted(times):
        if allows(budget, spent, now, usd):
            spent = spend(budget, spent, now, usd)
            assert spent.usd <= limit


@given(times=TIMES, limit=LIMITS, more=st.integers(0, 5), now=st.floats(0, 300))
def test_a_larger_limit_allows_whatever_a_smaller_one_does(times, limit, more, now):
    _, spent = sent(Budget(per_minute=limit), times)
    if allows(Budget(per_minute=limit), spent, now):
        assert allows(Budget(per_minute=limit + more), spent, now)


@given(times=TIMES, limit=LIMITS, now=st.floats(0, 300))
def test_more_spent_or_held_never_allows_more(times, limit, now):
    budget = Budget(per_minute=limit, per_day=limit)
    _, spent = sent(budget, times)
    for more in (hold(spent), spend(budget, spent, now)):
        if allows(budget, more, now):
            assert allows(budget, spent, now)


@given(times=TIMES, limit=LIMITS)
def test_the_same_queries_spend_the_same(times, limit):
    assert sent(Budget(per_minute=limit), times) == sent(Budget(per_minute=limit), times)


@given(times=TIMES, limit=st.integers(1, 4), lowered=st.integers(0, 3), now=st.floats(0, 300))
def test_after_the_wait_one_more_may_leave_and_not_long_before(times, limit, lowered, now):
    _, spent = sent(Budget(per_minute=limit), times)
    budget = Budget(per_minute=max(limit - lowered, 1))  # as when a new order comes
    wait = seconds_until(budget, spent, now)
    assert allows(budget, spent, now + wait + 1e-6)
    if wait > 1e-3:
        assert not allows(budget, spent, now + wait - 1e-3)


@given(
    events=st.lists(st.tuples(st.sampled_from(["hold", "hold", "use", "use", "drop"]), st.floats(0, 10)), min_size=12),
    limit=st.integers(1, 3),
    of_day=st.booleans(),
    start=st.floats(DAY_SECONDS - 30, DAY_SECONDS),
)
def test_what_is_under_way_counts_whenever_it_leaves(events, limit, of_day, start):
    """Around midnight: what was held before it and leaves after it spends the new day."""
    budget = Budget(per_day=limit) if of_day else Budget(per_minute=limit)
    spent, now, left, under_way = Spent(), start, [], 0
    for event, pause in events:
        now += pause
        if event == "hold" and allows(budget, spent, now):
            spent, under_way = hold(spent), under_way + 1
        elif event == "use" and under_way:
            spent, under_way = spend(budget, release(spent), now), under_way - 1
            left.append(now)
        elif event == "drop" and under_way:
            spent, under_way = release(spent), under_way - 1
    if of_day:
        assert all(sum(time // DAY_SECONDS == day for time in left) <= limit for day in (0, 1))
    else:
        assert all(sum(end - MINUTE_SECONDS < time <= end for time in left) <= limit for end in left)


def test_a_day_without_money_lets_nothing_leave_whatever_it_costs():
    assert not allows(Budget(usd_per_day=0.0), Spent(), 0.0)
    assert allows(Budget(usd_per_day=0.01), Spent(), 0.0)


def test_a_wait_for_a_new_day_ends_at_midnight():
    spent = spend(Budget(per_day=1), Spent(), DAY_SECONDS + 10.0)
    assert seconds_until(Budget(per_day=1), spent, DAY_SECONDS + 20.0) == DAY_SECONDS - 20.0


def test_a_price_replaces_what_was_paid():
    assert settle(Spent(usd=1.0), 0.5, 0.2).usd == 0.7


def test_after_a_restart_nothing_is_under_way_and_nothing_lies_ahead():
    kept = Spent(times=(5.0, 900.0), day=7, queries=3, held=2)
    assert taken_up(kept, 100.0) == Spent(times=(5.0, 100.0), day=0, queries=3)
