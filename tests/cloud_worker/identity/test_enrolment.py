"""Who is given a certificate, by the rules; the clock is an argument."""

import secrets

import pytest

from cloud_worker.identity.authority import make_authority, open_issuer, renew_issuing
from cloud_worker.identity.enrolment import Enrolments
from cloud_worker.identity.register import RENEWABLE_SECONDS, Register, enrol
from cloud_worker.identity.tokens import Tokens
from cloud_worker.state.database.engine import writing
from cloud_worker.state.store import Store
from router.core.errors import BadInputError, DeniedError, RevokedError
from router.identity.certificates import new_key, read_certificate, request_for, sign_renewal
from router.identity.names import Identity, Role

WORDS, ROOT_WORDS = b"correct horse battery", b"staple of the offline root"
NOW, DAY = 1_800_000_000.0, 86_400.0


class Cloud:
    """A cloud whose clock stands still until it is set."""

    def __init__(self, url, folder):
        self.now, self.folder = NOW, folder
        self.trust = make_authority(folder / "ca", folder / "root", WORDS, ROOT_WORDS, NOW)
        self.store = Store(url)
        self.engine, self.tokens = self.store.engine, Tokens(self.store.engine)
        self.enrolments = Enrolments(self.engine, self.issuer, 30 * DAY, lambda: self.now)

    def issuer(self):
        return open_issuer(self.folder / "ca", WORDS)

    def token(self, device="", days=1, **labels):
        return self.tokens.create(device, labels, self.trust.root_sha256, "ada", self.now, days * DAY)

    def join(self, device="", key=None, token=None, **labels):
        """A new device; its key and what it was given."""
        key = key or new_key()
        token = token or self.token(device, **labels)
        return key, self.enrolments.enrol(token, request_for(key), device).chain

    def renew(self, key, chain, fresh=None, by=None):
        request = request_for(fresh or new_key())
        return self.enrolments.renew(chain, request, sign_renewal(by or key, request)).chain


@pytest.fixture
def cloud(state_url, tmp_path):
    return Cloud(state_url, tmp_path)


@pytest.fixture
def small(tmp_path):
    return Cloud(f"sqlite:///{tmp_path / 'fleet.sqlite'}", tmp_path)


def test_a_token_enrols_the_device_that_it_names(cloud):
    _, chain = cloud.join("kitchen")
    said = read_certificate(chain)
    assert (said.identity, said.ends) == (Identity(Role.DEVICE, "kitchen"), NOW + 30 * DAY)
    assert cloud.tokens.all()[0].used_by == "kitchen"
    assert cloud.enrolments.authorities() == cloud.trust.root_pem


def test_a_token_by_label_enrols_any_new_device_and_gives_it_the_labels(cloud):
    cloud.join("kitchen", token=cloud.token(site="berlin"))
    assert Register(cloud.engine).find(Identity(Role.DEVICE, "kitchen")).labels == {"site": "berlin"}


def test_the_same_key_with_the_same_token_gets_the_same_certificate_and_another_key_none(cloud):
    token, key = cloud.token("kitchen", days=1), new_key()
    _, first = cloud.join("kitchen", key, token)
    cloud.now += 2 * DAY  # the token has expired meanwhile: what it gave stays given
    for device in ("kitchen", ""):
        assert cloud.enrolments.enrol(token, request_for(key), device).chain == first
    with pytest.raises(DeniedError, match="has been used"):
        cloud.join("kitchen", token=token)
    cloud.now += 30 * DAY
    with pytest.raises(DeniedError, match="has been used"):
        cloud.join("kitchen", key, token)


def test_expired_revoked_and_unknown_tokens_enrol_nobody(small):
    expired = small.token("kitchen", days=1)
    small.now += DAY
    with pytest.raises(DeniedError, match="expired"):
        small.join("kitchen", token=expired)
    revoked = small.token("kitchen")
    small.tokens.revoke(small.tokens.all()[1].id, small.now)
    with pytest.raises(DeniedError, match="revoked"):
        small.join("kitchen", token=revoked)
    mark, name, _, root = revoked.split(".")
    with pytest.raises(DeniedError, match="not known"):
        small.join("kitchen", token=".".join((mark, name, secrets.token_urlsafe(32), root)))
    with pytest.raises(BadInputError, match="token"):
        small.join("kitchen", token="guess")
    assert Register(small.engine).find(Identity(Role.DEVICE, "kitchen")) is None


def test_a_token_for_one_name_enrols_no_other(small):
    with pytest.raises(DeniedError, match="another name"):
        small.join("garage", token=small.token("kitchen"))
    for name in ("", "anonymous", "a/b", "x" * 65):
        with pytest.raises(BadInputError, match="device"):
            small.join(name, token=small.token(site="berlin"))


