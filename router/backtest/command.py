"""``headrace backtest``: what Headrace would have saved on a log of your own."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from router.core.errors import ConfigError, HeadraceError
from router.io.extras import check_extra, import_problem
from router.io.matplotlib_setup import drawing
from router.io.terminal import Screen, say

if TYPE_CHECKING:
    from router.backtest.logs.reader import Log
    from router.backtest.run import Plan, Result

EXTRA = "backtest"
NEEDED = ("matplotlib", "onnxruntime", "pyarrow", "safetensors", "scipy", "sklearn", "threadpoolctl", "tokenizers")
PICTURES = (".png", ".svg", ".pdf", ".jpg")
_INTERRUPTED = 130
_DEFAULT_CACHE = Path("~/.cache/headrace")


class StudentKind(StrEnum):
    """What learns from the log."""

    HASHED = "hashed"
    ENCODER = "encoder"


class Format(StrEnum):
    """Whose log it is."""

    AUTO = "auto"
    COLUMNS = "columns"
    HEADRACE = "headrace"
    OPENAI = "openai"
    OPENAI_BATCH = "openai-batch"
    FINE_TUNING = "fine-tuning"
    LITELLM = "litellm"
    LANGFUSE = "langfuse"
    LANGSMITH = "langsmith"


class JudgeName(StrEnum):
    """How two answers are compared."""

    EXACT = "exact"
    NORMALISED_TEXT = "normalised_text"
    NUMBER = "number"
    STRUCTURE = "structure"
    TOOL_CALL = "tool_call"


def backtest(
    log: Annotated[Path, typer.Argument(help="JSON lines, CSV, Parquet or Delta.", metavar="LOG", show_default=False)],
    text: Annotated[str, typer.Option(help="Column of what was asked.", metavar="COLUMN", show_default="guessed")] = "",
    answer: Annotated[
        str, typer.Option(help="Column of the large model's answer.", metavar="COLUMN", show_default="guessed")
    ] = "",
    label: Annotated[str, typer.Option(help="Column of the truth, if known.", metavar="COLUMN")] = "",
    cost: Annotated[str, typer.Option(help="Column of what an answer cost.", metavar="COLUMN")] = "",
    time: Annotated[str, typer.Option(help="Column of when it was asked.", metavar="COLUMN")] = "",
    shape: Annotated[Format, typer.Option("--format", help="Whose log it is.")] = Format.AUTO,
    encoding: Annotated[str, typer.Option(help="Of the log's text.", metavar="NAME", show_default="UTF-8")] = "",
    requests: Annotated[Path | None, typer.Option(help="Input of a batch, for its output.", metavar="FILE")] = None,
    task: Annotated[str, typer.Option(help="Only its rows, in Headrace's own log.", metavar="NAME")] = "",
    promise: Annotated[
        list[str] | None,
        typer.Option(
            help="Largest share that may differ; several give a row each.", metavar="SHARE", show_default="0.02"
        ),
    ] = None,
    assurance: Annotated[float, typer.Option(help="How sure the promise is.", min=0.5, max=0.9999)] = 0.95,
    judge: Annotated[JudgeName, typer.Option(help="When two answers are the same.")] = JudgeName.EXACT,
    student: Annotated[StudentKind, typer.Option(help="What learns.")] = StudentKind.HASHED,
    encoder: Annotated[
        Path | None,
        typer.Option(
            help="minilm, or a folder with model.onnx and tokenizer.json; makes it --student encoder.",
            metavar="ENCODER",
        ),
    ] = None,
    cache: Annotated[Path, typer.Option(help="Keeps what the encoder read.", metavar="FOLDER")] = _DEFAULT_CACHE,
    devices: Annotated[int, typer.Option(help="How many ask, in turn.", min=1, max=10_000)] = 1,
    limit: Annotated[int, typer.Option(help="Most queries, the earliest; 0 for all.", min=0)] = 0,
    seed: Annotated[int, typer.Option(help="Of everything drawn.")] = 0,
    repeat: Annotated[int, typer.Option(help="Replay with so many seeds, and show the spread.", min=1, max=100)] = 1,
    memory: Annotated[int, typer.Option(help="Answers that a device remembers; 0 for none.", min=0)] = 10_000,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out rows that can't be used.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the figures here, as JSON.", metavar="FILE")] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw them here.", metavar="FILE")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object a promise, nothing else.")] = False,
) -> None:
    """Say what Headrace would have saved on a log of a large model's answers.

    The log is replayed from nothing: students are fitted, certified, promoted and watched by the code that does it in
    earnest. It takes about a minute for 15,000 queries, and nothing leaves this machine.

    \b
    Examples:
      headrace backtest log.jsonl
      headrace backtest log.csv --text prompt --answer response --promise 0.01,0.02,0.05
      headrace backtest log.parquet --label gold --cost usd --time asked_at --picture saved.png
      headrace backtest numbers.jsonl --judge number --repeat 5 --out report.json

    Exit codes are listed in docs/exit-codes.md.
    """  # noqa: D301 - \b keeps the lines of the examples
    with _reporting(as_json):
        check_extra("headrace backtest", EXTRA, NEEDED)
        from router.backtest.labels import JUDGES
        from router.backtest.logs.reader import Columns, How, read_log
        from router.backtest.run import Plan

        plan = Plan(
            promises=_promises(promise or ["0.02"]),
            assurance=assurance,
            judge=JUDGES[judge.value],
            student="encoder" if encoder is not None else student.value,
            encoder=encoder,
            cache=cache,
            devices=devices,
            seed=seed,
            repeat=repeat,
            memory=memory,
        )
        for option, path in (("--out", out), ("--picture", picture)):
            _check_writable(option, path)
        how = How(shape.value, encoding, requests, task)
        read = read_log(log, Columns(text, answer, label, cost, time), limit, skip_bad=skip_bad, how=how)
        _tell(read, plan, _replayed(read, plan, quiet=as_json), out, picture, as_json=as_json)


def _replayed(read: Log, plan: Plan, *, quiet: bool) -> list[Result]:
    from router.backtest.run import run

    with _progress(quiet) as progress:
        return run(read, plan, progress)


def _tell(
    read: Log, plan: Plan, results: Sequence[Result], out: Path | None, picture: Path | None, *, as_json: bool
) -> None:
    from router.backtest.report import show
    from router.io.atomic_write import write_whole

    objects = [result.as_json() for result in results]
    if out is not None:
        content: Any = objects[0] if len(objects) == 1 else objects
        write_whole(out, (json.dumps(content, indent=1) + "\n").encode())
    if picture is not None:
        with drawing():
            from router.backtest.plot import draw

            draw(read, results, picture)
    if as_json:
        for found in objects:
            say(json.dumps(found))
        return
    show(Screen(), read, plan, results)


def _promises(given: Sequence[str]) -> tuple[float, ...]:
    """Shares from options that are numbers, or lists of them."""
    found: dict[float, None] = {}
    for word in ",".join(given).split(","):
        try:
            share = float(word)
        except ValueError:
            raise typer.BadParameter(
                f"{word!r} is no share; write 0.02, or 0.01,0.02,0.05", param_hint="--promise"
            ) from None
        if not 0 < share <= 0.5:
            raise typer.BadParameter(f"{word} is out of range; use a share above 0, up to 0.5", param_hint="--promise")
        found[share] = None
    return tuple(found)


def _check_writable(option: str, path: Path | None) -> None:
    """Find out before the work what would fail after it; nothing is left behind."""
    if path is None:
        return
    if path.is_dir() or not path.parent.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ConfigError(option, str(path), "can't be written; name a file in a folder that is there")
    if option == "--picture" and path.suffix.lower() not in PICTURES:
        raise ConfigError(option, str(path), f"is of no kind known here; use one of {', '.join(PICTURES)}")


@contextlib.contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[str, float], None]]:
    """A bar on standard error, if that is a terminal."""
    console = Screen(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal, transient=True) as progress:
        bar = progress.add_task("reading", total=1.0)
        yield lambda stage, share: progress.update(bar, description=stage, completed=share)


@contextlib.contextmanager
def _reporting(as_json: bool) -> Iterator[None]:
    """Say what went wrong, and end with the exit code that it has."""
    try:
        try:
            yield
        except ImportError as error:
            raise import_problem("headrace backtest", EXTRA, error) from error
    except HeadraceError as error:
        if as_json:
            said = {"kind": type(error).__name__, "message": str(error), "exit_code": error.exit_code}
            say(json.dumps({"error": said}))
        say(f"headrace: {error}", err=True)
        raise typer.Exit(error.exit_code) from error
    except KeyboardInterrupt:
        say("headrace: stopped", err=True)
        raise typer.Exit(_INTERRUPTED) from None
