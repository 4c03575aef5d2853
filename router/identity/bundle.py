"""The files of an identity: what shows who somebody is, and whom it trusts.

    <folder>/identity.pem       key and certificate chain, readable by its owner alone
    <folder>/authorities.pem    the root of the fleet
    <folder>/bearer             in place of the first: a token for one agent, readable by its owner alone

Rules:
 * Key and certificate lie in one file, written whole: they always belong together.
 * A key that others can read is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from router.core.errors import ConfigError
from router.io.atomic_write import write_whole

IDENTITY_FILE, AUTHORITIES_FILE, BEARER_FILE = "identity.pem", "authorities.pem", "bearer"
_OTHERS = 0o077
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.+?-----END \1-----\n?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Bundle:
    """An identity, all in PEM.

    Attributes:
        key: The private key, in plain.
        chain: Its certificate first, then its issuer's.
        authorities: Whom it trusts.
        bearer: A token in place of key and chain, empty without.
    """

    key: bytes
    chain: bytes
    authorities: bytes
    bearer: str = ""


def write_bundle(folder: Path, bundle: Bundle) -> None:
    """Put an identity in place of the one before.

    Raises:
        OSError: Nothing was changed, or only the authorities were.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_whole(folder / AUTHORITIES_FILE, bundle.authorities)
    if bundle.bearer:
        write_whole(folder / BEARER_FILE, f"{bundle.bearer}\n".encode())
    else:
        write_whole(folder / IDENTITY_FILE, bundle.key + bundle.chain)  # made with mode 600


def read_bundle(folder: Path) -> Bundle:
    """The identity in a folder.

    Raises:
        ConfigError: There is none, it can't be read, or others can read its key.
    """
    has_bearer = (folder / BEARER_FILE).exists() and not (folder / IDENTITY_FILE).exists()
    path = folder / (BEARER_FILE if has_bearer else IDENTITY_FILE)
    try:
        if path.stat().st_mode & _OTHERS:
            raise ConfigError(str(path), "", "holds a secret that others can read; chmod 600 it")
        both, authorities = path.read_bytes(), (folder / AUTHORITIES_FILE).read_bytes()
    except OSError as error:
        raise ConfigError(str(error.filename or path), "", f"can't be read: {error.strerror}") from error
    if has_bearer:
        return Bundle(b"", b"", authorities, both.decode(errors="replace").strip())
    blocks = {match[1]: match[0] for match in _BLOCK.finditer(both)}
    chain = b"".join(match[0] for match in _BLOCK.finditer(both) if match[1] == b"CERTIFICATE")
    key = next((block for kind, block in blocks.items() if kind.endswith(b"PRIVATE KEY")), b"")
    if not key or not chain or b"BEGIN CERTIFICATE" not in authorities:
        raise ConfigError(str(path), "", "and its authorities hold no whole identity; enrol again, or make it anew")
    return Bundle(key, chain, authorities)


def changed_at(folder: Path) -> int:
    """What differs once another identity lies there; 0 where there is none."""
    try:
        return (folder / IDENTITY_FILE).stat().st_mtime_ns
    except OSError:
        return 0
