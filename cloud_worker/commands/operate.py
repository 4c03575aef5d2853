"""Operator overrides: ``headrace-cloud observe | serve | escalate-all | freeze | thaw | pin | unpin | audit``.

Rules:
 * A command writes what is set into the state of the fleet, with who, when and why; it works whether the cluster
   runs or not. Devices hear of it at their next report, the refresher at its next step.
 * The same command twice changes nothing the second time, and records nothing.
 * A release whose files are missing is never pinned; one whose certificate does not stand only with ``--force``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from cloud_worker.commands.options import (
    ConfigOption,
    JsonOption,
    TaskArgument,
    WhoOption,
    errors_as_exit_codes,
    user_name,
)
from cloud_worker.config.cloud import CloudConfig, read_config
from cloud_worker.releases.certificates import Certificates
from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.recovered_state import open_for_reading, open_store
from cloud_worker.releases.rollback import whole_release
from cloud_worker.state.overrides import Action, Override, Overrides
from cloud_worker.state.states import ReleaseState
from router.core.domain.task import Mode, Task
from router.core.errors import ReleaseError
from router.io.table import show_table
from router.io.terminal import Screen, say

WhyOption = Annotated[str, typer.Option("--why", help="Reason, kept in the audit.", metavar="TEXT")]


@dataclass(frozen=True, slots=True)
class Order:
    """One order of the operator's.

    Attributes:
        did: What it is called in the audit.
        task: Of which task.
        who: Who gives it.
        why: For what reason, may be empty.
    """

    did: str
    task: str
    who: str
    why: str


class Operator:
    """Overrides the tasks of one cluster."""

    def __init__(self, config: CloudConfig) -> None:
        """Work on the state of the cluster that ``config`` describes."""
        config.data.mkdir(parents=True, exist_ok=True)
        self._config = config
        self._store = open_store(config)
        self._publisher = Publisher(config.releases_folder)
        self.overrides = Overrides(self._store.engine)

    def lay(self, order: Order, now: float, **changes: Any) -> tuple[Override, Override]:
        """Change the override of a task; what it was, and is.

        Args:
            order: What is set, and by whom.
            now: Unix time in seconds.
            changes: Fields of ``Override``.

        Raises:
            UnknownTaskError: There is no such task; names those that there are.
        """
        self._known(order.task)
        return self.overrides.lay(order.did, order.task, who=order.who, why=order.why, now=now, **changes)

    def why_not(self, task: str, release: int) -> str:
        """Why a release would serve without proof; empty when its certificate stands.

        Raises:
            UnknownTaskError: There is no such task.
            ReleaseError: There is no such release, it was never finished, or a file of it is missing.
        """
        wanted = self._known(task)
        manifest = whole_release(self._store, self._publisher, task, release)
        if {row.number: row.state for row in self._store.releases(task)}[release] is ReleaseState.BUILDING:
            raise ReleaseError(f"release {release} of task {task!r} is not finished")
        return Certificates(self._store, self._publisher).why_fallen(manifest, wanted)

    def _known(self, name: str) -> Task:
        task = self._config.task(name)
        if name not in {state.name for state in self._store.task_states()}:
            self._store.declare_tasks([task])  # before the first start
        return task


def observe(
    task: TaskArgument, config: ConfigOption, why: WhyOption = "", who: WhoOption = "", as_json: JsonOption = False
) -> None:
    """Ask the cloud always, and record what would have stayed; `status` then tells the saving.

    Example: headrace-cloud observe home -c cloud.toml --why "first week"
    """
    _lay(config, Order("observe", task, who, why), as_json, mode=Mode.OBSERVE)


def serve(
    task: TaskArgument, config: ConfigOption, why: WhyOption = "", who: WhoOption = "", as_json: JsonOption = False
) -> None:
    """Serve by the policy again, after `observe` or `escalate-all`.

    Example: headrace-cloud serve home -c cloud.toml
    """
    _lay(config, Order("serve", task, who, why), as_json, mode=Mode.SERVE)


def escalate_all(
    task: TaskArgument, config: ConfigOption, why: WhyOption = "", who: WhoOption = "", as_json: JsonOption = False
) -> None:
    """Let devices keep nothing: everything escalates.

    Example: headrace-cloud escalate-all home -c cloud.toml --why "a customer complains"
    """
    _lay(config, Order("escalate-all", task, who, why), as_json, mode=Mode.ESCALATE_ALL)


def freeze(
    task: TaskArgument, config: ConfigOption, why: WhyOption = "", who: WhoOption = "", as_json: JsonOption = False
) -> None:
    """Fit and promote nothing; what serves goes on, and is watched.

    Example: headrace-cloud freeze home -c cloud.toml --why "release week"
    """
    _lay(config, Order("freeze", task, who, why), as_json, frozen=True)


def thaw(
    task: TaskArgument, config: ConfigOption, why: WhyOption = "", who: WhoOption = "", as_json: JsonOption = False
) -> None:
    """Refresh again, after `freeze`.

    Example: headrace-cloud thaw home -c cloud.toml
    """
    _lay(config, Order("thaw", task, who, why), as_json, frozen=False)


def pin(
    task: TaskArgument,
    release: Annotated[int, typer.Argument(help="Number of the release.", metavar="RELEASE", min=0)],
    config: ConfigOption,
    force: Annotated[bool, typer.Option("--force", help="Even if its certificate does not stand.")] = False,
    why: WhyOption = "",
    who: WhoOption = "",
    as_json: JsonOption = False,
) -> None:
    """Let one release serve, under a new number if it is an older one, and promote nothing until `unpin`.

    Example: headrace-cloud pin home 4 -c cloud.toml --why "5 mixes up the doors"
    """

    def changes(operator: Operator) -> dict[str, Any]:
        fallen = operator.why_not(task, release)
        if fallen and not force:
            raise ReleaseError(
                f"the certificate of release {release} of task {task!r} does not stand: {fallen}; "
                "with --force it serves all the same, and is told as unproven"
            )
        return {"pinned": release, "forced": bool(fallen)}

    _order(config, Order(f"pin {release}", task, who, why), as_json, changes)


def unpin(
    task: TaskArgument, config: ConfigOption, why: WhyOption = "", who: WhoOption = "", as_json: JsonOption = False
) -> None:
    """Promote again, after `pin`; what was pinned serves on until something better is certified, unless by force.

    Example: headrace-cloud unpin home -c cloud.toml
    """
    _lay(config, Order("unpin", task, who, why), as_json, pinned=None, forced=False)


def audit(
    config: ConfigOption,
    task: Annotated[str, typer.Option("--task", help="Only this one.", metavar="TASK")] = "",
    as_json: JsonOption = False,
) -> None:
    """List what operators have done, oldest first.

    Example: headrace-cloud audit -c cloud.toml --task home
    """
    with errors_as_exit_codes():
        settings = read_config(config)
        actions = Overrides(open_for_reading(settings).engine).actions(task)
        if as_json:
            say(json.dumps({"actions": [asdict(action) for action in actions]}))
        else:
            _show(Screen(), actions)


def _lay(config: Path, order: Order, as_json: bool, **changes: Any) -> None:
    _order(config, order, as_json, lambda _: changes)


def _order(config: Path, order: Order, as_json: bool, changes: Callable[[Operator], dict[str, Any]]) -> None:
    with errors_as_exit_codes():
        operator = Operator(read_config(config))
        order = Order(order.did, order.task, order.who or user_name(), order.why)
        before, after = operator.lay(order, time.time(), **changes(operator))
        if as_json:
            said = {"task": order.task, "did": order.did, "who": order.who, "changed": before != after}
            say(json.dumps(said | {"before": asdict(before), "after": asdict(after)}))
        elif before == after:
            say(f"{order.task}: nothing to change; {in_words(after)}")
        else:
            say(f"{order.task}: {in_words(after)} (before: {in_words(before)})")


def in_words(override: Override) -> str:
    """An override in a few words."""
    words = [override.mode.value.replace("_", "-")]
    if override.frozen:
        words.append("frozen")
    if override.pinned is not None:
        words.append(f"release {override.pinned} pinned{' by force, unproven' if override.forced else ''}")
    return ", ".join(words)


def _show(console: Console, actions: list[Action]) -> None:
    if not actions:
        console.print("nothing was done")
        return
    show_table(console, ("when (UTC)", "who", "task", "did", "why", "before", "after"), map(_row, actions))


def _row(action: Action) -> tuple[str, ...]:
    when = datetime.fromtimestamp(action.at, UTC).strftime("%Y-%m-%d %H:%M:%S")
    before, after = (_words_of(said) for said in (action.before, action.after))
    return when, action.who, action.task, action.did, action.why, before, after


def _words_of(said: Mapping[str, Any]) -> str:
    """An override as it was noted; nothing of none, and of one that a disk has spoilt."""
    with suppress(KeyError, ValueError, TypeError):
        return in_words(Override(Mode(said["mode"]), said["frozen"], said["pinned"], said["forced"])) if said else ""
    return "can't be read"
