"""Keys that sign: encrypted files, or keys in a service or token that a URI names.

Rules:
 * A folder of keys lists them in one file: role, public key, and the URI by which the private one is found.
 * A private key that lies in a file is encrypted, and readable by its owner alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.signer import SIGNER_FOR_URI_SCHEME, CryptoSigner, Key, Signer, SSlibKey
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata

from router.core.errors import ConfigError, OperatorError
from router.io.atomic_write import write_whole

LIST = "release-keys.json"
SCHEME = "encrypted-file"
_NOT_THERE = "holds no keys of releases; `headrace-cloud keys init` makes them"


@dataclass(frozen=True, slots=True)
class ListedKey:
    """A key of a folder.

    Attributes:
        role: What it signs: ``root``, ``targets``, ``models`` or ``online`` (snapshot and timestamp).
        uri: Where the private key is; of a file, its name in the folder.
        public: The public key.
    """

    role: str
    uri: str
    public: Key


class EncryptedFileSigner(CryptoSigner):
    """Signs with a key in an encrypted PEM file: ``encrypted-file:<path>``, which a passphrase opens."""

    SCHEME = SCHEME

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: Callable[[str], str] | None = None
    ) -> EncryptedFileSigner:
        """Open the signer, called as securesystemslib calls it.

        Raises:
            ValueError: The passphrase is wrong, or the file holds another key.
            OSError: The file can't be read.
        """
        if secrets_handler is None or not isinstance(public_key, SSlibKey):
            raise ValueError("such a key needs a passphrase, and a public key of a known kind")
        pem = Path(unquote(priv_key_uri.partition(":")[2])).read_bytes()
        private: Any = load_pem_private_key(pem, secrets_handler("passphrase").encode())
        return cls(private, public_key)


SIGNER_FOR_URI_SCHEME[SCHEME] = EncryptedFileSigner


def make_key(folder: Path, role: str, passphrase: bytes, name: str = "") -> ListedKey:
    """Make a key of a role in a folder, as a file; it is not listed there yet.

    Raises:
        ConfigError: There is one already.
    """
    file = folder / f"release-{role}{name and '-'}{name}.key"
    if file.exists():
        raise ConfigError(str(file), "", "is there already; a key is never written over another")
    private = Ed25519PrivateKey.generate()
    encryption = BestAvailableEncryption(passphrase)
    write_whole(file, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    return ListedKey(role, f"{SCHEME}:{quote(file.name)}", SSlibKey.from_crypto(private.public_key()))


def key_by_uri(role: str, uri: str, public: Path) -> ListedKey:
    """A key that lies elsewhere: in a service or a token.

    Args:
        role: What it signs.
        uri: Its private part, as securesystemslib names it, such as ``awskms:...``, ``gcpkms:...`` or ``hsm:...``.
        public: A file of its public part, in PEM.

    Raises:
        ConfigError: The URI is of no known kind, or the file holds no public key.
    """
    if uri.partition(":")[0] not in SIGNER_FOR_URI_SCHEME:
        known = ", ".join(sorted(SIGNER_FOR_URI_SCHEME))
        raise ConfigError("--key", uri, f"names a key of no known kind; known are {known}")
    try:
        found: Any = load_pem_public_key(public.read_bytes())
        return ListedKey(role, uri, SSlibKey.from_crypto(found))
    except (OSError, ValueError) as error:
        raise ConfigError("--key", str(public), f"holds no public key in PEM: {error}") from error


def write_list(folder: Path, keys: Iterable[ListedKey]) -> None:
    """List the keys of a folder."""
    rows = [
        {"role": key.role, "uri": key.uri, "keyid": key.public.keyid, "public": key.public.to_dict()} for key in keys
    ]
    write_whole(folder / LIST, json.dumps({"keys": rows}, indent=1).encode())


def read_list(folder: Path) -> list[ListedKey]:
    """The keys of a folder.

    Raises:
        ConfigError: It lists none, or the list can't be read.
    """
    try:
        rows = json.loads((folder / LIST).read_bytes())["keys"]
        return [ListedKey(row["role"], row["uri"], Key.from_dict(row["keyid"], row["public"])) for row in rows]
    except FileNotFoundError as error:
        raise ConfigError(str(folder), "", _NOT_THERE) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(str(folder / LIST), "", f"can't be read: {error!r}") from error


def open_key(folder: Path, key: ListedKey, passphrase: bytes) -> Signer:
    """What signs with a key.

    Args:
        folder: That lists it.
        key: One of its keys.
        passphrase: Of the file, or what a token calls its PIN.

    Raises:
        ConfigError: It can't be opened; says why.
    """
    uri, file = key.uri, ""
    if uri.startswith(f"{SCHEME}:"):
        file = str(folder / unquote(uri.partition(":")[2]))
        uri = f"{SCHEME}:{quote(file)}"
    try:
        return Signer.from_priv_key_uri(uri, key.public, lambda _: passphrase.decode())
    except FileNotFoundError as error:
        raise ConfigError(file or uri, "", "is not there; the key is needed to sign") from error
    except (ValueError, TypeError) as error:
        problem = "can't be opened: the passphrase is not that of this key" if file else f"can't be opened: {error}"
        raise ConfigError(file or uri, "", problem) from error
    except Exception as error:  # of a token's driver, a cloud's library: signers share no base of their errors
        raise ConfigError(file or uri, "", f"can't be opened: {error}") from error


def add_signature(metadata: Metadata[Any], signer: Signer) -> None:
    """Sign metadata with one key more.

    Raises:
        OperatorError: The service or token that holds the key does not sign.
    """
    try:
        metadata.sign(signer, append=True)
    except UnsignedMetadataError as error:
        raise OperatorError(
            f"the key {signer.public_key.keyid[:12]} does not sign: {error.__cause__ or error}"
        ) from error
