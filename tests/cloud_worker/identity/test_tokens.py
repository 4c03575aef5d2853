import pytest

from cloud_worker.identity.tokens import Tokens, TokenState, find_token, use_token
from cloud_worker.state.database.engine import writing
from cloud_worker.state.store import Store
from router.core.errors import DeniedError
from router.identity.join_token import JoinToken, read_token

NOW, HOUR, ROOT = 1_800_000_000.0, 3600.0, bytes(32)


@pytest.fixture
def engine(state_url):
    return Store(state_url).engine


def test_a_token_is_found_by_its_secret_alone_and_only_a_hash_is_stored(engine):
    token = read_token(Tokens(engine).create("kitchen", {"site": "berlin"}, ROOT, "ada", NOW, HOUR))
    assert token.root_sha256 == ROOT
    with engine.connect() as connection:
        stored = connection.exec_driver_sql("SELECT * FROM tokens").one()
    assert token.secret not in str(stored)
    with writing(engine) as connection:
        found = find_token(connection, token)
        assert (found.device, found.labels, found.made_by) == ("kitchen", {"site": "berlin"}, "ada")
        for wrong in (JoinToken(token.id, "guess", ROOT), JoinToken("none", token.secret, ROOT)):
            with pytest.raises(DeniedError, match="not known here"):
                find_token(connection, wrong)


def test_a_token_is_open_then_used_expired_or_revoked(engine):
    tokens = Tokens(engine)
    names = [read_token(tokens.create("", {"a": "b"}, ROOT, "ada", NOW + number, HOUR)).id for number in range(3)]
    assert [token.state(NOW + 10) for token in tokens.all()] == [TokenState.OPEN] * 3
    with writing(engine) as connection:
        use_token(connection, tokens.all()[0], "kitchen", "ab" * 32, NOW + 20)
    assert tokens.revoke(names[1], NOW + 20).state(NOW + 20) is TokenState.OPEN
    assert [token.id for token in tokens.all()] == names
    states = [token.state(NOW + 2 * HOUR) for token in tokens.all()]
    assert states == [TokenState.USED, TokenState.REVOKED, TokenState.EXPIRED]
    assert tokens.revoke(names[0], NOW + 30).state(NOW + 30) is TokenState.USED
    assert tokens.all()[0].state(NOW) is TokenState.USED
    assert tokens.revoke("none", NOW) is None


def test_what_expired_long_ago_is_forgotten(engine):
    tokens = Tokens(engine)
    tokens.create("old", {}, ROOT, "ada", NOW, HOUR)
    tokens.create("new", {}, ROOT, "ada", NOW + 91 * 24 * HOUR, HOUR)
    assert [token.device for token in tokens.all()] == ["new"]
