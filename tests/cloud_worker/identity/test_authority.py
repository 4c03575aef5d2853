import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from cloud_worker.identity.authority import (
    ISSUING_DAYS,
    changed_at,
    days_left,
    make_authority,
    open_issuer,
    read_trust,
    renew_issuing,
)
from router.core.errors import ConfigError, OperatorError
from router.identity.certificates import certificates_in, is_issued_by, new_key, said_by
from router.identity.names import Identity, Role

WORDS, ROOT_WORDS = b"correct horse battery", b"staple of the offline root"
NOW, DAY = 1_800_000_000.0, 86_400.0
KITCHEN = Identity(Role.DEVICE, "kitchen")


@pytest.fixture
def folders(tmp_path):
    make_authority(tmp_path / "ca", tmp_path / "root", WORDS, ROOT_WORDS, NOW)
    return tmp_path / "ca", tmp_path / "root"


def test_both_keys_are_encrypted_and_readable_by_their_owner_alone(folders):
    ca, root = folders
    for path in (ca / "issuing.pem", root / "root.key"):
        assert b"BEGIN ENCRYPTED PRIVATE KEY" in path.read_bytes()
        assert path.stat().st_mode & 0o777 == 0o600
    assert not (ca / "root.key").exists()
    with pytest.raises(ConfigError, match="the passphrase is not that of this key"):
        open_issuer(ca, ROOT_WORDS)


def test_the_root_signs_the_issuer_and_the_issuer_signs_who_comes(folders):
    issuer = open_issuer(folders[0], WORDS)
    key = new_key()
    certificate = issuer.issue(KITCHEN, key.public_key(), NOW, 30 * DAY)
    said = said_by(certificate)
    assert said.identity == KITCHEN
    assert (said.ends - NOW) / DAY == pytest.approx(30)
    assert said.starts < NOW
    assert issuer.trust.has_issued(certificate)
    assert [one.serial_number for one in certificates_in(issuer.chain(certificate))] == [
        certificate.serial_number,
        issuer.trust.issuing.serial_number,
    ]
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert issuer.trust.issuing.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0


@pytest.mark.parametrize(
    ("role", "usages"),
    [
        (Role.DEVICE, {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}),
        (Role.CLIENT, {ExtendedKeyUsageOID.CLIENT_AUTH}),
        (Role.OPERATOR, {ExtendedKeyUsageOID.CLIENT_AUTH}),
        (Role.GATEWAY, {ExtendedKeyUsageOID.SERVER_AUTH}),
    ],
)
def test_only_a_gateway_has_a_gateways_name_and_it_is_no_client(folders, role, usages):
    issuer = open_issuer(folders[0], WORDS)
    certificate = issuer.issue(Identity(role, "gateway"), new_key().public_key(), NOW, DAY)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    hosts = names.get_values_for_type(x509.DNSName)
    assert ("gateway.headrace.internal" in hosts) == (role is Role.GATEWAY)
    said = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(said) == usages


def test_no_certificate_outlives_its_issuer(folders):
    issuer = open_issuer(folders[0], WORDS)
    late = NOW + (ISSUING_DAYS - 1) * DAY
    assert said_by(issuer.issue(KITCHEN, new_key().public_key(), late, 30 * DAY)).ends == NOW + ISSUING_DAYS * DAY
    with pytest.raises(OperatorError, match="ca renew"):
        issuer.issue(KITCHEN, new_key().public_key(), NOW + ISSUING_DAYS * DAY, DAY)


def test_a_renewed_issuer_is_taken_and_the_former_one_stays_trusted_unless_it_is_distrusted(folders):
    ca, root = folders
    before = open_issuer(ca, WORDS)
    old = before.issue(KITCHEN, new_key().public_key(), NOW, DAY)
    stamp = changed_at(ca)
    trust = renew_issuing(ca, root, b"another long passphrase", ROOT_WORDS, NOW + DAY, distrust=False)
    assert changed_at(ca) != stamp
    assert trust.issuing != before.trust.issuing
    assert is_issued_by(trust.issuing, trust.root)
    assert trust.has_issued(old)
    assert days_left(trust.issuing, NOW) == pytest.approx(ISSUING_DAYS + 1)
    trust = renew_issuing(ca, root, WORDS, ROOT_WORDS, NOW + DAY, distrust=True)
    assert not trust.has_issued(old)
    assert trust.former == ()


def test_an_authority_is_never_made_over_another(folders):
    ca, root = folders
    for folder, where in ((ca, root.parent / "root2"), (ca.parent / "ca2", root)):
        with pytest.raises(ConfigError, match="is there already"):
            make_authority(folder, where, WORDS, ROOT_WORDS, NOW)


def test_what_would_leave_the_root_in_reach_of_a_gateway_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="lock away"):
        make_authority(tmp_path / "ca", tmp_path / "ca", WORDS, ROOT_WORDS, NOW)
    with pytest.raises(ConfigError, match="use another one"):
        make_authority(tmp_path / "ca", tmp_path / "root", WORDS, WORDS, NOW)
    with pytest.raises(ConfigError, match="use 16 or more"):
        make_authority(tmp_path / "ca", tmp_path / "root", b"short", ROOT_WORDS, NOW)
    assert list(tmp_path.iterdir()) == []


def test_another_authoritys_root_renews_nothing(folders, tmp_path):
    make_authority(tmp_path / "ca2", tmp_path / "root2", WORDS, ROOT_WORDS, NOW)
    with pytest.raises(ConfigError, match="another authority"):
        renew_issuing(folders[0], tmp_path / "root2", WORDS, ROOT_WORDS, NOW, distrust=False)


def test_no_authority_and_a_damaged_one_say_what_to_do(folders, tmp_path):
    with pytest.raises(ConfigError, match="headrace-cloud ca init"):
        read_trust(tmp_path / "none")
    (folders[0] / "issuing.pem").write_bytes(b"spoilt")
    with pytest.raises(ConfigError, match="can't be read"):
        read_trust(folders[0])
