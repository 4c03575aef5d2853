import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.errors import ConfigError
from router.core.release.reports import DEVICE_NAME
from router.identity.join_token import JoinToken, read_fingerprint, read_token, write_token
from router.identity.names import GATEWAY_SERVER, Identity, Role, identity_of

NAMES = st.from_regex(DEVICE_NAME, fullmatch=True).filter(lambda name: len(name) <= 64 and name != "anonymous")


@given(st.sampled_from(Role), NAMES)
def test_an_identity_is_read_back_from_its_uri(role, name):
    assert identity_of(Identity(role, name).uri) == Identity(role, name)


@given(st.text(max_size=80))
def test_any_other_uri_names_nobody(text):
    found = identity_of("spiffe://headrace/" + text)
    assert found is None or found.uri == "spiffe://headrace/" + text
    assert identity_of(text) is None or text.startswith("spiffe://headrace/")


@pytest.mark.parametrize(
    "uri",
    [
        "spiffe://headrace/device/anonymous",
        "spiffe://headrace/device/",
        "spiffe://headrace/device/a/b",
        "spiffe://headrace/admin/a",
        "spiffe://elsewhere/device/a",
        "https://headrace/device/a",
        "",
    ],
)
def test_what_is_no_identity_of_ours_names_nobody(uri):
    assert identity_of(uri) is None


@given(NAMES, NAMES)
def test_callers_and_doors_of_two_identities_differ(one, other):
    identities = {Identity(role, name) for role in Role for name in (one, other)}
    assert len({identity.caller for identity in identities}) == len(identities)
    devices = {identity for identity in identities if identity.role is Role.DEVICE}
    doors = {identity.server.lower() for identity in devices}
    assert len(doors) == len(devices)
    assert GATEWAY_SERVER not in doors


def test_a_token_is_read_back_and_a_part_of_one_is_refused():
    token = JoinToken("3f9c", "secret-_", bytes(range(32)))
    text = write_token(token)
    assert read_token(f" {text}\n") == token
    for cut in range(len(text)):
        with pytest.raises(ConfigError, match="--token"):
            read_token(text[:cut])


@pytest.mark.parametrize("spelt", [b"\7" * 32, b"\0" * 32])
def test_a_fingerprint_is_read_as_people_copy_it(spelt):
    text = spelt.hex()
    colons = ":".join(text[at : at + 2] for at in range(0, 64, 2)).upper()
    assert read_fingerprint(text) == read_fingerprint(f"sha256:{text}") == read_fingerprint(colons) == spelt
    for wrong in ("", "zz", text[:-2], text + "00"):
        with pytest.raises(ConfigError, match="--ca-fingerprint"):
            read_fingerprint(wrong)
