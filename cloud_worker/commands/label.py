"""``headrace-cloud label | competence``: what people say is right, and who is right by it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from cloud_worker.commands.label_files import Expected, read_labels, write_rows
from cloud_worker.commands.label_session import Ask, Say, Session
from cloud_worker.commands.options import (
    ConfigOption,
    JsonOption,
    TaskArgument,
    WhoOption,
    errors_as_exit_codes,
    user_name,
)
from cloud_worker.commands.rows_to_label import RowsToLabel
from cloud_worker.config.cloud import read_config
from cloud_worker.releases.recovered_state import open_for_reading
from cloud_worker.reports.accuracy_text import lines_of
from router.io.terminal import Screen, say

DEFAULT_ROWS = 50


def label(  # noqa: PLR0913 - one argument for each flag
    task: TaskArgument,
    config: ConfigOption,
    who: WhoOption = "",
    rows: Annotated[int, typer.Option("--rows", help="At most so many rows.", metavar="N", min=1)] = DEFAULT_ROWS,
    export: Annotated[Path | None, typer.Option("--export", help="Write rows to label.", metavar="FILE")] = None,
    imported: Annotated[Path | None, typer.Option("--import", help="Read labels back.", metavar="FILE")] = None,
    every_release: Annotated[bool, typer.Option("--every-release", help="Not of what serves alone.")] = False,
    new_labels: Annotated[bool, typer.Option("--new-labels", help="Let labels in that the task lacks.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Label drawn rows, blind to every answer: here, or in a file that goes out and comes back.

    \b
    Examples:
      headrace-cloud label home -c cloud.toml
      headrace-cloud label home -c cloud.toml --export rows.jsonl --rows 200 --who ada
      headrace-cloud label home -c cloud.toml --import rows.jsonl --who ada
    """  # noqa: D301 - \b keeps the lines of the examples
    with errors_as_exit_codes():
        if export is not None and imported is not None:
            raise typer.BadParameter("use either --export or --import")
        open_rows = RowsToLabel(read_config(config), task)
        name = who or user_name()
        if imported is not None:
            said = _import(open_rows, imported, name, new_labels)
        elif export is not None:
            said = _export(open_rows, export, name, rows, every_release)
        else:
            taken = open_rows.take(name, rows, every_release=every_release)
            session = Session(open_rows.gold, task, name, open_rows.known(), _say(as_json), _ask(as_json))
            said = {"labelled": session.run(taken) if taken else 0, "rows": len(taken)}
        _tell(task, name, said, as_json)


def competence(
    task: TaskArgument,
    config: ConfigOption,
    every_release: Annotated[bool, typer.Option("--every-release", help="Students of all releases together.")] = False,
    least_gain: Annotated[
        float, typer.Option("--least-gain", help="What escalating must gain to pay.", min=-0.99, max=0.99)
    ] = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Tell who is right by the gold labels: teacher, student and what is served; and whether escalating pays.

    Example: headrace-cloud competence home -c cloud.toml
    """
    from cloud_worker.reports.accuracy import competence_of  # as above

    with errors_as_exit_codes():
        open_rows = RowsToLabel(read_config(config), task, open_for_reading)
        said = competence_of(
            open_rows.store, open_rows.log, open_rows.task, every_release=every_release, least_gain=least_gain
        )
        if as_json:
            say(json.dumps(said))
            return
        for line in lines_of(said):
            Screen(soft_wrap=True).print(line, markup=True)


def _export(open_rows: RowsToLabel, path: Path, who: str, most: int, every_release: bool) -> dict[str, Any]:
    write_rows(path, [])  # before rows are taken: a file that can't be written takes none
    path.unlink()
    rows = open_rows.take(who, most, every_release=every_release)
    write_rows(path, rows)
    said: dict[str, Any] = {"rows": len(rows), "file": str(path)}
    known = open_rows.known()
    if known:
        said["labels_file"] = str(path.with_name(f"{path.name}.labels"))
        Path(said["labels_file"]).write_text("".join(f"{name}\n" for name in known), encoding="utf-8")
    return said


def _import(open_rows: RowsToLabel, path: Path, who: str, new_labels: bool) -> dict[str, Any]:
    known = () if new_labels else open_rows.known()
    labels, still_open = read_labels(path, Expected(open_rows.handed_out(), known, who, time.time()))
    changed = open_rows.gold.label(open_rows.task.name, labels)
    return {"labelled": len(labels), "changed": changed, "open": still_open, "file": str(path)}


def _tell(task: str, who: str, said: dict[str, Any], as_json: bool) -> None:
    if as_json:
        say(json.dumps({"task": task, "who": who} | said))
    elif "changed" in said:
        say(f"{said['labelled']} labels of {who}'s read, {said['changed']} changed; {said['open']} rows are open")
    elif "file" in said:
        say(f"{said['rows']} rows for {who} are in {said['file']}; fill in `label`, then --import it")
    elif not said["rows"]:
        say("no row to label: there are no drawn rows of what serves, or all are labelled; see --every-release")
    else:
        say(f"{said['labelled']} of {said['rows']} rows are labelled")


def _say(as_json: bool) -> Say:
    return lambda line: say(line, err=as_json)


def _ask(as_json: bool) -> Ask:
    def ask(prompt: str) -> str:
        try:
            return str(typer.prompt(prompt, default="", show_default=False, err=as_json))
        except typer.Abort:
            raise EOFError from None

    return ask
