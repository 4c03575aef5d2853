"""Which certificates were given to whom, and which of them hold no more.

Rules:
 * Revoking somebody voids every certificate that it has; a later one, of a new enrolment, holds.
 * What can be renewed no more is forgotten, and so is its revocation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, delete, insert, select, update

from cloud_worker.identity.tokens import read_labels
from cloud_worker.state.schema import CERTIFICATES, IDENTITIES, REVOCATIONS
from router.identity.certificates import Certificate
from router.identity.names import Identity, Role

REVOKED, EXPIRED = "revoked", "certificate_expired"
RENEWABLE_SECONDS = 400 * 86_400.0  # after a certificate has ended


@dataclass(frozen=True, slots=True)
class Enrolled:
    """Somebody who has a certificate.

    Attributes:
        identity: Who.
        labels: What it was given.
        enrolled_at: Unix time in seconds.
        expires_at: When its last certificate ends, the same.
        revoked_at: The same, ``None`` while it is not.
    """

    identity: Identity
    labels: Mapping[str, str]
    enrolled_at: float
    expires_at: float
    revoked_at: float | None


class Register:
    """The register of everybody who has an identity in one fleet."""

    def __init__(self, engine: Engine) -> None:
        """Keep it in the database of ``engine``."""
        self._engine = engine

    def find(self, identity: Identity) -> Enrolled | None:
        """Somebody, ``None`` of whom nothing is known."""
        with self._engine.connect() as connection:
            return find_enrolled(connection, identity)

    def all(self, *roles: Role) -> list[Enrolled]:
        """Everybody of these roles, by role and name."""
        query = select(IDENTITIES).where(IDENTITIES.c.role.in_(roles)).order_by(IDENTITIES.c.role, IDENTITIES.c.name)
        with self._engine.connect() as connection:
            return [_enrolled(row) for row in connection.execute(query)]

    def troubled(self, role: Role, now: float) -> dict[str, str]:
        """Names of a role that can't come at Unix time ``now`` in seconds, and why: revoked, or its time is over."""
        gone = IDENTITIES.c.revoked_at.is_not(None) | (IDENTITIES.c.expires_at <= now)
        query = select(IDENTITIES.c.name, IDENTITIES.c.revoked_at).where(IDENTITIES.c.role == role.value, gone)
        with self._engine.connect() as connection:
            rows = connection.execute(query).all()
        return {row.name: EXPIRED if row.revoked_at is None else REVOKED for row in rows}

    def revoke(self, identity: Identity, now: float) -> bool:
        """Void every certificate of somebody at Unix time ``now`` in seconds; whether it has had any."""
        with self._engine.begin() as connection:
            return revoke(connection, identity, now)

    def revoked(self, now: float) -> frozenset[str]:
        """Serial numbers of what was revoked and might else be used at Unix time ``now`` in seconds."""
        query = select(REVOCATIONS.c.serial).where(REVOCATIONS.c.expires_at > now - RENEWABLE_SECONDS)
        with self._engine.connect() as connection:
            return frozenset(connection.execute(query).scalars())


def find_enrolled(connection: Connection, identity: Identity) -> Enrolled | None:
    """Somebody, locked until the transaction ends."""
    row = connection.execute(select(IDENTITIES).where(*_is(IDENTITIES, identity)).with_for_update()).first()
    return None if row is None else _enrolled(row)


def is_revoked(connection: Connection, serial: str) -> bool:
    """Whether a certificate was revoked."""
    return connection.execute(select(REVOCATIONS.c.serial).where(REVOCATIONS.c.serial == serial)).first() is not None


def chain_of(connection: Connection, identity: Identity, key_sha256: str, now: float) -> bytes | None:
    """The chain of the last certificate that somebody has for a key and that still holds, ``None`` without one."""
    mine = (*_is(CERTIFICATES, identity), CERTIFICATES.c.key_sha256 == key_sha256, CERTIFICATES.c.expires_at > now)
    revoked = select(REVOCATIONS.c.serial)
    query = select(CERTIFICATES.c.chain).where(*mine, CERTIFICATES.c.serial.not_in(revoked))
    found = connection.execute(query.order_by(CERTIFICATES.c.issued_at.desc()).limit(1)).scalar()
    return None if found is None else str(found).encode()


def keep(connection: Connection, identity: Identity, given: Certificate, chain: bytes, now: float) -> None:
    """Note a certificate that is about to be given."""
    old = now - RENEWABLE_SECONDS
    connection.execute(delete(CERTIFICATES).where(*_is(CERTIFICATES, identity), CERTIFICATES.c.expires_at < old))
    connection.execute(delete(REVOCATIONS).where(REVOCATIONS.c.expires_at < old))
    connection.execute(
        insert(CERTIFICATES).values(
            **{"role": identity.role.value, "name": identity.name, "serial": given.serial, "chain": chain.decode()},
            **{"key_sha256": given.key_sha256, "issued_at": now, "expires_at": given.ends},
        )
    )
    connection.execute(update(IDENTITIES).where(*_is(IDENTITIES, identity)).values(expires_at=given.ends))


def enrol(connection: Connection, identity: Identity, labels: Mapping[str, str], now: float) -> None:
    """Note that somebody joins, or joins again."""
    connection.execute(delete(IDENTITIES).where(*_is(IDENTITIES, identity)))
    connection.execute(
        insert(IDENTITIES).values(
            **{"role": identity.role.value, "name": identity.name, "labels": json.dumps(dict(labels))},
            **{"enrolled_at": now, "expires_at": now, "revoked_at": None},
        )
    )


def revoke(connection: Connection, identity: Identity, now: float) -> bool:
    """Void every certificate of somebody; whether it has had any."""
    known = set(connection.execute(select(REVOCATIONS.c.serial).where(*_is(REVOCATIONS, identity))).scalars())
    given = connection.execute(
        select(CERTIFICATES.c.serial, CERTIFICATES.c.expires_at).where(*_is(CERTIFICATES, identity))
    ).all()
    rows = [
        {"serial": row.serial, "expires_at": row.expires_at, "revoked_at": now}
        | {"role": identity.role.value, "name": identity.name}
        for row in given
        if row.serial not in known
    ]
    if rows:
        connection.execute(insert(REVOCATIONS), rows)
    connection.execute(update(IDENTITIES).where(*_is(IDENTITIES, identity)).values(revoked_at=now))
    return bool(given)


def _is(table: Any, identity: Identity) -> tuple[Any, Any]:
    return table.c.role == identity.role.value, table.c.name == identity.name


def _enrolled(row: Any) -> Enrolled:
    identity = Identity(Role(row.role), row.name)
    return Enrolled(identity, read_labels(row.labels), row.enrolled_at, row.expires_at, row.revoked_at)
