"""``headrace chat``: a conversation with an agent, or with the cloud.

Rules:
 * Every turn sends the whole conversation: nobody between here and the model remembers it.
 * A turn that fails is taken back, so that the next one stands on what was answered.
 * Answers go to standard output; who answered, the query id for `feedback`, and all else, to standard error.
 * At a terminal an error ends the turn; in a pipe it ends the run, with its exit code.
"""

from __future__ import annotations

import contextlib
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Annotated

import typer

from router.client.blocking_client import Client
from router.client.request import DEFAULT_DEADLINE_SECONDS
from router.commands.ask_file import answer_as_json
from router.commands.output import INTERRUPTED, check_said, reporting, say_error, who_answered
from router.commands.program import IdentityOption
from router.core.domain.query import Answer, Consent, GenerationLimits, Message, Query, Route
from router.core.errors import DataError, HeadraceError
from router.core.visible_text import is_blank
from router.io.terminal import say, say_json

PROMPT = "you> "
HELP = """\
  /reset   forget the conversation and begin another
  /help    show this
  /quit    leave; so does Ctrl-D
Ctrl-C stops a question that is under way."""


@dataclass(slots=True)
class Conversation:
    """What was said so far.

    Attributes:
        template: What every turn asks with.
        system: Said to the model before everything else; empty says nothing.
        turns: Messages of user and model, in order.
        name: What logs know the conversation by.
    """

    template: Query
    system: str = ""
    turns: tuple[Message, ...] = ()
    name: str = field(default_factory=lambda: uuid.uuid4().hex)

    def ask(self, client: Client, text: str) -> Answer:
        """Say something and wait for the answer; both are remembered if it comes.

        Raises:
            HeadraceError: As ``Client.answer`` does, or the answer holds no text; nothing is remembered.
        """
        turns = (*self.turns, Message("user", text))
        system = (Message("system", self.system),) if self.system else ()
        answer = client.answer(replace(self.template, messages=(*system, *turns), conversation=self.name))
        check_said(answer)
        self.turns = (*turns, Message("assistant", answer.text))
        return answer

    def reset(self) -> None:
        """Forget what was said; what comes belongs to another conversation."""
        self.turns, self.name = (), uuid.uuid4().hex


def chat(  # noqa: PLR0913 - the flags of a command
    target: Annotated[
        list[str],
        typer.Option(
            help="Whom to ask; several in order of preference.", metavar="HOST:PORT", envvar="HEADRACE_TARGET"
        ),
    ],
    task: Annotated[
        str, typer.Option(help="The task that the conversation belongs to.", metavar="NAME", envvar="HEADRACE_TASK")
    ],
    system: Annotated[str, typer.Option(help="Tell the model how to behave.", metavar="TEXT")] = "",
    max_tokens: Annotated[
        int, typer.Option(help="Longest answer in tokens; 0 leaves it to the task.", metavar="N", min=0, max=2**31)
    ] = 0,
    temperature: Annotated[
        float | None, typer.Option(help="0 is greedy; left out, the task's own.", metavar="T", min=0, max=10)
    ] = None,
    route: Annotated[Route, typer.Option(help="Where the conversation may go.", envvar="HEADRACE_ROUTE")] = Route.AUTO,
    consent: Annotated[
        Consent, typer.Option(help="Whether the answers may be logged for teaching.", envvar="HEADRACE_CONSENT")
    ] = Consent.AS_TASK,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Plain transport, this machine only.", envvar="HEADRACE_INSECURE")
    ] = False,
    identity: IdentityOption = None,
    deadline: Annotated[
        float, typer.Option(help="Seconds that an answer may take.", metavar="SECONDS", envvar="HEADRACE_DEADLINE")
    ] = DEFAULT_DEADLINE_SECONDS,
    device: Annotated[
        str,
        typer.Option(help="Who asks, where an insecure door believes it.", metavar="NAME", envvar="HEADRACE_DEVICE"),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Write each turn as one line of JSON.")] = False,
) -> None:
    """Hold a conversation; each answer says whether the device or the cloud gave it, and its query id for `feedback`.

    At a terminal it asks for turns, and /help lists what else it understands. In a pipe every line is a turn.

    \b
    Examples:
      headrace chat --task helper --target 127.0.0.1:7701 --insecure
      headrace chat --task helper --system "Answer in one sentence." --max-tokens 60
      printf 'hello\\nand in French?\\n' | headrace chat --task helper --json

    Exit codes are listed in docs/exit-codes.md.
    """  # noqa: D301 - \b keeps the lines of the examples
    limits = GenerationLimits(max_tokens, temperature)
    talk = Conversation(Query(id="", task=task, limits=limits, route=route, consent=consent), system)
    with (
        reporting(as_json),
        Client(target, insecure=insecure, identity=identity, device=device, deadline=deadline) as client,
    ):
        if sys.stdin.isatty():
            _at_a_terminal(client, talk, as_json)
        else:
            for text in _piped():
                _show(text, talk.ask(client, text), as_json)


def _piped() -> Iterator[str]:
    """The lines of standard input that are not blank.

    Raises:
        DataError: One is not UTF-8.
    """
    for position, line in enumerate(sys.stdin.buffer, start=1):
        try:
            text = line.decode("utf-8-sig" if position == 1 else "utf-8").strip()
        except UnicodeDecodeError as error:
            raise DataError("standard input", position, f"is not UTF-8: {error.reason}") from error
        if not is_blank(text):
            yield text


def _at_a_terminal(client: Client, talk: Conversation, as_json: bool) -> None:
    """Ask for turns until the user leaves."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - gives ``input`` its history and its keys
    say("Type a question, /help, or /quit.", err=True)
    for text in _lines():
        if text == "/quit":
            return
        if text == "/reset":
            talk.reset()
            say("Forgotten.", err=True)
        elif text.startswith("/"):
            say(HELP, err=True)
        else:
            _turn(client, talk, text, as_json)


def _turn(client: Client, talk: Conversation, text: str, as_json: bool) -> None:
    try:
        _show(text, talk.ask(client, text), as_json)
    except HeadraceError as error:
        say_error(error, as_json)
        if talk.turns:
            say("That turn is taken back; /reset begins another conversation.", err=True)
    except KeyboardInterrupt:
        say("\nStopped; that turn is taken back.", err=True)


def _lines() -> Iterator[str]:
    """What the user types, line by line, until Ctrl-D or a second Ctrl-C in a row.

    Raises:
        typer.Exit: A second Ctrl-C in a row.
    """
    warned = False
    while True:
        try:
            text = input(PROMPT).strip()
        except EOFError:
            say(err=True)
            return
        except KeyboardInterrupt:
            say("" if warned else "\nCtrl-D or /quit leaves; so does Ctrl-C again.", err=True)
            if warned:
                raise typer.Exit(INTERRUPTED) from None
            warned = True
            continue
        warned = False
        if not is_blank(text):
            yield text


def _show(text: str, answer: Answer, as_json: bool) -> None:
    if as_json:
        line = {"id": answer.query_id, "user": text, "answer": answer_as_json(answer)}
        say_json(line)
        return
    say(check_said(answer))
    say(who_answered(answer), err=True, dim=True)
    say(f"query id: {answer.query_id}", err=True, dim=True)