def test_a_token_by_label_never_takes_the_name_of_another_device(small):
    small.join("kitchen")
    taken = small.token(site="berlin")
    with pytest.raises(DeniedError, match="has enrolled before"):
        small.join("kitchen", token=taken)
    Register(small.engine).revoke(Identity(Role.DEVICE, "kitchen"), small.now)
    with pytest.raises(DeniedError, match="has enrolled before"):
        small.join("kitchen", token=taken)
    small.join("garage", token=taken)


def test_a_device_that_is_replaced_loses_its_certificate_and_the_new_one_never_learns_the_seed(small):
    seed = small.store.device("kitchen").seed
    old, chain = small.join("kitchen")
    small.join("kitchen")
    assert small.store.find_device("kitchen").seed != seed
    assert read_certificate(chain).serial in Register(small.engine).revoked(small.now)
    with pytest.raises(RevokedError):
        small.renew(old, chain)


def test_a_certificate_is_renewed_with_proof_of_its_key_alone(cloud):
    key, chain = cloud.join("kitchen")
    cloud.now += 20 * DAY
    renewed = read_certificate(cloud.renew(key, chain))
    assert (renewed.identity.name, renewed.ends) == ("kitchen", cloud.now + 30 * DAY)
    with pytest.raises(BadInputError, match="proof"):
        cloud.renew(key, chain, by=new_key())


def test_a_repeated_renewal_of_the_same_new_key_gets_the_same_certificate(small):
    key, chain = small.join("kitchen")
    small.now += 20 * DAY
    fresh = new_key()
    again = small.renew(key, chain, fresh)
    small.now += DAY
    assert small.renew(key, chain, fresh) == again
    small.now += 20 * DAY
    assert read_certificate(small.renew(fresh, again, fresh)).ends == small.now + 30 * DAY


def test_sixty_days_asleep_and_400_days_after_its_end_a_certificate_is_renewed_and_not_a_day_later(small):
    key, chain = small.join("kitchen")
    small.now = NOW + 60 * DAY
    small.renew(key, chain)
    small.now = NOW + 30 * DAY + RENEWABLE_SECONDS
    small.renew(key, chain)
    small.now += 1
    with pytest.raises(DeniedError, match="400 days"):
        small.renew(key, chain)


def test_a_revoked_device_renews_nothing_and_enrols_again_with_a_new_token(small):
    key, chain = small.join("kitchen")
    Register(small.engine).revoke(Identity(Role.DEVICE, "kitchen"), small.now)
    with pytest.raises(RevokedError, match="revoked"):
        small.renew(key, chain)
    key, chain = small.join("kitchen")
    small.renew(key, chain)


def test_what_another_authority_gave_is_not_renewed(small, tmp_path):
    (tmp_path / "other").mkdir()
    stranger = Cloud(f"sqlite:///{tmp_path / 'other' / 'fleet.sqlite'}", tmp_path / "other")
    key, chain = stranger.join("kitchen")
    with pytest.raises(DeniedError, match="none of this fleet"):
        small.renew(key, chain)


def test_what_a_former_issuer_gave_is_renewed_until_it_is_distrusted(small):
    key, chain = small.join("kitchen")
    ca, root = small.folder / "ca", small.folder / "root"
    renew_issuing(ca, root, WORDS, ROOT_WORDS, small.now, distrust=False)
    small.renew(key, chain)
    renew_issuing(ca, root, WORDS, ROOT_WORDS, small.now, distrust=True)
    with pytest.raises(DeniedError, match="trusted no more"):
        small.renew(key, chain)


def test_after_the_database_was_lost_devices_renew_all_the_same(small, tmp_path):
    key, chain = small.join("kitchen")
    small.engine = Store(f"sqlite:///{tmp_path / 'new.sqlite'}").engine
    small.enrolments = Enrolments(small.engine, small.issuer, 30 * DAY, lambda: small.now)
    small.renew(key, chain)
    assert Register(small.engine).find(Identity(Role.DEVICE, "kitchen")) is not None


def test_clients_are_not_renewed_here(small):
    key, identity = new_key(), Identity(Role.CLIENT, "app")
    issuer = small.issuer()
    chain = issuer.chain(issuer.issue(identity, key.public_key(), NOW, DAY))
    with writing(small.engine) as connection:
        enrol(connection, identity, {}, NOW)
    with pytest.raises(DeniedError, match="no certificate of a device"):
        small.renew(key, chain)
