"""``headrace``: ask one question, or a file of them; hold a conversation; replay a log of your own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from router.backtest.command import backtest
from router.client.async_client import AsyncClient
from router.client.blocking_client import Client
from router.client.request import DEFAULT_DEADLINE_SECONDS
from router.commands.ask_file import AnswerFile, Tally, answer_as_json, ask_all
from router.commands.chat import chat
from router.commands.feedback import feedback
from router.commands.output import check_said, reporting, who_answered
from router.commands.piped_question import piped_question
from router.commands.program import IdentityOption, Program, VersionOption
from router.commands.question_file import check_questions, read_questions
from router.core.domain.query import MAX_TOP_K, Answer, Consent, Query, Route, Wanted
from router.core.errors import HeadraceError
from router.io.terminal import Screen, log_to_stderr, say, say_json

CONCURRENCY, MAX_CONCURRENCY = 8, 256
PIPED = "-"  # stands for the question that comes through standard input
_SHOWN_FAILURES = 10

app = Program("headrace", rich_markup_mode=None)


@app.callback()
def main(show_version: VersionOption = False) -> None:
    """Ask an edge agent, or the cloud: both answer the same way."""


@app.command()
def ask(
    target: Annotated[
        list[str],
        typer.Option(
            help="Whom to ask; several in order of preference.", metavar="HOST:PORT", envvar="HEADRACE_TARGET"
        ),
    ],
    task: Annotated[
        str, typer.Option(help="The task that the question belongs to.", metavar="NAME", envvar="HEADRACE_TASK")
    ],
    text: Annotated[
        str | None,
        typer.Argument(metavar="[TEXT]", help="The question; - reads it from a pipe.", show_default=False),
    ] = None,
    file: Annotated[Path | None, typer.Option(help='Questions, JSON lines {"text": ...}.', metavar="FILE")] = None,
    out: Annotated[Path | None, typer.Option(help="Where the answers to --file go.", metavar="FILE")] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(
            help=f"Questions of --file asked at a time; {CONCURRENCY} if left out.",
            metavar="N",
            min=1,
            max=MAX_CONCURRENCY,
        ),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Plain transport, this machine only.", envvar="HEADRACE_INSECURE")
    ] = False,
    identity: IdentityOption = None,
    deadline: Annotated[
        float, typer.Option(help="Seconds that a question may take.", metavar="SECONDS", envvar="HEADRACE_DEADLINE")
    ] = DEFAULT_DEADLINE_SECONDS,
    route: Annotated[Route, typer.Option(help="Where the question may go.", envvar="HEADRACE_ROUTE")] = Route.AUTO,
    consent: Annotated[
        Consent, typer.Option(help="Whether the answer may be logged for teaching.", envvar="HEADRACE_CONSENT")
    ] = Consent.AS_TASK,
    top_k: Annotated[
        int, typer.Option("--top-k", help="Show so many of the likeliest labels.", metavar="N", min=0, max=MAX_TOP_K)
    ] = 0,
    rationale: Annotated[bool, typer.Option("--rationale", help="Show the teacher's reason.")] = False,
    device: Annotated[
        str,
        typer.Option(help="Who asks, where an insecure door believes it.", metavar="NAME", envvar="HEADRACE_DEVICE"),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON, also of an error.")] = False,
) -> None:
    """Ask one question, or a file of them.

    The answer goes to standard output; who gave it, and the query id that `feedback` takes, to standard error.
    With --file, answers go to --out as they come. The same command again goes on where the last one stopped.

    \b
    Examples:
      headrace ask "turn the heating down" --task home --target 127.0.0.1:7701 --insecure
      echo "open the garage" | headrace ask --task home --target 127.0.0.1:7701 --insecure -
      headrace ask --file questions.jsonl --out answers.jsonl --task home --target 127.0.0.1:7701 --insecure
      export HEADRACE_TARGET="127.0.0.1:7701 127.0.0.1:7700" HEADRACE_TASK=home HEADRACE_INSECURE=1
      headrace ask "open the garage" --json

    Exit codes are listed in docs/exit-codes.md.
    """  # noqa: D301 - \b keeps the lines of the examples
    template = Query(id="", task=task, route=route, consent=consent, wanted=Wanted(top_k, rationale))
    with reporting(as_json):
        if text is not None and file is None and out is None:
            if concurrency is not None:
                raise typer.BadParameter("--concurrency is for --file; leave it out, or give --file with --out")
            log_to_stderr(logging.INFO, "headrace: %(message)s")
            with Client(target, insecure=insecure, identity=identity, device=device, deadline=deadline) as client:
                said = piped_question() if text == PIPED else text
                _show(client.answer(replace(template, text=said)), as_json)
        elif text is None and file is not None and out is not None:
            _ask_file(
                AsyncClient(target, insecure=insecure, identity=identity, device=device, deadline=deadline),
                template,
                file,
                out,
                concurrency or CONCURRENCY,
                as_json,
            )
        else:
            raise typer.BadParameter("give either a TEXT, or --file together with --out")


app.command()(chat)
app.command()(feedback)
app.command()(backtest)


def _show(answer: Answer, as_json: bool) -> None:
    said = check_said(answer)
    if as_json:
        say_json({"id": answer.query_id, "answer": answer_as_json(answer)})
        return
    say(said)
    for label, log_probability in answer.distribution.top:
        say(f"  {log_probability:8.3f}  {label}")
    if answer.rationale:
        say(f"  {answer.rationale}")
    say(who_answered(answer), err=True)
    say(f"query id: {answer.query_id}", err=True)


def _ask_file(client: AsyncClient, template: Query, source: Path, out: Path, concurrency: int, as_json: bool) -> None:
    checked = check_questions(source, template)
    if checked.unread:
        unread = ", ".join(key if key.isprintable() else ascii(key) for key in checked.unread)
        say(f"headrace: kept as they are, and not read: {unread}", err=True)
    with AnswerFile(out) as answers, _progress(checked.count) as on_progress:

        async def run() -> Tally:
            async with client:
                return await ask_all(client, read_questions(source, template), answers, concurrency, on_progress)

        try:
            tally = asyncio.run(run())
        except (HeadraceError, KeyboardInterrupt):
            say(f"headrace: {len(answers.done)} answers are in {out}; the same command goes on from there", err=True)
            raise
    _report(tally, as_json)


@contextlib.contextmanager
def _progress(count: int) -> Iterator[Callable[[Tally], None]]:
    """A bar on standard error, if that is a terminal."""
    console = Screen(stderr=True)
    columns = (TextColumn("asking"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("asking", total=count)
        yield lambda tally: progress.update(bar, completed=tally.skipped + tally.answered + len(tally.failures))


def _report(tally: Tally, as_json: bool) -> None:
    for line, error in tally.failures[:_SHOWN_FAILURES]:
        say(f"headrace: line {line}: {error}", err=True)
    failed = len(tally.failures)
    if as_json:
        say(
            json.dumps(
                {
                    "questions": tally.questions,
                    "answered": tally.answered,
                    "answered_before": tally.skipped,
                    "failed": failed,
                }
            )
        )
    else:
        say(f"{tally.answered} answered, {tally.skipped} answered before, {failed} without an answer", err=True)
    if failed:
        raise typer.Exit(tally.failures[0][1].exit_code)
