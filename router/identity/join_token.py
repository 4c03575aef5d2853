"""The text of an enrolment token, as an operator hands it to whoever sets up a device.

hr1.<id>.<secret>.<digest of the fleet's root>
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from router.core.errors import ConfigError

_MARK = "hr1"
_DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True)
class JoinToken:
    """What a token says: its public ``id``, its ``secret``, and the SHA-256 of the root that its fleet has."""

    id: str
    secret: str
    root_sha256: bytes


def write_token(token: JoinToken) -> str:
    """A token as text."""
    return ".".join((_MARK, token.id, token.secret, base64.urlsafe_b64encode(token.root_sha256).rstrip(b"=").decode()))


def read_token(text: str) -> JoinToken:
    """The token that a text spells.

    Raises:
        ConfigError: It spells none: a part may be missing.
    """
    parts = text.strip().split(".")
    try:
        mark, name, secret, root = parts
        digest = base64.b64decode(root + "=" * (-len(root) % 4), altchars=b"-_", validate=True)
        if mark != _MARK or not name or not secret or len(digest) != _DIGEST_BYTES or not text.isascii():
            raise ValueError
    except (ValueError, binascii.Error) as error:
        raise ConfigError(
            "--token", "", "is no token; copy all of what `headrace-cloud tokens create` printed"
        ) from error
    return JoinToken(name, secret, digest)


def read_fingerprint(text: str) -> bytes:
    """A SHA-256 as people copy it: hex, with or without colons; 32 bytes.

    Raises:
        ConfigError: It is no such digest.
    """
    try:
        digest = bytes.fromhex(text.strip().removeprefix("sha256:").replace(":", ""))
    except ValueError:
        digest = b""
    if len(digest) != _DIGEST_BYTES:
        raise ConfigError("--ca-fingerprint", "", "is no SHA-256; `headrace-cloud ca status` shows the one to give")
    return digest
