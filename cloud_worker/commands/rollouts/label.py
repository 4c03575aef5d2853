"""``headrace-cloud devices label NAME KEY=VALUE ...``: what rollouts and lists know a device by."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from cloud_worker.commands.options import ConfigOption, JsonOption, WhoOption, errors_as_exit_codes, user_name
from cloud_worker.config.cloud import read_config
from cloud_worker.fleet.device_labels import DeviceLabels
from cloud_worker.identity.labels import read_label_options
from cloud_worker.releases.recovered_state import file_of, open_store
from cloud_worker.state.overrides import Overrides
from router.core.errors import UnknownTaskError
from router.io.terminal import say, say_json


def label(
    name: Annotated[str, typer.Argument(help="Name of the device.", metavar="NAME")],
    config: ConfigOption,
    labels: Annotated[
        list[str] | None, typer.Argument(help="Labels, such as site=berlin.", metavar="KEY=VALUE")
    ] = None,
    remove: Annotated[
        list[str] | None, typer.Option("--remove", help="Take the label of this key away.", metavar="KEY")
    ] = None,
    why: Annotated[str, typer.Option("--why", help="Reason, kept in the audit.", metavar="TEXT")] = "",
    who: WhoOption = "",
    as_json: JsonOption = False,
) -> None:
    """Label a device, over what its enrolment token gave it; without a label or `--remove`, tell its labels.

    Example: headrace-cloud devices label kitchen site=berlin floor=2 -c cloud.toml
    """
    with errors_as_exit_codes():
        settings, given = read_config(config), read_label_options(labels or (), "KEY=VALUE")
        given |= dict.fromkeys(remove or (), "")
        file = file_of(settings)
        store = open_store(settings) if file is None or file.is_file() else None
        if store is None or store.find_device(name) is None:
            raise UnknownTaskError(
                f"there is no device {name!r}; `headrace-cloud devices list` tells those that there are"
            )
        known = DeviceLabels(store.engine)
        if given:
            known.give(name, given)
            did = f"label {name}"[:50]
            Overrides(store.engine).record(did, who=who or user_name(), why=why, now=time.time())
        has = known.of(name)
        if as_json:
            say_json({"device": name, "labels": has})
        else:
            say(f"{name}: {' '.join(f'{key}={value}' for key, value in sorted(has.items())) or 'no labels'}")
