"""What one caller forges moves neither certificate nor watch by more than an honest device's share could."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from router.core.certification.device_shares import DEVICE_SHARE, SLACK_ROWS, shared_fairly
from router.core.certification.fleet_watch import FleetWatch
from router.core.domain.record import Record

LIAR = "liar"
PROMISE, ALPHA = 0.02, 0.05

# Who gives the next row: an honest device by its number, or -1 for the liar.
ORDERS = st.lists(st.integers(-1, 5), max_size=300)


def row(position, caller, lost=False):
    at, said = float(position), "off" if lost else "on"
    return Record(caller, f"q{position}", "big", "v1", "home", 1, at, at, "", "on", local_answer=said)


def rows_of(order, honest, lies):
    names = [LIAR if who < 0 else f"device-{who % honest}" for who in order]
    return [row(position, name, lost=lies and name == LIAR) for position, name in enumerate(names)]


@settings(max_examples=150, deadline=None)
@given(order=ORDERS, honest=st.integers(1, 6), flood=st.integers(0, 400), first=st.booleans())
def test_a_certificate_takes_no_more_of_a_liar_than_an_equal_part_and_the_slack(order, honest, flood, first):
    forged = [row(10_000 + position, LIAR, lost=True) for position in range(flood)]
    rows = rows_of(order, honest, lies=True)
    rows = forged + rows if first else rows + forged
    names = frozenset(one.caller for one in rows)
    chosen = shared_fairly(rows, Counter(), names)
    given_by = Counter(one.caller for one in chosen)
    share = max(DEVICE_SHARE, 1 / max(len(names), 1))
    assert given_by[LIAR] <= share * len(chosen) + SLACK_ROWS + 1


@settings(max_examples=100, deadline=None)
@given(order=ORDERS, honest=st.integers(1, 6))
def test_what_a_liar_says_chooses_no_row_of_a_certificate(order, honest):
    names = frozenset({LIAR, *(f"device-{number}" for number in range(honest))})
    lying, flattering = (shared_fairly(rows_of(order, honest, lies), Counter(), names) for lies in (True, False))
    assert [one.key for one in lying] == [one.key for one in flattering]


@settings(max_examples=150, deadline=None)
@given(order=ORDERS, honest=st.integers(1, 6), flood=st.integers(0, 300))
def test_beyond_its_share_more_forged_rows_take_no_row_of_the_others_away(order, honest, flood):
    names = frozenset({LIAR, *(f"device-{number}" for number in range(honest))})
    rows = [one for one in rows_of(order, honest, lies=True) if one.caller != LIAR]
    enough = [row(10_000 + position, LIAR, lost=True) for position in range(len(rows) + SLACK_ROWS + 1)]
    more = [row(20_000 + position, LIAR, lost=True) for position in range(flood)]
    taken, again = (
        [one.key for one in shared_fairly(rows + forged, Counter(), names) if one.caller != LIAR]
        for forged in (enough, enough + more)
    )
    assert taken == again


@settings(max_examples=60, deadline=None)
@given(order=ORDERS, honest=st.integers(2, 6), flood=st.integers(0, 100), first=st.booleans())
def test_whatever_one_device_forges_and_when_it_alarms_no_fleet_whose_others_lose_nothing(order, honest, flood, first):
    watch, at = FleetWatch(PROMISE, ALPHA), 0.0
    for number in range(honest):
        watch.meet(f"device-{number}", at)
    names = [LIAR if who < 0 else f"device-{who % honest}" for who in order]
    for name in [LIAR] * flood + names if first else names + [LIAR] * flood:
        at += 1.0
        watch.meet(name, at)
        watch.update(name, lost=name == LIAR)
    assert not watch.freeze().alarmed
