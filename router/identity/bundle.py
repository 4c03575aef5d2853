"""The files of an identity: what shows who somebody is, and whom it trusts.

    <folder>/identity.pem       key and certificate chain, readable by its owner alone
    <folder>/authorities.pem    the root of the fleet

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

IDENTITY_FILE, AUTHORITIES_FILE = "identity.pem", "authorities.pem"
_OTHERS = 0o077
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.+?-----END \1-----\n?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Bundle:
    """An identity, all in PEM.

    Attributes:
        key: The private key, in plain.
        chain: Its certificate first, then its issuer's.
        authorities: Whom it trusts.
    """

    key: bytes
    chain: bytes
    authorities: bytes


def write_bundle(folder: Path, bundle: Bundle) -> None:
    """Put an identity in place of the one before.

    Raises:
        OSError: Nothing was changed, or only the authorities were.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_whole(folder / AUTHORITIES_FILE, bundle.authorities)
    write_whole(folder / IDENTITY_FILE, bundle.key + bundle.chain)  # made with mode 600


def read_bundle(folder: Path) -> Bundle:
    """The identity in a folder.

    Raises:
        ConfigError: There is none, it can't be read, or others can read its key.
    """
    path = folder / IDENTITY_FILE
    try:
        if path.stat().st_mode & _OTHERS:
            raise ConfigError(str(path), "", "holds a key that others can read; chmod 600 it")
        both, authorities = path.read_bytes(), (folder / AUTHORITIES_FILE).read_bytes()
    except OSError as error:
        raise ConfigError(str(error.filename or path), "", f"can't be read: {error.strerror}") from error
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
