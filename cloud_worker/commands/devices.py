"""``headrace-cloud devices [list | remove NAME | revoke NAME]``: who is in the fleet, and who is no longer.

Rules:
 * A device that is removed is forgotten: its seed, its report, what it was told. What it sent stays in the log.
 * One that comes back is new, with another seed.
 * One that is revoked may come no more, until it enrols with a new token.
"""

from __future__ import annotations

import time
from typing import Annotated

import typer

from cloud_worker.commands import quarantine
from cloud_worker.commands.clients import revoke_identity
from cloud_worker.commands.options import ConfigOption, JsonOption, WhoOption, errors_as_exit_codes, user_name
from cloud_worker.commands.rollouts import label
from cloud_worker.config.cloud import CloudConfig, read_config
from cloud_worker.fleet.registry import Registry
from cloud_worker.releases.recovered_state import file_of, open_for_reading, open_store
from cloud_worker.reports.devices import devices_of, show_devices
from cloud_worker.running.config import as_it_runs, what_runs
from cloud_worker.running.process_lock import who_runs
from cloud_worker.state.overrides import Overrides
from router.core.errors import UnknownTaskError
from router.identity.names import Identity, Role
from router.io.terminal import Screen, say, say_json

app = typer.Typer(
    help="List the devices of the fleet, label one, set one apart, remove or revoke one.", no_args_is_help=True
)
app.command("set-apart")(quarantine.set_apart)
app.command("take-back")(quarantine.take_back)
app.command("label")(label.label)


@app.command("list")
def list_devices(config: ConfigOption, as_json: JsonOption = False) -> None:
    """List every device: when it was seen, in which state, what it did.

    Example: headrace-cloud devices list -c cloud.toml
    """
    with errors_as_exit_codes():
        settings = read_config(config)
        pid, up = who_runs(settings.run_folder)
        settings = as_it_runs(settings, what_runs(settings.run_folder) if pid is not None else None)
        devices = devices_of(settings, open_for_reading(settings), up)
        if as_json:
            say_json({"devices": devices})
        elif devices:
            show_devices(Screen(), devices)
        else:
            say("no device has reported yet")


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="Name of the device.", metavar="NAME")],
    config: ConfigOption,
    why: Annotated[str, typer.Option("--why", help="Reason, kept in the audit.", metavar="TEXT")] = "",
    who: WhoOption = "",
    as_json: JsonOption = False,
) -> None:
    """Forget a device. What it sent stays; if it reports again, it is a new one.

    Example: headrace-cloud devices remove kitchen -c cloud.toml --why "replaced"
    """
    with errors_as_exit_codes():
        settings = read_config(config)
        store = open_store(settings) if _exists(settings) else None
        if store is None or not Registry(store, settings.fleet.max_devices).remove(name):
            raise UnknownTaskError(
                f"there is no device {name!r}; `headrace-cloud devices list` tells those that there are"
            )
        Overrides(store.engine).record(f"remove device {name}"[:50], who=who or user_name(), why=why, now=time.time())
        if as_json:
            say_json({"device": name, "removed": True})
        else:
            say(f"{name}: removed; its next report, if one comes, makes it a new device")


@app.command()
def revoke(
    name: Annotated[str, typer.Argument(help="Name of the device.", metavar="NAME")],
    config: ConfigOption,
    why: Annotated[str, typer.Option("--why", help="Reason, kept in the audit.", metavar="TEXT")] = "",
    who: WhoOption = "",
    as_json: JsonOption = False,
) -> None:
    """Void every certificate of a device, as of a stolen one. It joins again with a new token alone.

    Example: headrace-cloud devices revoke kitchen -c cloud.toml --why stolen
    """
    with errors_as_exit_codes():
        revoke_identity(read_config(config), Identity(Role.DEVICE, name), who, why, as_json)


def _exists(settings: CloudConfig) -> bool:
    """Whether there is a store; else looking would make one."""
    file = file_of(settings)
    return file is None or file.is_file()
