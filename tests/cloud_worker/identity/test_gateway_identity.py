import pytest

from cloud_worker.identity.authority import make_authority, renew_issuing
from cloud_worker.identity.gateway_identity import DAY_SECONDS, GatewayIdentity
from router.core.errors import ConfigError
from router.identity.certificates import certificates_in, read_certificate
from router.identity.names import Identity, Role

WORDS, ROOT_WORDS = b"correct horse battery", b"staple of the offline root"
NOW = 1_800_000_000.0


class World:
    """A folder with an authority, and a clock."""

    def __init__(self, folder):
        self.folder, self.now = folder, NOW
        make_authority(folder / "ca", folder / "root", WORDS, ROOT_WORDS, NOW)

    def identity(self, **options):
        return GatewayIdentity(self.folder / "ca", WORDS, "gateway-0", clock=lambda: self.now, **options)


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_the_same_certificate_is_shown_for_two_thirds_of_its_week(world):
    identity = world.identity()
    first = identity.material()
    said = read_certificate(first.chain)
    assert (said.identity, said.ends) == (Identity(Role.GATEWAY, "gateway-0"), NOW + 7 * DAY_SECONDS)
    world.now += 4.6 * DAY_SECONDS
    assert identity.material() is first
    world.now += 0.1 * DAY_SECONDS
    second = identity.material()
    assert second is not first
    assert second.key != first.key
    assert read_certificate(second.chain).ends == world.now + 7 * DAY_SECONDS


def test_a_renewed_authority_is_taken_up(world, monkeypatch):
    monkeypatch.setattr("cloud_worker.identity.gateway_identity._CHECK_SECONDS", 0.0)
    identity = world.identity()
    first = identity.material()
    renew_issuing(world.folder / "ca", world.folder / "root", WORDS, ROOT_WORDS, NOW, distrust=True)
    second = identity.material()
    assert certificates_in(second.chain)[1] != certificates_in(first.chain)[1]
    assert len(certificates_in(second.authorities)) == 1
    assert identity.issuer().trust.former == ()


def test_an_authority_that_can_not_be_opened_any_more_is_told(world, monkeypatch):
    monkeypatch.setattr("cloud_worker.identity.gateway_identity._CHECK_SECONDS", 0.0)
    identity = world.identity()
    (world.folder / "ca" / "issuing.pem").write_bytes(b"spoilt")
    with pytest.raises(ConfigError, match="can't be read"):
        identity.material()


def test_without_an_authority_no_gateway_starts(tmp_path):
    with pytest.raises(ConfigError, match="ca init"):
        GatewayIdentity(tmp_path / "ca", WORDS, "gateway-0")
