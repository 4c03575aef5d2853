"""Run the whole loop on one machine: ``python -m demo --help``."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import Progress

from cloud_worker.config import CloudConfig, read_config
from cloud_worker.distillation_log import DistillationLog
from cloud_worker.publisher import Publisher
from cloud_worker.store import Store
from demo import measure, report
from demo.configs import Models
from demo.processes import running
from demo.setting import TASK, Places, Setting, workload, write_configs
from demo.standing import Observer
from demo.stream import Asked, send
from demo.tools.models import CACHE, KINDS, made
from demo.view import View
from router.errors import ConfigError, HeadraceError

app = typer.Typer(add_completion=False, rich_markup_mode="rich")

_EXAMPLES = """
[bold]Examples[/bold]

python -m demo

python -m demo --limit 3000 --agents 3

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


@app.command(epilog=_EXAMPLES)
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
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here too.")] = None,
    no_ui: Annotated[bool, typer.Option("--no-ui", help="Print nothing but the last line of JSON.")] = False,
    seed: Annotated[int, typer.Option(help="Of the demo's own workload.")] = 0,
    folder: Annotated[
        Path | None, typer.Option("--run", help="Folder of this run.", show_default="runs/<time>")
    ] = None,
) -> None:
    """Run the loop on one machine: a Ray cluster, agents that start with nothing, and a stream of queries.

    The last line of stdout is one JSON object.
    """
    console = Console(stderr=True, quiet=no_ui, markup=False)
    handler = RichHandler(console=console, show_path=False)  # its lines go above a live view
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler])
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        _check_writable(json_file)
        teacher, student = _chosen(own, teacher, student)
        known, asked = workload(examples, stream, teacher, limit, seed)
        is_own = stream is None
        models = _models(seed, console) if own is WorkloadKind.TOOLS else None
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
        )
        figures = asyncio.run(_run(setting, console))
    except HeadraceError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(error.exit_code) from error
    except KeyboardInterrupt:
        typer.echo("stopped", err=True)
        raise typer.Exit(130) from None
    console.print(report.table(figures, promise))
    console.print(f"picture: {setting.folder / 'picture.png'}   everything else: {setting.folder}")
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    typer.echo(json.dumps(figures))


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


def _models(seed: int, console: Console) -> Models:
    """The models that write, made now or the last time."""
    with Progress(console=console) as progress:
        bars = {kind: progress.add_task(f"training the {kind}", total=1.0, visible=False) for kind in KINDS}
        models = asyncio.run(
            made(CACHE, seed, lambda kind, share: progress.update(bars[kind], completed=share, visible=True))
        )
    for bar in progress.tasks:
        if bar.finished:
            console.print(f"{bar.description} took {bar.finished_time:.0f} s")
    return models


def _check_writable(json_file: Path | None) -> None:
    try:
        if json_file is not None:
            json_file.open("a").close()
    except OSError as error:
        raise ConfigError("--json", "", f"{json_file} can't be written: {error.strerror}") from error


async def _run(setting: Setting, console: Console) -> dict[str, Any]:
    began = time.monotonic()
    places = write_configs(setting)
    config = read_config(places.cloud_config)
    console.print(f"starting the cloud and {setting.agents} agents; logs are in {setting.folder}")
    async with contextlib.AsyncExitStack() as stack:
        with console.status("starting"):
            stage = await stack.enter_async_context(running(setting.folder, places))
        console.print(f"serving after {time.monotonic() - began:.0f} s; the stream begins")
        asked = Asked([None] * len(setting.stream), milliseconds=[0.0] * len(setting.stream))
        observer = Observer(config)
        await _stream(setting, places, observer, asked, console)
        teacher = await _ask_teacher(setting, places, console)
        restarts = stage.restarts
    figures = _measure(setting, config, places, asked, teacher)
    figures |= {"seconds": round(time.monotonic() - began, 1), "restarts": restarts}
    report.picture(figures, setting.promise, setting.folder / "picture.png")
    return figures


async def _stream(setting: Setting, places: Places, observer: Observer, asked: Asked, console: Console) -> None:
    view = asyncio.create_task(View(console, observer, asked, places.devices).run())

    def sent() -> dict[str, int]:
        share, rest = divmod(asked.sent, setting.agents)
        return {device: share + (place < rest) for place, device in enumerate(places.devices)}

    try:
        await send(setting, places, asked, lambda: observer.settle(sent))
        await observer.drained()
    finally:
        view.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await view


async def _ask_teacher(setting: Setting, places: Places, console: Console) -> dict[str, str]:
    with Progress(console=console) as progress:
        bar = progress.add_task("measuring: the teacher answers every text", total=None)
        return await measure.teacher_answers(
            setting, places, lambda done, total: progress.update(bar, completed=done, total=total)
        )


def _measure(
    setting: Setting, config: CloudConfig, places: Places, asked: Asked, teacher: dict[str, str]
) -> dict[str, Any]:
    logged = measure.logged_keys(DistillationLog(config.log_folder))
    rows = measure.rows_of(setting, asked, teacher, logged, places.devices)
    publisher = Publisher(config.releases_folder)
    released = [(row, publisher.manifest(TASK, row.number)) for row in Store(config.store_url).releases(TASK)]
    right = measure.teacher_right(setting, teacher)
    lost = measure.lost(asked, logged, places.devices)
    return measure.figures(rows, released, right, agents=setting.agents, lost=lost)


if __name__ == "__main__":
    app()
