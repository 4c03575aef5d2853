"""Run the whole loop on one machine: ``python -m demo --help``."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.logging import RichHandler

from cloud_worker.config.cloud import CloudConfig, read_config
from cloud_worker.log.distillation_log import DistillationLog
from cloud_worker.releases.publisher import Publisher
from cloud_worker.startup.steps import Steps
from cloud_worker.state.store import Store
from demo import ending, measure, report
from demo.fleet_state import Observer
from demo.setting import TASK, Addresses, Setting, workload, write_configs
from demo.starting import models_shown, running
from demo.story import next_release
from demo.stream import Asked, send
from demo.view import View
from demo.workload import later_intents
from router.core.errors import ConfigError, HeadraceError

app = typer.Typer(add_completion=False, rich_markup_mode="rich")

_EXAMPLES = """
[bold]Examples[/bold]

python -m demo

python -m demo --limit 3000 --agents 3 --json

python -m demo --secure

python -m demo --workload tools --lockstep

python -m demo --stream asked.jsonl --teacher recorded --promise 0.01 --lockstep

python -m demo --examples known.jsonl --stream asked.jsonl --json figures.json --no-ui
"""


class WorkloadKind(StrEnum):
    """What the demo's own queries are."""

    COMMANDS = "commands"
    TOOLS = "tools"


class TeacherKind(StrEnum):
    """Who answers in the cloud."""

    ENCODER = "encoder"
    RECORDED = "recorded"
    GENERATING = "generating"


class StudentKind(StrEnum):
    """What runs on the devices."""

    COMPACT = "compact"
    ENCODER_HEAD = "encoder-head"
    GENERATOR = "generator"


@app.command(epilog=_EXAMPLES, cls=ending.Command)
def main(
    own: Annotated[
        WorkloadKind, typer.Option("--workload", help="The demo's own queries: commands, or requests that call tools.")
    ] = WorkloadKind.COMMANDS,
    examples: Annotated[Path | None, typer.Option(help="JSON lines {text, label} that fit the teacher.")] = None,
    stream: Annotated[Path | None, typer.Option(help="JSON lines {text, label} that the fleet is asked.")] = None,
    teacher: Annotated[
        TeacherKind | None,
        typer.Option(help="Who answers in the cloud.", show_default="encoder; for tools: generating"),
    ] = None,
    student: Annotated[
        StudentKind | None,
        typer.Option(
            help="What runs on the devices.", show_default="compact; for recorded: encoder-head; for tools: generator"
        ),
    ] = None,
    promise: Annotated[float, typer.Option(min=1e-4, max=0.5, help="Largest share of answers that may differ.")] = 0.02,
    assurance: Annotated[float, typer.Option(min=0.5, max=0.9999, help="How sure the promise is.")] = 0.95,
    agents: Annotated[int, typer.Option(min=1, max=20, help="How many devices.")] = 2,
    limit: Annotated[int, typer.Option(min=0, help="Most queries; 0 for all.")] = 0,
    rate: Annotated[float, typer.Option(min=0, help="Queries a second; 0: as fast as they are answered.")] = 0.0,
    lockstep: Annotated[
        bool | None,
        typer.Option(
            "--lockstep/--no-lockstep",
            help="Hold the stream while something is computed or copied.",
            show_default="own workload: held",
        ),
    ] = None,
    json_to: Annotated[
        Path | None,
        typer.Option(
            "--json",
            metavar="[FILE]",
            help="Print the figures as the last line, on a terminal too; or write them to FILE.",
            show_default="printed in a pipe",
        ),
    ] = None,
    no_ui: Annotated[bool, typer.Option("--no-ui", help="Print nothing but the figures.")] = False,
    secure: Annotated[
        bool,
        typer.Option("--secure", help="With certificates on both sides and signed releases, as on many machines."),
    ] = False,
    cloud_host: Annotated[str, typer.Option(hidden=True, help="Where a secure cloud listens.")] = "127.0.0.1",
    cloud_network: Annotated[str, typer.Option(hidden=True, help="Network namespace of the cloud, a path.")] = "",
    seed: Annotated[int, typer.Option(help="Of the demo's own workload.")] = 0,
    folder: Annotated[
        Path | None, typer.Option("--run", help="Folder of this run.", show_default="runs/<time>")
    ] = None,
) -> None:
    """Run the loop on one machine: a Ray cluster, agents that start with nothing, and a stream of queries.

    It ends with a table and a picture. In a pipe the last line of stdout is one JSON object.
    """
    console = Console(stderr=True, quiet=no_ui, markup=False, highlight=False)
    handler = RichHandler(console=console, show_path=False)  # its lines go above a live view
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler])
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        ending.check(json_to)
        teacher, student = _chosen(own, teacher, student)
        known, asked = workload(examples, stream, teacher, limit, seed)
        is_own = stream is None
        models = models_shown(seed, console) if own is WorkloadKind.TOOLS else None
        setting = Setting(
            folder=folder or Path("runs") / time.strftime("%Y%m%d-%H%M%S"),
            stream=asked,
            examples=known or asked,
            teacher=teacher.value,
            student=student.value,
            promise=promise,
            assurance=assurance,
            agents=agents,
            rate=rate,
            lockstep=is_own if lockstep is None else lockstep,
            is_own=is_own,
            models=models,
            secure=secure,
            cloud_host=cloud_host,
            cloud_network=cloud_network,
            new_labels=later_intents() if is_own and models is None else frozenset(),
        )
        figures = asyncio.run(_run(setting, console))
        ending.show(figures, setting, console)
        ending.tell(figures, json_to, always=no_ui)
    except HeadraceError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(error.exit_code) from error
    except KeyboardInterrupt:
        typer.echo("stopped", err=True)
        raise typer.Exit(130) from None


