import pytest

from cloud_worker.identity.register import RENEWABLE_SECONDS, Register, chain_of, enrol, is_revoked, keep
from cloud_worker.state.database.engine import writing
from cloud_worker.state.store import Store
from router.identity.certificates import Certificate
from router.identity.names import Identity, Role

NOW, DAY = 1_800_000_000.0, 86_400.0
KITCHEN = Identity(Role.DEVICE, "kitchen")
SAME_NAME = Identity(Role.CLIENT, "kitchen")


@pytest.fixture
def engine(state_url):
    return Store(state_url).engine


def give(engine, identity, serial, key="aa", now=NOW, days=30):
    given = Certificate(identity, serial, now, now + days * DAY, key)
    with writing(engine) as connection:
        keep(connection, identity, given, f"chain {serial}".encode(), now)


def join(engine, identity, now=NOW, **labels):
    with writing(engine) as connection:
        enrol(connection, identity, labels, now)


def test_the_same_key_is_given_the_same_certificate_while_that_holds(engine):
    join(engine, KITCHEN, site="berlin")
    give(engine, KITCHEN, "1")
    with engine.connect() as connection:
        assert chain_of(connection, KITCHEN, "aa", NOW + DAY) == b"chain 1"
        assert chain_of(connection, KITCHEN, "bb", NOW + DAY) is None
        assert chain_of(connection, SAME_NAME, "aa", NOW + DAY) is None
        assert chain_of(connection, KITCHEN, "aa", NOW + 31 * DAY) is None
    assert Register(engine).find(KITCHEN).labels == {"site": "berlin"}
    assert Register(engine).find(KITCHEN).expires_at == NOW + 30 * DAY


def test_revoking_voids_all_that_was_given_and_nothing_that_comes_later(engine):
    register = Register(engine)
    join(engine, KITCHEN)
    join(engine, SAME_NAME)
    give(engine, KITCHEN, "1")
    give(engine, KITCHEN, "2", now=NOW + 20 * DAY)
    give(engine, SAME_NAME, "3")
    assert register.revoke(KITCHEN, NOW + 21 * DAY)
    assert register.revoke(KITCHEN, NOW + 22 * DAY)
    assert register.revoked(NOW + 21 * DAY) == {"1", "2"}
    assert register.find(KITCHEN).revoked_at is not None
    assert register.find(SAME_NAME).revoked_at is None
    with engine.connect() as connection:
        assert chain_of(connection, KITCHEN, "aa", NOW + 21 * DAY) is None
        assert is_revoked(connection, "2")
    join(engine, KITCHEN, now=NOW + 23 * DAY)
    give(engine, KITCHEN, "4", now=NOW + 23 * DAY)
    assert register.revoked(NOW + 23 * DAY) == {"1", "2"}
    assert register.find(KITCHEN).revoked_at is None
    assert not register.revoke(Identity(Role.DEVICE, "unknown"), NOW)


def test_what_can_be_renewed_no_more_is_forgotten(engine):
    register = Register(engine)
    join(engine, KITCHEN)
    give(engine, KITCHEN, "1")
    register.revoke(KITCHEN, NOW)
    later = NOW + 30 * DAY + RENEWABLE_SECONDS + 1
    assert register.revoked(later - 2) == {"1"}
    assert register.revoked(later) == frozenset()
    give(engine, KITCHEN, "2", now=later)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT serial FROM certificates").scalars().all() == ["2"]
        assert not is_revoked(connection, "1")


def test_everybody_of_a_role_is_listed(engine):
    for identity in (KITCHEN, SAME_NAME, Identity(Role.OPERATOR, "ada")):
        join(engine, identity)
    known = Register(engine).all(Role.CLIENT, Role.OPERATOR)
    assert [one.identity for one in known] == [SAME_NAME, Identity(Role.OPERATOR, "ada")]
