"""Keys and certificates, by ``cryptography``: what is asked for, and what one says.

Rules:
 * Keys are ECDSA on P-256, which every TLS library takes; signatures are over SHA-256.
 * Times are Unix seconds. A certificate holds from ``starts`` to ``ends``, both included.
 * What is no certificate of ours is a ``BadInputError``, whatever a library says of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from router.core.errors import BadInputError
from router.identity.names import Identity, identity_of

PrivateKey = ec.EllipticCurvePrivateKey
PublicKey = ec.EllipticCurvePublicKey
_SIGNED_BY = ec.ECDSA(hashes.SHA256())
_RENEWAL = b"headrace renewal v1\0"  # so that the signature says nothing else


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate says.

    Attributes:
        identity: Whom it names, ``None`` where that is nobody of ours.
        serial: In hex.
        starts: Unix time in seconds from which it holds.
        ends: The same until which it does.
        key_sha256: Digest of its public key, in hex.
    """

    identity: Identity | None
    serial: str
    starts: float
    ends: float
    key_sha256: str


def new_key() -> PrivateKey:
    """A fresh key."""
    return ec.generate_private_key(ec.SECP256R1())


def key_to_pem(key: PrivateKey) -> bytes:
    """A key as a file holds it, in plain: the file's mode keeps it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def key_from_pem(pem: bytes, passphrase: bytes | None = None) -> PrivateKey:
    """The key in a file.

    Raises:
        ValueError: There is none, it is of another kind, or the passphrase is wrong.
    """
    try:
        key = load_pem_private_key(pem, passphrase)
    except (TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(str(error)) from error
    if not isinstance(key, PrivateKey):
        raise ValueError("the key is of another kind than ECDSA")
    return key


def request_for(key: PrivateKey) -> bytes:
    """A request (PKCS#10, DER) for a certificate of ``key``; who it is for is said beside it."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion)


def key_of_request(request: bytes, field: str = "certificate_request") -> PublicKey:
    """The key that a request is for; its signature shows that the sender has it.

    Raises:
        BadInputError: It is no request, of another kind of key, or not signed by that key.
    """
    try:
        read = x509.load_der_x509_csr(request)
        key, is_signed = read.public_key(), read.is_signature_valid
    except _UNREADABLE as error:
        raise BadInputError(field, "is no PKCS#10 request in DER") from error
    if not isinstance(key, PublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise BadInputError(field, "is for another key than ECDSA on P-256")
    if not is_signed:
        raise BadInputError(field, "is not signed by its own key")
    return key


def key_sha256(key: PublicKey) -> str:
    """Digest of a public key, in hex."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def sign_renewal(key: PrivateKey, request: bytes) -> bytes:
    """Show that whoever asks for ``request`` has the key of the certificate before."""
    return key.sign(_RENEWAL + request, _SIGNED_BY)


def check_renewal(key: PublicKey, request: bytes, proof: bytes) -> None:
    """Check what ``sign_renewal`` made.

    Raises:
        BadInputError: It was made by another key, or for another request.
    """
    try:
        key.verify(proof, _RENEWAL + request, _SIGNED_BY)
    except InvalidSignature as error:
        raise BadInputError("proof", "is not a signature of the request by the certificate's key") from error


def certificates_in(pem: bytes) -> list[x509.Certificate]:
    """The certificates in a file, in its order.

    Raises:
        ValueError: There is none, or one can't be read.
    """
    try:
        return x509.load_pem_x509_certificates(pem)
    except x509.InvalidVersion as error:
        raise ValueError(str(error)) from error


def to_pem(certificates: Sequence[x509.Certificate]) -> bytes:
    """Certificates as a file holds them."""
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def fingerprint(certificate: x509.Certificate) -> bytes:
    """SHA-256 of a certificate, 32 bytes."""
    return certificate.fingerprint(hashes.SHA256())


def said_by(certificate: x509.Certificate) -> Certificate:
    """What a certificate says.

    Raises:
        BadInputError: It has another kind of key.
    """
    key = certificate.public_key()
    if not isinstance(key, PublicKey):
        raise BadInputError("certificate", "has another key than ECDSA")
    return Certificate(
        _identity_in(certificate),
        f"{certificate.serial_number:x}",
        certificate.not_valid_before_utc.timestamp(),
        certificate.not_valid_after_utc.timestamp(),
        key_sha256(key),
    )


def read_certificate(pem: bytes) -> Certificate:
    """What the first certificate in a file says.

    Raises:
        BadInputError: There is none that can be read.
    """
    try:
        return said_by(certificates_in(pem)[0])
    except _UNREADABLE as error:
        raise BadInputError("certificate", "is none that can be read, in PEM") from error


def is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether a certificate bears the signature of ``issuer``. When either holds is not looked at."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _identity_in(certificate: x509.Certificate) -> Identity | None:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return None
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return identity_of(uris[0]) if len(uris) == 1 else None
