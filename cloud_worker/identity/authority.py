"""The certificate authority: a root that stays offline, and an issuing key that gateways use.

Rules:
 * The root signs issuing certificates and nothing else. Its key never lies in the data folder.
 * Both keys are encrypted, each with a passphrase of its own, and readable by their owner alone.
 * Key and certificate of an issuer lie in one file, written whole: they always belong together.
 * A former issuing certificate stays trusted until it ends, unless it is distrusted.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from cloud_worker.identity.passphrases import check_strength
from router.core.errors import ConfigError, OperatorError
from router.identity.certificates import (
    PrivateKey,
    PublicKey,
    certificates_in,
    fingerprint,
    is_issued_by,
    key_from_pem,
    new_key,
    to_pem,
)
from router.identity.names import Identity, Role
from router.io.atomic_write import write_whole

ROOT_DAYS, ISSUING_DAYS = 20 * 365, 2 * 365
WARN_DAYS = 90  # before an issuing certificate ends
CLOCK_SECONDS = 3600.0  # by which the clock of whoever is shown a certificate may be late
_ROOT, _ISSUING, _FORMER, _ROOT_KEY = "root.crt", "issuing.pem", "former.crt", "root.key"
_DAY = 86_400.0
_USAGES = {
    Role.DEVICE: (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH),
    Role.CLIENT: (ExtendedKeyUsageOID.CLIENT_AUTH,),
    Role.OPERATOR: (ExtendedKeyUsageOID.CLIENT_AUTH,),
    Role.GATEWAY: (ExtendedKeyUsageOID.SERVER_AUTH,),
}


@dataclass(frozen=True, slots=True)
class Trust:
    """What is known of an authority without its passphrase.

    Attributes:
        root: Trusted by devices and clients.
        issuing: Signs now.
        former: Have signed before, and are still trusted.
    """

    root: x509.Certificate
    issuing: x509.Certificate
    former: tuple[x509.Certificate, ...] = ()

    @property
    def root_pem(self) -> bytes:
        """The root, as devices and clients keep it."""
        return to_pem([self.root])

    @property
    def issuers_pem(self) -> bytes:
        """Everybody whose certificates gateways take, as TLS wants it: a thief's issuer is left out, not the root."""
        return to_pem([self.issuing, *self.former])

    @property
    def root_sha256(self) -> bytes:
        """Digest of the root, 32 bytes."""
        return fingerprint(self.root)

    def has_issued(self, certificate: x509.Certificate) -> bool:
        """Whether a certificate bears the signature of a trusted issuer, however long ago it ended."""
        return any(is_issued_by(certificate, issuer) for issuer in (self.issuing, *self.former))


@dataclass(frozen=True, slots=True)
class Issuer:
    """An authority whose issuing key is open."""

    trust: Trust
    key: PrivateKey

    def issue(self, identity: Identity, key: PublicKey, now: float, seconds: float) -> x509.Certificate:
        """A certificate of ``key`` that names ``identity``, from ``now`` on for ``seconds``, or until its issuer ends.

        Raises:
            OperatorError: The issuing certificate has ended.
        """
        ends = min(now + seconds, self.trust.issuing.not_valid_after_utc.timestamp())
        if ends <= now:
            raise OperatorError("the issuing certificate has ended: `headrace-cloud ca renew` makes another")
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(identity.uri)]
        if identity.role in {Role.DEVICE, Role.GATEWAY}:
            names.append(x509.DNSName(identity.server))
        builder = (
            _builder(_named(""), self.trust.issuing.subject, key, now - CLOCK_SECONDS, ends)
            .add_extension(x509.SubjectAlternativeName(names), critical=True)  # as RFC 5280 wants beside no subject
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(_USAGES[identity.role]), critical=False)
            .add_extension(_issuer_of(self.trust.issuing), critical=False)
        )
        return builder.sign(self.key, hashes.SHA256())

    def chain(self, certificate: x509.Certificate) -> bytes:
        """A certificate as its owner shows it: with its issuer's."""
        return to_pem([certificate, self.trust.issuing])


def make_authority(folder: Path, root_folder: Path, passphrase: bytes, root_passphrase: bytes, now: float) -> Trust:
    """Make an authority.

    Args:
        folder: Of what gateways use.
        root_folder: Of the root's key; another one, and best on another disk.
        passphrase: Of the issuing key.
        root_passphrase: Of the root's key.
        now: Unix time in seconds.

    Raises:
        ConfigError: A folder holds an authority already, or a passphrase is too short.
        OSError: A folder can't be written.
    """
    if root_folder.resolve() == folder.resolve():
        raise ConfigError("--root", str(root_folder), "is where gateways read; take a folder that you can lock away")
    if passphrase == root_passphrase:
        raise ConfigError("--root-passphrase-file", "", "holds the passphrase of the issuing key; use another one")
    for path in (folder / _ROOT, root_folder / _ROOT_KEY):
        if path.exists():
            raise ConfigError(str(path), "", "is there already; an authority is made once, and never over another")
    for words in (passphrase, root_passphrase):
        check_strength(words)
    key = new_key()
    name = _named("Headrace root")
    builder = _builder(name, name, key.public_key(), now - CLOCK_SECONDS, now + ROOT_DAYS * _DAY)
    root = _of_authority(builder, 1).sign(key, hashes.SHA256())
    issuing = _issuing_pem(root, key, passphrase, now)
    write_whole(root_folder / _ROOT_KEY, _encrypted(key, root_passphrase))
    write_whole(root_folder / _ROOT, to_pem([root]))
    write_whole(folder / _ISSUING, issuing)
    write_whole(folder / _ROOT, to_pem([root]))  # last: with it there is an authority
    return read_trust(folder)


