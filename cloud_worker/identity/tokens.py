"""Enrolment tokens: who may join, until when, once.

Rules:
 * A token is ``hr1.<id>.<secret>.<root>``: a public id, 32 random bytes, and the digest of the fleet's root, so that
   whoever holds it knows whom to trust. Of the secret only a hash is stored.
 * It is for one device by name, or for any new one, which then has the token's labels.
 * It is used by one key: the same key may use it again, for an answer that never arrived.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Engine, delete, insert, select, update

from cloud_worker.state.schema import TOKENS
from router.core.errors import DeniedError
from router.identity.join_token import JoinToken, write_token

_ID_BYTES, _SECRET_BYTES = 5, 32
_KEPT_SECONDS = 90 * 86_400.0  # after it has expired


class TokenState(StrEnum):
    """What a token is good for."""

    OPEN = "open"
    USED = "used"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it is stored.

    Attributes:
        id: Public; names it in lists.
        device: Whom it is for, empty for any new device.
        labels: What the device is given.
        made_by: Who made it.
        created_at: Unix time in seconds.
        expires_at: The same.
        revoked_at: The same, ``None`` while it is not.
        used_at: The same.
        used_by: The device that used it, empty before.
        key_sha256: Of the key that used it, empty before.
    """

    id: str
    device: str
    labels: Mapping[str, str]
    made_by: str
    created_at: float
    expires_at: float
    revoked_at: float | None
    used_at: float | None
    used_by: str
    key_sha256: str

    def state(self, now: float) -> TokenState:
        """What it is good for at Unix time ``now`` in seconds."""
        if self.used_at is not None:
            return TokenState.USED
        if self.revoked_at is not None:
            return TokenState.REVOKED
        return TokenState.OPEN if now < self.expires_at else TokenState.EXPIRED


class Tokens:
    """The tokens of one fleet."""

    def __init__(self, engine: Engine) -> None:
        """Keep them in the database of ``engine``."""
        self._engine = engine

    def create(
        self, device: str, labels: Mapping[str, str], root_sha256: bytes, who: str, now: float, seconds: float
    ) -> str:
        """Make a token; returns its text, which can't be had again.

        Args:
            device: Whom it is for, empty for any new device.
            labels: What the device is given.
            root_sha256: Of the fleet's root, 32 bytes.
            who: Who makes it.
            now: Unix time in seconds.
            seconds: How long it may be used.
        """
        secret = base64.urlsafe_b64encode(secrets.token_bytes(_SECRET_BYTES)).rstrip(b"=").decode()
        name = secrets.token_hex(_ID_BYTES)
        row = {
            **{"id": name, "secret_sha256": _hashed(secret), "device": device, "labels": json.dumps(dict(labels))},
            **{"made_by": who, "created_at": now, "expires_at": now + seconds, "used_by": "", "key_sha256": ""},
        }
        with self._engine.begin() as connection:
            connection.execute(delete(TOKENS).where(TOKENS.c.expires_at < now - _KEPT_SECONDS))
            connection.execute(insert(TOKENS).values(**row))
        return write_token(JoinToken(name, secret, root_sha256))

    def all(self) -> list[Token]:
        """Every token, oldest first."""
        with self._engine.connect() as connection:
            return [
                _token(row) for row in connection.execute(select(TOKENS).order_by(TOKENS.c.created_at, TOKENS.c.id))
            ]

    def revoke(self, name: str, now: float) -> Token | None:
        """Let a token be used no more, and tell it as it was before; ``None`` where there is none of that id."""
        with self._engine.begin() as connection:
            row = connection.execute(select(TOKENS).where(TOKENS.c.id == name)).first()
            if row is None:
                return None
            unused = (TOKENS.c.id == name) & TOKENS.c.used_at.is_(None) & TOKENS.c.revoked_at.is_(None)
            connection.execute(update(TOKENS).where(unused).values(revoked_at=now))
        return _token(row)


def find_token(connection: Connection, token: JoinToken) -> Token:
    """The token that somebody shows, locked until the transaction ends.

    Raises:
        DeniedError: There is none with that id and secret.
    """
    row = connection.execute(select(TOKENS).where(TOKENS.c.id == token.id).with_for_update()).first()
    known = "" if row is None else row.secret_sha256
    if row is None or not hmac.compare_digest(known, _hashed(token.secret)):
        raise DeniedError("this token is not known here; whoever operates the cloud makes another one")
    return _token(row)


def use_token(connection: Connection, token: Token, device: str, key: str, now: float) -> None:
    """Note who has used a token, once."""
    used = {"used_at": now, "used_by": device, "key_sha256": key}
    connection.execute(update(TOKENS).where(TOKENS.c.id == token.id).values(**used))


def _hashed(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _token(row: Any) -> Token:
    values = dict(row._mapping)
    values.pop("secret_sha256")
    return Token(**{**values, "labels": read_labels(row.labels)})


def read_labels(text: str) -> dict[str, str]:
    """Labels as the database holds them; none where a disk has spoilt them."""
    try:
        said = json.loads(text)
    except ValueError:
        return {}
    return {str(key): str(value) for key, value in said.items()} if isinstance(said, dict) else {}
