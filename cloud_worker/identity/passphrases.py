"""Passphrases of keys: from a file that its owner alone can read, or from the environment."""

from __future__ import annotations

import os
from pathlib import Path

from cloud_worker.config.cloud import CloudConfig
from router.core.errors import ConfigError

VARIABLE, ROOT_VARIABLE = "HEADRACE_CA_PASSPHRASE", "HEADRACE_CA_ROOT_PASSPHRASE"
LEAST_BYTES = 16
_OTHERS = 0o077


def read_passphrase(file: Path | None, variable: str, option: str) -> bytes:
    """A passphrase.

    Args:
        file: Holds it in its first line; ``None`` for the environment.
        variable: Of the environment.
        option: Names the file, for the message.

    Raises:
        ConfigError: There is none, or others can read the file.
    """
    if file is None:
        said = os.environ.get(variable, "")
        if not said:
            raise ConfigError(option, "", f"is missing; name a file that holds a passphrase, or set {variable}")
        return said.encode()
    try:
        if file.stat().st_mode & _OTHERS:
            raise ConfigError(option, str(file), "can be read by others; chmod 600 it")
        first = file.read_bytes().split(b"\n", 1)[0].strip()
    except OSError as error:
        raise ConfigError(option, str(file), f"can't be read: {error.strerror}") from error
    if not first:
        raise ConfigError(option, str(file), "is empty; its first line is the passphrase")
    return first


def passphrase_of(config: CloudConfig, file: Path | None = None) -> bytes:
    """The passphrase of the issuing key: from ``file``, from the one that is configured, or from the environment.

    Raises:
        ConfigError: There is none, or others can read the file.
    """
    return read_passphrase(file or config.identity.passphrase_file, VARIABLE, "identity.passphrase_file")


def passphrase_of_releases(config: CloudConfig, file: Path | None = None) -> bytes:
    """The passphrase of the online keys that sign releases: where none is configured, that of the issuing key.

    Raises:
        ConfigError: There is none, or others can read the file.
    """
    found = file or config.releases.passphrase_file or config.identity.passphrase_file
    return read_passphrase(found, VARIABLE, "releases.passphrase_file")


def check_strength(passphrase: bytes) -> None:
    """Refuse what is guessed too easily: the key's file may be stolen.

    Raises:
        ConfigError: It is too short.
    """
    if len(passphrase) < LEAST_BYTES:
        raise ConfigError(
            "passphrase",
            "",
            f"has {len(passphrase)} bytes; use {LEAST_BYTES} or more, such as of openssl rand -base64 24",
        )
