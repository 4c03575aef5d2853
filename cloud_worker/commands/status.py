"""``headrace-cloud status``: what runs, what it serves, and what needs somebody."""

from __future__ import annotations

from typing import Annotated

import typer

from cloud_worker.commands.options import ConfigOption, JsonOption, errors_as_exit_codes
from cloud_worker.config.cloud import read_config
from cloud_worker.reports.status import MOST_DEVICES, gather_report, ready_for_json
from cloud_worker.reports.status_text import show_report
from router.io.terminal import Screen, say_json

NOTHING_RUNS = 1


def status(
    config: ConfigOption,
    as_json: JsonOption = False,
    devices: Annotated[
        int, typer.Option("--devices", help="Most devices in the JSON, those that need somebody first.", min=0)
    ] = MOST_DEVICES,
) -> None:
    """Show tasks, devices, releases and the log; exit code 1 when nothing runs.

    Example: headrace-cloud status --config cloud.toml
    """
    with errors_as_exit_codes():
        report = gather_report(read_config(config), screenful=not as_json, devices=devices)
        if as_json:
            say_json(ready_for_json(report))
        else:
            show_report(Screen(), report)
        if not report["running"]:
            raise typer.Exit(NOTHING_RUNS)
