"""An authority made for a test, which gives tokens and identities as an operator does."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.config.teachers import RecordedSettings
from cloud_worker.identity.authority import make_authority, open_issuer, renew_issuing
from cloud_worker.identity.register import Register, enrol, keep
from cloud_worker.identity.tokens import Tokens
from cloud_worker.state.database.engine import writing
from cloud_worker.state.store import Store
from router.core.domain.task import Task
from router.identity.bundle import Bundle
from router.identity.certificates import key_to_pem, new_key, said_by
from router.identity.names import Identity, Role

PASSPHRASE, ROOT_PASSPHRASE = b"the issuing key of a test", b"the offline root of a test"
DAY_SECONDS = 86_400.0


@dataclass
class TrustedAuthority:
    """An authority of a fleet whose passphrases tests know.

    Attributes:
        folder: Of all of it.
        config: Of its gateway.
        store: Its state.
    """

    folder: Path
    config: CloudConfig
    store: Store

    @property
    def register(self) -> Register:
        """Who has which certificate."""
        return Register(self.store.engine)

    def token(self, device: str = "", hours: float = 1.0, **labels: str) -> str:
        """A token that enrols."""
        root = open_issuer(self.config.ca_folder, PASSPHRASE).trust.root_sha256
        return Tokens(self.store.engine).create(device, labels, root, "test", time.time(), 3600 * hours)

    def bundle(self, role: Role, name: str, days: float = 1.0, now: float | None = None) -> Bundle:
        """An identity, given as an operator gives it, at Unix time ``now`` in seconds."""
        at = time.time() if now is None else now
        issuer, key, identity = open_issuer(self.config.ca_folder, PASSPHRASE), new_key(), Identity(role, name)
        certificate = issuer.issue(identity, key.public_key(), at, days * DAY_SECONDS)
        chain = issuer.chain(certificate)
        with writing(self.store.engine) as connection:
            enrol(connection, identity, {}, at)
            keep(connection, identity, said_by(certificate), chain, at)
        return Bundle(key_to_pem(key), chain, issuer.trust.root_pem)

    def renew_issuing(self, *, distrust: bool = False) -> None:
        """Another issuing key."""
        root = self.folder / "root"
        renew_issuing(self.config.ca_folder, root, PASSPHRASE, ROOT_PASSPHRASE, time.time(), distrust=distrust)


def trusted_config(folder: Path, **settings: Any) -> CloudConfig:
    """The configuration of a cloud in ``folder``, with an authority that is made now."""
    (folder / "issuing.txt").write_bytes(PASSPHRASE)
    (folder / "issuing.txt").chmod(0o600)
    identity = {"listen": "127.0.0.1:0", "passphrase_file": folder / "issuing.txt", "per_address": 10_000}
    config = CloudConfig(
        data=folder / "data",
        door={"listen": "127.0.0.1:0", "reflection": True, **settings.pop("door", {})},
        identity={**identity, **settings.pop("identity", {})},
        teachers=(RecordedSettings(name="big", kind="recorded", answers=str(folder / "answers.jsonl")),),
        tasks=settings.pop("tasks", (Task("home", "big"),)),
        **settings,
    )
    make_authority(config.ca_folder, folder / "root", PASSPHRASE, ROOT_PASSPHRASE, time.time() - 3600)
    return config
