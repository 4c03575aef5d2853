"""Who is given a certificate: by a token at first, by the certificate before from then on.

Rules:
 * A repeated request of the same key gets the certificate that was given: an answer that was lost costs nothing.
 * A token that names no device enrols new names alone; one that names a device replaces it, and voids what it had.
 * With a new key the device gets a new exploration seed at its next report: what the name before knew is worth nothing.
 * A certificate that has ended is renewed for 400 days, by whoever has its key, unless it was revoked.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, update

from cloud_worker.identity.authority import Issuer
from cloud_worker.identity.register import (
    RENEWABLE_SECONDS,
    chain_of,
    enrol,
    find_enrolled,
    is_revoked,
    keep,
    revoke,
)
from cloud_worker.identity.tokens import Token, TokenState, find_token, use_token
from cloud_worker.state.database.engine import writing
from cloud_worker.state.schema import DEVICES
from router.core.errors import BadInputError, ConfigError, DeniedError, RevokedError
from router.core.policy.exploration import SEED_BYTES
from router.identity.certificates import (
    PublicKey,
    certificates_in,
    check_renewal,
    key_of_request,
    key_sha256,
    said_by,
)
from router.identity.join_token import JoinToken, read_token
from router.identity.names import Identity, Role, is_name

_FRESH = 0.5  # of the time that a certificate holds: a repeated renewal gets the same one while more than that is left


@dataclass(frozen=True, slots=True)
class Given:
    """What a device is given: its certificate chain and the root that it trusts, both in PEM."""

    chain: bytes
    authorities: bytes


class Enrolments:
    """The enrolments of one fleet's devices."""

    def __init__(
        self, engine: Engine, issuer: Callable[[], Issuer], seconds: float, clock: Callable[[], float] = time.time
    ) -> None:
        """Enrol into the database of ``engine``.

        Args:
            engine: Of the fleet's state.
            issuer: Gives the authority as it is now.
            seconds: How long a certificate holds.
            clock: Tells Unix time in seconds.
        """
        self._engine, self._issuer, self._seconds, self._clock = engine, issuer, seconds, clock

    def authorities(self) -> bytes:
        """The root of the fleet, in PEM."""
        return self._issuer().trust.root_pem

    def enrol(self, token: str, request: bytes, device: str) -> Given:
        """A certificate for a device that has a token.

        Args:
            token: As it was made.
            request: PKCS#10 in DER.
            device: Its name; may be empty where the token names one.

        Raises:
            BadInputError: The request or the name is none.
            DeniedError: The token is not for this device, or for none any more.
        """
        key, shown, issuer, now = key_of_request(request), _token(token), self._issuer(), self._clock()
        with writing(self._engine) as connection:
            known = find_token(connection, shown)
            if known.used_at is not None:
                chain = _given_before(connection, known, key_sha256(key), now)
            else:
                identity = Identity(Role.DEVICE, _name(known, device))
                _check_open(known, now)
                self._check_name(connection, known, identity, now)
                revoke(connection, identity, now)
                enrol(connection, identity, known.labels, now)
                chain = self._give(connection, issuer, identity, key, now)
                use_token(connection, known, identity.name, key_sha256(key), now)
                _reseed(connection, identity.name)
        return Given(chain, issuer.trust.root_pem)

    def renew(self, certificate: bytes, request: bytes, proof: bytes) -> Given:
        """Another certificate for a device that has one.

        Args:
            certificate: The chain that it has, in PEM.
            request: PKCS#10 in DER, best of a new key.
            proof: Made by ``sign_renewal`` with the key that it has.

        Raises:
            BadInputError: The request is none, or the proof is of another key.
            RevokedError: The certificate was revoked.
            DeniedError: It is none of this fleet, or ended too long ago.
        """
        key, issuer, now = key_of_request(request), self._issuer(), self._clock()
        try:
            shown = certificates_in(certificate)[0]
        except ValueError as error:
            raise BadInputError("certificate", "is none that can be read, in PEM") from error
        if not issuer.trust.has_issued(shown):
            raise DeniedError("this certificate is none of this fleet, or its issuer is trusted no more; enrol again")
        before, holder = said_by(shown), shown.public_key()
        if before.identity is None or before.identity.role is not Role.DEVICE or not isinstance(holder, PublicKey):
            raise DeniedError("this is no certificate of a device; its holder is given another one by the operator")
        check_renewal(holder, request, proof)
        if now > before.ends + RENEWABLE_SECONDS:
            raise DeniedError("this certificate ended more than 400 days ago; enrol again with a new token")
        identity = before.identity
        with writing(self._engine) as connection:
            if is_revoked(connection, before.serial):
                raise RevokedError("this certificate was revoked; enrol again with a new token")
            if find_enrolled(connection, identity) is None:
                enrol(connection, identity, {}, now)  # the database was lost
            again = None
            if key_sha256(key) != before.key_sha256:
                again = chain_of(connection, identity, key_sha256(key), now + _FRESH * self._seconds)
            chain = again or self._give(connection, issuer, identity, key, now)
        return Given(chain, issuer.trust.root_pem)

    def _give(self, connection: Connection, issuer: Issuer, identity: Identity, key: PublicKey, now: float) -> bytes:
        certificate = issuer.issue(identity, key, now, self._seconds)
        chain = issuer.chain(certificate)
        keep(connection, identity, said_by(certificate), chain, now)
        return chain

    def _check_name(self, connection: Connection, token: Token, identity: Identity, now: float) -> None:
        found = find_enrolled(connection, identity)
        if found is not None and not token.device and now < found.expires_at + RENEWABLE_SECONDS:
            raise DeniedError(
                f"a device called {identity.name!r} has enrolled before; choose another name, or ask for a token for it"
            )


def _token(text: str) -> JoinToken:
    try:
        return read_token(text)
    except ConfigError as error:
        raise BadInputError("token", error.problem) from error


def _name(token: Token, device: str) -> str:
    if token.device and device not in {"", token.device}:
        raise DeniedError("this token is for a device of another name; enrol under that name, or ask for another token")
    name = token.device or device
    if not is_name(name):
        raise BadInputError("device", "is no name of a device; use letters, digits, '.', '_' and '-', up to 64")
    return name


def _check_open(token: Token, now: float) -> None:
    state = token.state(now)
    if state is not TokenState.OPEN:
        raise DeniedError(f"this token is {state}; whoever operates the cloud makes another one")


def _given_before(connection: Connection, token: Token, key: str, now: float) -> bytes:
    chain = None
    if token.key_sha256 == key:
        chain = chain_of(connection, Identity(Role.DEVICE, token.used_by), key, now)
    if chain is None:
        raise DeniedError("this token has been used; whoever operates the cloud makes another one")
    return chain


def _reseed(connection: Connection, device: str) -> None:
    seed = {"seed": secrets.token_bytes(SEED_BYTES)}
    connection.execute(update(DEVICES).where(DEVICES.c.id == device).values(**seed))
