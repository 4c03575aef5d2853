"""What a device keeps of its identity, in ``<data>/identity``.

    identity.pem, authorities.pem    see ``router.identity.bundle``
    cloud                            where it enrolled, and renews: ``HOST:PORT``
    pending.pem                      a key whose certificate has not come yet
    root.json                        the first root by which releases are believed, where the cloud has one

Rules:
 * A key is on the disk before a certificate is asked for it: an answer that was lost is asked for again with that key.
 * The folder is its owner's alone.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from router.core.errors import BadInputError, ConfigError, StartError
from router.identity.bundle import Bundle, read_bundle, write_bundle
from router.identity.certificates import (
    Certificate,
    PrivateKey,
    key_from_pem,
    key_to_pem,
    new_key,
    read_certificate,
)
from router.io.atomic_write import write_whole

_CLOUD, _PENDING, _ROOT = "cloud", "pending.pem", "root.json"


class IdentityFolder:
    """The folder of one device's identity.

    Attributes:
        path: Where it is.
    """

    def __init__(self, data: Path) -> None:
        """Name the folder in the data folder; nothing is touched yet."""
        self.path = data / "identity"

    @property
    def exists(self) -> bool:
        """Whether this device has enrolled."""
        return (self.path / "identity.pem").exists()

    def bundle(self) -> Bundle:
        """Key, chain and authorities.

        Raises:
            ConfigError: They can't be read.
        """
        return read_bundle(self.path)

    def certificate(self) -> Certificate:
        """What its certificate says.

        Raises:
            ConfigError: It can't be read.
        """
        try:
            return read_certificate(self.bundle().chain)
        except BadInputError as error:
            raise ConfigError(str(self.path), "", f"{error}; enrol again") from error

    def cloud(self) -> str:
        """Where it enrolled, ``HOST:PORT``.

        Raises:
            ConfigError: It can't be read.
        """
        try:
            return (self.path / _CLOUD).read_text().strip()
        except (OSError, ValueError) as error:
            raise ConfigError(str(self.path / _CLOUD), "", "can't be read; enrol again") from error

    def root(self) -> bytes:
        """The first root of the cloud's repository of releases, empty where none came with enrolment.

        Raises:
            ConfigError: It can't be read; releases are not taken unsigned for that.
        """
        try:
            return (self.path / _ROOT).read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise ConfigError(str(self.path / _ROOT), "", f"can't be read: {error.strerror}; enrol again") from error

    def keep_root(self, root: bytes) -> None:
        """Keep the first root, where one came.

        Raises:
            OSError: It can't be kept.
        """
        if root:
            write_whole(self.path / _ROOT, root)

    def pending_key(self) -> PrivateKey:
        """The key of a certificate to come, made and kept now unless there is one.

        Raises:
            OSError: It can't be kept.
        """
        path = self.path / _PENDING
        with contextlib.suppress(OSError, ValueError):
            return key_from_pem(path.read_bytes())
        key = new_key()
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(path, key_to_pem(key))  # made with mode 600
        return key

    def keep(self, key: PrivateKey, chain: bytes, authorities: bytes, cloud: str = "") -> None:
        """Put a certificate that has come in place of the one before.

        Raises:
            OSError: It can't be kept; the key stays pending.
        """
        if cloud:
            write_whole(self.path / _CLOUD, f"{cloud}\n".encode())
        write_bundle(self.path, Bundle(key_to_pem(key), chain, authorities))
        (self.path / _PENDING).unlink(missing_ok=True)


def check_enrolled(folder: IdentityFolder, device: str) -> None:
    """Check that this device has a certificate, and that it is its own.

    Raises:
        StartError: It has not enrolled.
        ConfigError: Its certificate can't be read, or names another.
    """
    if not folder.exists:
        raise StartError(
            "this device has not enrolled: `headrace-edge enroll --cloud HOST:PORT --token ...` does it, or use"
            " --insecure with addresses on this machine"
        )
    identity = folder.certificate().identity
    if identity is None or identity.name != device:
        named = "nobody" if identity is None else repr(identity.name)
        raise ConfigError("device", device, f"is not whom its certificate names, {named}; enrol again, or rename")
