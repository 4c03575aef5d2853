import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.identity.clock import Clock, by_certificate, by_offset
from edge_agent.identity.condition import REMEDIES, Facts, State, states
from router.identity.certificates import Certificate
from router.transport.connection_failures import FailureKind

SHOWN = Certificate(None, "1", 1000.0, 2000.0, "")
FACTS = st.builds(
    Facts,
    away=st.lists(st.sampled_from(FailureKind), max_size=3).map(tuple),
    refused=st.booleans(),
    revoked=st.booleans(),
    certificate_ends=st.none() | st.floats(0, 10),
    now=st.floats(0, 10),
    clock=st.sampled_from(Clock),
    storage=st.lists(st.sampled_from(["ok", "disk_full", "database_locked", "disk_unwritable", "?"])).map(tuple),
)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (Facts(), [State.OK]),
        (Facts(away=(FailureKind.NOBODY,)), [State.OFFLINE]),
        (Facts(away=(FailureKind.NAME, FailureKind.NAME)), [State.NAME_UNRESOLVED]),
        (Facts(away=(FailureKind.STRANGER,)), [State.NOT_TRUSTED]),
        (Facts(away=(FailureKind.NOBODY, FailureKind.NAME)), [State.NAME_UNRESOLVED, State.OFFLINE]),
        (Facts(clock=Clock.AHEAD, away=(FailureKind.STRANGER,)), [State.CLOCK_AHEAD]),
        (Facts(refused=True), [State.REFUSED]),
        (Facts(refused=True, revoked=True), [State.REVOKED]),
        (Facts(certificate_ends=1.0, now=2.0, away=(FailureKind.NOBODY,)), [State.CERTIFICATE_EXPIRED]),
        (Facts(clock=Clock.AHEAD, certificate_ends=1.0, now=2.0, away=(FailureKind.NOBODY,)), [State.CLOCK_AHEAD]),
        (Facts(clock=Clock.BEHIND, away=(FailureKind.NOBODY,)), [State.CLOCK_BEHIND]),
        (Facts(storage=("ok", "disk_full")), [State.DISK_FULL]),
        (Facts(storage=("database_locked", "ok"), away=(FailureKind.NOBODY,)), [State.DATABASE_LOCKED, State.OFFLINE]),
        (Facts(storage=("disk_unwritable",)), [State.DISK_UNWRITABLE]),
    ],
)
def test_each_trouble_has_its_own_state(facts, expected):
    assert list(states(facts)) == expected


@given(FACTS)
def test_there_is_always_a_state_and_ok_stands_alone(facts):
    found = states(facts)
    assert found
    assert len(set(found)) == len(found)
    assert (State.OK in found) == (found == (State.OK,))


def test_every_trouble_has_a_remedy_of_its_own():
    remedies = [REMEDIES[state] for state in State if state is not State.OK]
    assert all(remedies)
    assert len(set(remedies)) == len(remedies)


@pytest.mark.parametrize(("now", "clock"), [(999, "clock_behind"), (1000, "ok"), (2000, "ok"), (2001, "clock_ahead")])
def test_a_clock_outside_of_a_gateways_certificate_is_wrong(now, clock):
    assert by_certificate(SHOWN, now) == clock


@pytest.mark.parametrize(("offset", "clock"), [(-61, "clock_behind"), (-60, "ok"), (60, "ok"), (61, "clock_ahead")])
def test_a_clock_a_minute_off_is_wrong(offset, clock):
    assert by_offset(offset) == clock