def _chosen(
    own: WorkloadKind, teacher: TeacherKind | None, student: StudentKind | None
) -> tuple[TeacherKind, StudentKind]:
    """Teacher and student, named or by default.

    Raises:
        ConfigError: They don't go with the workload.
    """
    writes = own is WorkloadKind.TOOLS
    teacher = teacher or (TeacherKind.GENERATING if writes else TeacherKind.ENCODER)
    if student is None:
        labels = StudentKind.COMPACT if teacher is TeacherKind.ENCODER else StudentKind.ENCODER_HEAD
        student = StudentKind.GENERATOR if writes else labels
    for option, kind, fits in (
        ("--teacher", teacher, (teacher is TeacherKind.GENERATING) == writes),
        ("--student", student, (student is StudentKind.GENERATOR) == writes),
    ):
        if not fits:
            raise ConfigError(option, kind.value, f"does not go with --workload {own.value}")
    return teacher, student


async def _run(setting: Setting, console: Console) -> dict[str, Any]:
    began = time.monotonic()
    addresses = write_configs(setting)
    config = read_config(addresses.cloud_config)
    console.print(f"starting the cloud and {setting.agents} agents; logs are in {setting.folder}")
    async with contextlib.AsyncExitStack() as stack:
        stage = await stack.enter_async_context(running(setting.folder, addresses, console))
        console.print(f"serving after {time.monotonic() - began:.0f} s; the stream begins")
        asked = Asked([None] * len(setting.stream), milliseconds=[0.0] * len(setting.stream))
        observer = Observer(config)
        await _stream(setting, addresses, observer, asked, console)
        teacher = await _ask_teacher(setting, addresses, console)
        restarts, fleet_state = stage.restarts, observer.read()
    figures = _measure(setting, config, addresses, asked, teacher, next_release(fleet_state.state, fleet_state.figures))
    figures |= {"seconds": round(time.monotonic() - began, 1), "restarts": restarts}
    report.picture(figures, setting.promise, setting.folder / "picture.png")
    return figures


async def _stream(setting: Setting, addresses: Addresses, observer: Observer, asked: Asked, console: Console) -> None:
    view = asyncio.create_task(
        View(console, observer, asked, addresses.devices, setting.stream, setting.new_labels).run()
    )

    def sent() -> dict[str, int]:
        share, rest = divmod(asked.sent, setting.agents)
        return {device: share + (position < rest) for position, device in enumerate(addresses.devices)}

    try:
        await send(setting, addresses, asked, lambda: observer.settle(sent))
        await observer.drained()
    finally:
        view.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await view


async def _ask_teacher(setting: Setting, addresses: Addresses, console: Console) -> dict[str, str]:
    with Steps(console).bar("Asking the teacher every text") as told:
        return await measure.teacher_answers(
            setting, addresses, lambda done, total: told(f"{done} of {total}", done / total)
        )


def _measure(
    setting: Setting, config: CloudConfig, addresses: Addresses, asked: Asked, teacher: dict[str, str], waits: str
) -> dict[str, Any]:
    logged = measure.logged_keys(DistillationLog(config.log_folder))
    rows = measure.rows_of(setting, asked, teacher, logged, addresses.devices)
    publisher = Publisher(config.releases_folder)
    released = [(row, publisher.manifest(TASK, row.number)) for row in Store(config.store_url).releases(TASK)]
    right = measure.teacher_right(setting, teacher)
    lost = measure.lost(asked, logged, addresses.devices)
    return measure.figures(rows, released, right, setting.new_labels, waits, agents=setting.agents, lost=lost)


if __name__ == "__main__":
    app()
