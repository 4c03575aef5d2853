"""``headrace-cloud rollout start | status | pause | resume | promote | rollback | history``.

Rules:
 * A command writes what is set into the state of the fleet, with who, when and why; it works whether the cluster
   runs or not. The refresher begins a rollout at its next step, and leads it within seconds.
 * What was halted stays so: nothing resumes or promotes it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from cloud_worker.commands.options import (
    ConfigOption,
    JsonOption,
    TaskArgument,
    WhoOption,
    errors_as_exit_codes,
    user_name,
)
from cloud_worker.config.cloud import CloudConfig, read_config
from cloud_worker.fleet.rollouts.store import Rollout, Rollouts
from cloud_worker.identity.labels import read_label_options
from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.recovered_state import open_for_reading, open_store
from cloud_worker.releases.rollback import whole_release
from cloud_worker.state.overrides import Overrides
from cloud_worker.state.store import Store
from router.core.errors import ReleaseError
from router.core.release.rollout import RolloutState
from router.io.table import show_table
from router.io.terminal import Screen, say

app = typer.Typer(help="Bring a release to the fleet in steps; see where one stands, hold it, or take it back.")
WhyOption = Annotated[str, typer.Option("--why", help="Reason, kept in the audit.", metavar="TEXT")]
Change = Callable[[Rollout], dict[str, Any]]  # of a rollout that is open: the fields that change


@app.command()
def start(
    task: TaskArgument,
    release: Annotated[int, typer.Argument(help="Number of the release.", metavar="RELEASE", min=0)],
    config: ConfigOption,
    to: Annotated[
        list[str] | None, typer.Option("--to", help="Only to devices with this label; may be repeated.", metavar="K=V")
    ] = None,
    why: WhyOption = "",
    who: WhoOption = "",
    as_json: JsonOption = False,
) -> None:
    """Bring a former release to the fleet again, in steps and under a new number; its certificate must stand.

    Example: headrace-cloud rollout start home 4 -c cloud.toml --to site=berlin --why "5 mixes up the doors"
    """
    with errors_as_exit_codes():
        settings, labels = read_config(config), read_label_options(to or (), "--to")
        store = _store(settings, task)
        whole_release(store, Publisher(settings.releases_folder), task, release)
        rollouts, override = Rollouts(store.engine), Overrides(store.engine).of(task)
        if override.holds:
            raise ReleaseError(f"task {task!r} is held: {override.holds}; end that before a rollout")
        if _open(store, task) is not None or rollouts.wanted(task) is not None:
            raise ReleaseError(f"task {task!r} has a rollout already; see `headrace-cloud rollout status`")
        name, now = who or user_name(), time.time()
        steps = {"content": release, "labels": labels, "steps": settings.rollout.steps, "who": name}
        rollouts.add(task, RolloutState.WANTED, now=now, why=why or "an operator wants it", **steps)
        Overrides(store.engine).record(f"rollout start {release}", who=name, why=why, now=now, task=task)
        _tell(rollouts.history(task)[-1:], as_json)


@app.command()
def status(
    config: ConfigOption,
    task: Annotated[str, typer.Argument(help="Of this task; else of every one.", metavar="TASK")] = "",
    as_json: JsonOption = False,
) -> None:
    """Show what rolls out, how far it is, and what it waits for.

    Example: headrace-cloud rollout status -c cloud.toml
    """
    with errors_as_exit_codes():
        store = open_for_reading(read_config(config))
        found = [one for one in Rollouts(store.engine).history(task) if one.ended is None]
        _tell(found, as_json, store)


@app.command()
def history(
    config: ConfigOption,
    task: Annotated[str, typer.Argument(help="Of this task; else of every one.", metavar="TASK")] = "",
    as_json: JsonOption = False,
) -> None:
    """List all rollouts, oldest first, and how each ended.

    Example: headrace-cloud rollout history home -c cloud.toml --json
    """
    with errors_as_exit_codes():
        _tell(Rollouts(open_for_reading(read_config(config)).engine).history(task), as_json)


@app.command()
def pause(
    task: TaskArgument, config: ConfigOption, why: WhyOption = "", who: WhoOption = "", as_json: JsonOption = False
) -> None:
    """Let no further device take the release; those that have it keep it, and it still goes back where it does harm.

    Example: headrace-cloud rollout pause home -c cloud.toml --why "weekend"
    """
    _change(config, ("pause", task, who, why), as_json, {RolloutState.RUNNING}, lambda _: _to(RolloutState.PAUSED))


@app.command()
def resume(
    task: TaskArgument, config: ConfigOption, why: WhyOption = "", who: WhoOption = "", as_json: JsonOption = False
) -> None:
    """Go on after `pause`.

    Example: headrace-cloud rollout resume home -c cloud.toml
    """
    _change(config, ("resume", task, who, why), as_json, {RolloutState.PAUSED}, lambda _: _to(RolloutState.RUNNING))


@app.command()
def promote(
    task: TaskArgument,
    config: ConfigOption,
    everywhere: Annotated[bool, typer.Option("--all", help="To every device, now.")] = False,
    why: WhyOption = "",
    who: WhoOption = "",
    as_json: JsonOption = False,
) -> None:
    """Take the next step now; one that has reached its labels goes on with the others in steps. `--all`: to everybody.

    Example: headrace-cloud rollout promote home -c cloud.toml --why "berlin is content"
    """

    def changes(rollout: Rollout) -> dict[str, Any]:
        if everywhere:
            return {"state": RolloutState.DONE, "ended": time.time(), "why": "an operator gave it to every device"}
        if rollout.state is RolloutState.REACHED:
            return {**_to(RolloutState.RUNNING), "labels": "{}", "step": 0}
        if rollout.is_last:
            raise ReleaseError(f"the rollout of task {task!r} is at its last step; `--all` ends it")
        return {**_to(rollout.state), "step": rollout.step + 1}

    wanted = {RolloutState.RUNNING, RolloutState.PAUSED, RolloutState.REACHED}
    _change(config, ("promote", task, who, why), as_json, wanted, changes)


@app.command()
def rollback(
    task: TaskArgument, config: ConfigOption, why: WhyOption = "", who: WhoOption = "", as_json: JsonOption = False
) -> None:
    """Halt what rolls out: all devices get the former release back, under a new number.

    Example: headrace-cloud rollout rollback home -c cloud.toml --why "the lift answers in French"
    """
    wanted = {RolloutState.RUNNING, RolloutState.PAUSED, RolloutState.REACHED}
    said = f"an operator took it back{f': {why}' if why else ''}"
    halted = {"state": RolloutState.HALTED, "why": said}
    _change(config, ("rollback", task, who, why), as_json, wanted, lambda _: halted)


def _to(state: RolloutState) -> dict[str, Any]:
    return {"state": state, "step_began": time.time(), "why": "an operator ordered it"}


def _store(settings: CloudConfig, task: str) -> Store:
    """The state of the fleet, in which a task is known."""
    settings.data.mkdir(parents=True, exist_ok=True)
    store, known = open_store(settings), settings.task(task)
    if task not in {state.name for state in store.task_states()}:
        store.declare_tasks([known])  # before the first start
    return store


def _open(store: Store, task: str) -> Rollout | None:
    return Rollouts(store.engine).open_of(task, store.champion(task))


def _change(
    path: Path, said: tuple[str, str, str, str], as_json: bool, wanted: set[RolloutState], changes: Change
) -> None:
    """Change the rollout of a task, where it stands in one of the wanted states, and record it."""
    did, task, who, why = said
    with errors_as_exit_codes():
        store = _store(read_config(path), task)
        rollout = _open(store, task)
        if rollout is None or rollout.state not in wanted:
            stands = "nothing rolls out" if rollout is None else f"its rollout is {_words(rollout.state)}"
            raise ReleaseError(f"task {task!r}: {stands}; see `headrace-cloud rollout status`")
        if not Rollouts(store.engine).change(rollout, **changes(rollout)):
            raise ReleaseError(f"the rollout of task {task!r} has just moved; look at it, and try again")
        action = f"rollout {did} {rollout.number}"
        Overrides(store.engine).record(action, who=who or user_name(), why=why, now=time.time(), task=task)
        _tell([one for one in Rollouts(store.engine).history(task) if one.id == rollout.id], as_json, store)


def as_told(rollout: Rollout, devices: int | None = None) -> dict[str, Any]:
    """A rollout, ready for JSON; ``devices`` are in it, where that is known."""
    fields = ("task", "content", "number", "base", "step", "why", "who", "began", "ended")
    told = {name: getattr(rollout, name) for name in fields}
    told |= {"state": rollout.state.value, "share": rollout.share, "steps": [*rollout.steps]}
    return told | {"labels": dict(rollout.labels)} | ({} if devices is None else {"devices": devices})


def _tell(rollouts: list[Rollout], as_json: bool, store: Store | None = None) -> None:
    found = [(one, None if store is None else len(Rollouts(store.engine).members(one.id))) for one in rollouts]
    if as_json:
        say(json.dumps({"rollouts": [as_told(*one) for one in found]}))
    elif found:
        show_table(
            Screen(), ("task", "release", "instead of", "state", "to", "devices", "since", "why"), map(_row, found)
        )
    else:
        say("nothing rolls out")


def _row(told: tuple[Rollout, int | None]) -> tuple[object, ...]:
    rollout, devices = told
    when = datetime.fromtimestamp(rollout.began, UTC).strftime("%Y-%m-%d %H:%M")
    to = f"{100 * rollout.share:g} %" + "".join(f" {name}={value}" for name, value in rollout.labels.items())
    release = rollout.number or f"{rollout.content} (not yet)"
    return (rollout.task, release, rollout.base, _words(rollout.state), to, devices, when, rollout.why)


def _words(state: RolloutState) -> str:
    return state.value.replace("_", " ")
