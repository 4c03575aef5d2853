"""``headrace-cloud releases approve | mirror``: let a release go to devices, and put what is signed on a web server."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cloud_worker.commands.options import (
    ConfigOption,
    JsonOption,
    TaskArgument,
    errors_as_exit_codes,
)
from cloud_worker.commands.signing.ceremonies import (
    OfflineOption,
    OfflinePassphraseOption,
    PassphraseOption,
    ceremony_of,
    folders_of,
    sign_online,
    tell,
)
from cloud_worker.config.cloud import read_config
from cloud_worker.releases.recovered_state import open_store
from cloud_worker.releases.repository.files import RepositoryFiles
from cloud_worker.releases.repository.mirror import Mirror
from router.core.errors import OperatorError, UnknownTaskError
from router.core.release.signed_task import manifest_target
from router.io.terminal import say, say_json

app = typer.Typer(help="Approve releases by hand, or mirror all that is signed.", no_args_is_help=True)


@app.command()
def approve(
    task: TaskArgument,
    release: Annotated[int, typer.Argument(help="Number of the release, as `status` tells it.", metavar="RELEASE")],
    config: ConfigOption,
    offline: OfflineOption,
    offline_passphrase_file: OfflinePassphraseOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sign one release by the offline keys, where releases.approval is "manual". Devices hear of it then.

    Example: headrace-cloud releases approve home 5 -c cloud.toml --offline /media/stick/root
    """
    with errors_as_exit_codes():
        settings = read_config(config)
        name, store = settings.task(task).name, open_store(settings)
        ceremony = ceremony_of(settings, folders_of(offline, offline_passphrase_file), store, passphrase_file)
        path = manifest_target(name, release)
        wanted = ceremony.releases_to_sign()
        if path not in wanted.targets:
            why = wanted.left_out.get((name, release), "it neither serves nor waits for approval")
            raise UnknownTaskError(f"release {release} of task {name!r} can't be approved: {why}")
        if not ceremony.approve(lambda one: one == path):
            raise OperatorError("none of these keys signs releases; `headrace-cloud keys status` tells whose do")
        sign_online(settings, store, ceremony.online_passphrase)
        tell(settings, as_json, approved={"task": name, "release": release})


@app.command()
def mirror(
    folder: Annotated[Path, typer.Argument(help="Where it is written, or brought up to date.", metavar="FOLDER")],
    config: ConfigOption,
    as_json: JsonOption = False,
) -> None:
    """Write what devices fetch as a tree of files, for any web server. Run it again after each release, as by cron.

    Example: headrace-cloud releases mirror /srv/headrace -c cloud.toml
    """
    with errors_as_exit_codes():
        settings = read_config(config)
        done = Mirror(RepositoryFiles(settings.repository_folder), settings.releases_folder, folder).write()
        if as_json:
            say_json(asdict(done))
        else:
            said = f"{done.releases} releases, {done.files} files of {done.bytes / 1e6:.1f} MB"
            say(f"{folder}: {said}; {done.copied} copied, {done.removed} removed")
            for line in done.missing:
                say(f"missing: {line}", err=True)
        if done.missing:
            raise typer.Exit(OperatorError.exit_code)
