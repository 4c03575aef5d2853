"""What the commands for keys share: where keys lie, what opens them, and what is told afterwards."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.config.releases import Approval
from cloud_worker.identity.passphrases import (
    ROOT_VARIABLE,
    VARIABLE,
    check_strength,
    passphrase_of_releases,
    read_passphrase,
)
from cloud_worker.refresh.rollout.opening import RolloutOpening
from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.recovered_state import open_for_reading
from cloud_worker.releases.repository.ceremony import ROLES, Ceremony, OfflineFolder
from cloud_worker.releases.repository.facts import signing_facts, signing_lines
from cloud_worker.releases.repository.keeping import Keeper
from cloud_worker.releases.repository.keys import ListedKey, key_by_uri
from cloud_worker.releases.repository.release_list import releases_to_sign
from cloud_worker.state.store import Store
from router.core.errors import ConfigError
from router.io.terminal import say, say_json

OfflineOption = Annotated[
    list[Path],
    typer.Option("--offline", help="Folder of an owner's offline keys; may be repeated.", metavar="FOLDER"),
]
OfflinePassphraseOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--offline-passphrase-file",
        help=f"Opens the keys of the folders: one file for all, or one each in their order; else {ROOT_VARIABLE}.",
        metavar="FILE",
    ),
]
PassphraseOption = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        help=f"Opens the online keys; else releases.passphrase_file, identity.passphrase_file, or {VARIABLE}.",
        metavar="FILE",
    ),
]
KeyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--key",
        help="A key that lies in a service or token, with a file of its public part: "
        "awskms:, gcpkms:, azurekms:, hv:, hsm: or gnupg:, as securesystemslib names them.",
        metavar="ROLE=URI=PUBLIC.PEM",
    ),
]


def ceremony_of(
    settings: CloudConfig,
    folders: Sequence[OfflineFolder],
    store: Store,
    passphrase_file: Path | None,
    elsewhere: Sequence[str] = (),
) -> Ceremony:
    """A ceremony with the keys in some folders.

    Raises:
        ConfigError: A passphrase is missing or too short, or a key is none.
    """
    words = passphrase_of_releases(settings, passphrase_file)
    if any(folder.passphrase == words for folder in folders):
        raise ConfigError("--offline-passphrase-file", "", "holds the passphrase of the online keys; use another one")
    to_sign = partial(releases_to_sign, store, Publisher(settings.releases_folder))
    return Ceremony(settings, folders, words, time.time(), [_elsewhere(one) for one in elsewhere], to_sign)


def folders_of(paths: Sequence[Path], files: Sequence[Path] | None) -> list[OfflineFolder]:
    """The folders of owners, each with what opens its keys.

    Raises:
        ConfigError: A folder is named twice, or there are more or fewer passphrases than folders.
    """
    if len({path.resolve() for path in paths}) < len(paths):
        raise ConfigError("--offline", "", "names a folder twice; each owner has one")
    named: list[Path | None] = [*(files or [])]
    if len(named) <= 1:
        named = [named[0] if named else None] * len(paths)
    if len(named) != len(paths):
        raise ConfigError("--offline-passphrase-file", "", f"is given {len(named)} times for {len(paths)} folders")
    found = [
        OfflineFolder(path, read_passphrase(file, ROOT_VARIABLE, "--offline-passphrase-file"))
        for path, file in zip(paths, named, strict=True)
    ]
    for folder in found:
        check_strength(folder.passphrase)
    return found


def sign_online(settings: CloudConfig, store: Store, passphrase: bytes) -> None:
    """Bring into metadata what has been signed offline, as gateways do too."""
    opening = RolloutOpening(store, Publisher(settings.releases_folder), settings.rollout, settings.fleet)
    Keeper(settings, store, lambda: passphrase, opening.of_certified).sign()


def tell(settings: CloudConfig, as_json: bool, **more: Any) -> None:
    """Say what is signed now, and what waits."""
    facts = signing_facts(settings, open_for_reading(settings), time.time()) | more
    if as_json:
        say_json(facts)
        return
    for role, one in facts["roles"].items():
        keys = f"{one['threshold']} of {len(one['keys'])} keys"
        say(f"{role:<9}  version {one['version']}, {keys}, ends in {one['days_left']:,.1f} days")
    configured = settings.releases.approval
    if facts["approval"] not in {"", configured.value}:
        other = "online" if configured is Approval.AUTOMATIC else "offline"
        said = f"releases.approval is {configured.value}, but the key of releases is not {other}"
        say(f"{said}: `headrace-cloud keys rotate models` makes it so")
    for line in signing_lines(facts):
        say(line)


def _elsewhere(text: str) -> ListedKey:
    role, _, rest = text.partition("=")
    uri, _, public = rest.rpartition("=")
    if role not in ROLES or not uri:
        raise ConfigError("--key", text, f"is to be ROLE=URI=PUBLIC.PEM, with a role of {', '.join(ROLES)}")
    return key_by_uri(role, uri, Path(public))