def renew_issuing(
    folder: Path, root_folder: Path, passphrase: bytes, root_passphrase: bytes, now: float, *, distrust: bool
) -> Trust:
    """Make another issuing key, signed by the root.

    Args:
        folder: Of what gateways use.
        root_folder: Of the root's key.
        passphrase: Of the new issuing key.
        root_passphrase: Of the root's key.
        now: Unix time in seconds.
        distrust: Trust nothing any more that a former issuing key signed: it may have been stolen.

    Raises:
        ConfigError: A passphrase is wrong, or this is another authority's root.
    """
    trust = read_trust(folder)
    check_strength(passphrase)
    key = _opened(root_folder / _ROOT_KEY, root_passphrase)
    if key.public_key() != trust.root.public_key():
        raise ConfigError("--root", str(root_folder), "holds the root of another authority")
    issuing = _issuing_pem(trust.root, key, passphrase, now)
    kept = [] if distrust else [trust.issuing, *trust.former]
    write_whole(folder / _FORMER, to_pem([one for one in kept if one.not_valid_after_utc.timestamp() > now]))
    write_whole(folder / _ISSUING, issuing)
    return read_trust(folder)


def read_trust(folder: Path) -> Trust:
    """An authority without its keys.

    Raises:
        ConfigError: There is none, or it can't be read.
    """
    try:
        [root] = certificates_in((folder / _ROOT).read_bytes())
        [issuing] = certificates_in((folder / _ISSUING).read_bytes())
        former = (folder / _FORMER).read_bytes() if (folder / _FORMER).exists() else b""
        found = Trust(root, issuing, tuple(certificates_in(former)) if former else ())
    except FileNotFoundError as error:
        raise ConfigError(
            str(folder), "", "holds no certificate authority; `headrace-cloud ca init` makes one, or use --insecure"
            " with addresses on this machine"
        ) from error  # fmt: skip
    except (OSError, ValueError) as error:
        raise ConfigError(str(folder), "", f"holds a certificate authority that can't be read: {error}") from error
    if not is_issued_by(found.issuing, found.root):
        raise ConfigError(str(folder), _ISSUING, "was not signed by the root beside it")
    return found


def open_issuer(folder: Path, passphrase: bytes) -> Issuer:
    """An authority with its issuing key.

    Raises:
        ConfigError: There is none, it can't be read, or the passphrase is wrong.
    """
    trust = read_trust(folder)
    key = _opened(folder / _ISSUING, passphrase)
    if key.public_key() != trust.issuing.public_key():
        trust = read_trust(folder)  # it was renewed between the two
        key = _opened(folder / _ISSUING, passphrase)
    return Issuer(trust, key)


def changed_at(folder: Path) -> tuple[int, ...]:
    """What differs once the authority in a folder has changed."""
    paths = (folder / name for name in (_ISSUING, _FORMER))
    return tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in paths)


def days_left(certificate: x509.Certificate, now: float | None = None) -> float:
    """Days until a certificate ends, below 0 once it has."""
    at = time.time() if now is None else now
    return (certificate.not_valid_after_utc.timestamp() - at) / _DAY


def issuing_days_left(folder: Path) -> float | None:
    """Days until the issuing certificate in a folder ends, ``None`` where there is no authority that can be read."""
    try:
        return round(days_left(read_trust(folder).issuing), 1)
    except ConfigError:
        return None


def _issuing_pem(root: x509.Certificate, root_key: PrivateKey, passphrase: bytes, now: float) -> bytes:
    key = new_key()
    ends = min(now + ISSUING_DAYS * _DAY, root.not_valid_after_utc.timestamp())
    builder = _builder(
        _named(f"Headrace issuing {_day(now)}"), root.subject, key.public_key(), now - CLOCK_SECONDS, ends
    )
    certificate = _of_authority(builder, 0).add_extension(_issuer_of(root), critical=False)
    return _encrypted(key, passphrase) + to_pem([certificate.sign(root_key, hashes.SHA256())])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: PublicKey, starts: float, ends: float
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_utc(starts))
        .not_valid_after(_utc(ends))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _of_authority(builder: x509.CertificateBuilder, below: int) -> x509.CertificateBuilder:
    return builder.add_extension(x509.BasicConstraints(ca=True, path_length=below), critical=True).add_extension(
        _key_usage(signs_certificates=True), critical=True
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    others = dict.fromkeys(
        (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        **others,
    )


def _issuer_of(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    known = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(known)


def _named(name: str) -> x509.Name:
    attributes: Sequence[x509.NameAttribute[str]] = [x509.NameAttribute(x509.NameOID.COMMON_NAME, name)] if name else []
    return x509.Name(attributes)


def _encrypted(key: PrivateKey, passphrase: bytes) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase))


def _opened(path: Path, passphrase: bytes) -> PrivateKey:
    try:
        return key_from_pem(path.read_bytes(), passphrase)
    except OSError as error:
        raise ConfigError(str(path), "", f"can't be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(str(path), "", "can't be opened: the passphrase is not that of this key") from error


def _utc(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


def _day(seconds: float) -> str:
    return _utc(seconds).date().isoformat()
