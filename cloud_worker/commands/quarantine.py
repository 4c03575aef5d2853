"""``headrace-cloud devices set-apart | take-back NAME``: which devices may keep answers.

A device in quarantine escalates everything of a task. Its next orders say so, and the refresher's next step.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from cloud_worker.commands.options import ConfigOption, JsonOption, WhoOption, errors_as_exit_codes, user_name
from cloud_worker.config.cloud import read_config
from cloud_worker.fleet.quarantines import Quarantines
from cloud_worker.releases.recovered_state import file_of, open_store
from cloud_worker.state.overrides import Overrides
from router.core.errors import UnknownTaskError
from router.io.terminal import say, say_json

NameArgument = Annotated[str, typer.Argument(help="Name of the device.", metavar="NAME")]
TaskOption = Annotated[str, typer.Option("--task", help="Of this task; else of every task.", metavar="TASK")]
WhyOption = Annotated[str, typer.Option("--why", help="Reason, kept in the audit.", metavar="TEXT")]

Move = Callable[[Quarantines, str, float], bool]  # of a task, at Unix time in seconds; whether anything changed


def set_apart(
    name: NameArgument,
    config: ConfigOption,
    task: TaskOption = "",
    why: WhyOption = "",
    who: WhoOption = "",
    as_json: JsonOption = False,
) -> None:
    """Put a device in quarantine: it keeps nothing, and what it sent speaks of no promise any more.

    Example: headrace-cloud devices set-apart kitchen -c cloud.toml --why "stolen"
    """

    def begin(quarantines: Quarantines, one: str, now: float) -> bool:
        return quarantines.begin(one, name, now, why or "the operator set it apart")

    with errors_as_exit_codes():
        moved, apart = _move(config, name, task, begin)
        _tell(config, ("set-apart", name, task), moved, apart, (who, why), as_json)


def take_back(
    name: NameArgument,
    config: ConfigOption,
    task: TaskOption = "",
    why: WhyOption = "",
    who: WhoOption = "",
    as_json: JsonOption = False,
) -> None:
    """Let a device in quarantine keep answers again; what it sent until now still says nothing.

    Example: headrace-cloud devices take-back kitchen -c cloud.toml --why "repaired"
    """

    def end(quarantines: Quarantines, one: str, now: float) -> bool:
        return quarantines.end(one, name, now)

    with errors_as_exit_codes():
        moved, apart = _move(config, name, task, end)
        _tell(config, ("take-back", name, task), moved, apart, (who, why), as_json)


def _move(path: Path, name: str, task: str, move: Move) -> tuple[list[str], list[str]]:
    """Move a device for one task or all; the tasks for which that changed anything, and those it is apart of now.

    Raises:
        UnknownTaskError: There is no such task, or no such device.
    """
    settings, now = read_config(path), time.time()
    tasks = [settings.task(task).name] if task else [one.name for one in settings.tasks]
    file = file_of(settings)
    store = open_store(settings) if file is None or file.is_file() else None
    if store is None or store.find_device(name) is None:
        raise UnknownTaskError(f"there is no device {name!r}; `headrace-cloud devices list` tells those that there are")
    quarantines = Quarantines(store.engine)
    moved = [one for one in tasks if move(quarantines, one, now)]
    return moved, sorted(quarantines.tasks_of(name))


def _tell(
    path: Path, did: tuple[str, str, str], moved: list[str], apart: list[str], whose: tuple[str, str], as_json: bool
) -> None:
    """Record what was done, and say where the device stands."""
    (action, name, task), (who, why) = did, whose
    if moved:
        overrides = Overrides(open_store(read_config(path)).engine)
        overrides.record(f"{action} {name}"[:50], who=who or user_name(), why=why, now=time.time(), task=task)
    if as_json:
        say_json({"device": name, "changed": moved, "apart": apart})
        return
    what = f"in quarantine of {', '.join(apart)}: it escalates everything" if apart else "in no quarantine"
    say(f"{name}: {what}" + ("" if moved else " (as before)"))
