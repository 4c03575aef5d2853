"""``headrace-cloud keys init | sign | rotate | status``: the keys that sign releases.

Rules:
 * Offline keys go to folders of their owners' choice, to be locked away; what they sign is told before.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cloud_worker.commands.options import ConfigOption, JsonOption, errors_as_exit_codes
from cloud_worker.commands.signing.ceremonies import (
    KeyOption,
    OfflineOption,
    OfflinePassphraseOption,
    PassphraseOption,
    ceremony_of,
    folders_of,
    sign_online,
    tell,
)
from cloud_worker.config.cloud import read_config
from cloud_worker.identity.passphrases import check_strength
from cloud_worker.releases.recovered_state import open_store
from cloud_worker.releases.repository.ceremony import ROLES
from router.core.errors import ConfigError
from router.io.terminal import say

app = typer.Typer(help="Make the keys that sign releases, sign by them, or replace them.", no_args_is_help=True)

ThresholdOption = Annotated[
    int | None, typer.Option("--threshold", help="How many offline keys must sign.", min=1, metavar="N")
]


@app.command()
def init(
    config: ConfigOption,
    offline: OfflineOption,
    offline_passphrase_file: OfflinePassphraseOption = None,
    passphrase_file: PassphraseOption = None,
    threshold: ThresholdOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the keys, and sign the tasks. Done once, before devices enrol.

    \b
    Examples:
      headrace-cloud keys init -c cloud.toml --offline /media/stick/keys --offline-passphrase-file root.txt
      headrace-cloud keys init -c cloud.toml --offline /media/a --offline /media/b --offline /media/c --threshold 2
    """  # noqa: D301 - \b keeps the lines of the examples
    with errors_as_exit_codes():
        settings = read_config(config)
        folders = folders_of(offline, offline_passphrase_file)
        settings.data.mkdir(parents=True, exist_ok=True)
        store = open_store(settings)
        ceremony = ceremony_of(settings, folders, store, passphrase_file, key or ())
        check_strength(ceremony.online_passphrase)
        ceremony.make(threshold or 1)
        sign_online(settings, store, ceremony.online_passphrase)
        tell(settings, as_json)
        if not as_json:
            where = ", ".join(str(path) for path in offline)
            say(f"offline keys are in {where}: lock them away; a changed task and `keys rotate` need them", err=True)


@app.command()
def sign(
    config: ConfigOption,
    offline: OfflineOption,
    offline_passphrase_file: OfflinePassphraseOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sign what the tasks say now, and whatever else waits for offline keys.

    After a change of a task in cloud.toml, and once a year. Several owners sign one after the other.

    Example: headrace-cloud keys sign -c cloud.toml --offline /media/stick/keys --offline-passphrase-file root.txt
    """
    with errors_as_exit_codes():
        settings = read_config(config)
        store = open_store(settings)
        folders = folders_of(offline, offline_passphrase_file)
        ceremony = ceremony_of(settings, folders, store, passphrase_file)
        changes = ceremony.changes()
        if not as_json:
            for line in changes:
                say(line)
        added = ceremony.sign()
        sign_online(settings, store, ceremony.online_passphrase)
        tell(settings, as_json, changes=changes, signatures=added)
        if not added and not as_json:
            say("nothing waits for these keys")


@app.command()
def rotate(
    role: Annotated[str, typer.Argument(help=f"Whose keys: {', '.join(ROLES)}.", metavar="ROLE")],
    config: ConfigOption,
    offline: OfflineOption,
    offline_passphrase_file: OfflinePassphraseOption = None,
    to: Annotated[
        list[Path] | None,
        typer.Option(
            "--to",
            help="Folder of a new offline key, opened as those of --offline, which it defaults to; may be repeated.",
            metavar="FOLDER",
        ),
    ] = None,
    threshold: ThresholdOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make other keys for a role, after a theft or a loss, or when an owner leaves. Devices follow by themselves.

    \b
    Examples:
      headrace-cloud keys rotate online -c cloud.toml --offline /media/stick/keys
      headrace-cloud keys rotate root -c cloud.toml --offline /media/a --offline /media/b --to /media/b --to /media/d
    """  # noqa: D301 - \b keeps the lines of the examples
    with errors_as_exit_codes():
        if role not in ROLES:
            raise ConfigError("ROLE", role, f"is no role; use one of {', '.join(ROLES)}")
        settings = read_config(config)
        store = open_store(settings)
        both = folders_of(list(dict.fromkeys([*offline, *(to or [])])), offline_passphrase_file)
        folders, others = both[: len(offline)], [folder for folder in both if folder.path in (to or [])]
        ceremony = ceremony_of(settings, folders, store, None, key or ())
        check_strength(ceremony.online_passphrase)
        ceremony.rotate(role, others, threshold)
        sign_online(settings, store, ceremony.online_passphrase)
        tell(settings, as_json)


@app.command()
def status(config: ConfigOption, as_json: JsonOption = False) -> None:
    """Tell whose keys count, until when what they signed holds, and what waits for whom.

    Example: headrace-cloud keys status -c cloud.toml
    """
    with errors_as_exit_codes():
        settings = read_config(config)
        tell(settings, as_json)
        if not as_json and not (settings.repository_folder / "metadata").is_dir():
            say("nothing is signed: `headrace-cloud keys init` makes the keys")
