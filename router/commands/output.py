"""What the commands of ``headrace`` say alike: what went wrong, and who answered."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

import typer

from router.core.domain.chat import calls_as_text
from router.core.domain.query import Answer, FinishReason
from router.core.errors import EmptyAnswerError, HeadraceError
from router.core.visible_text import is_blank
from router.io.terminal import say

INTERRUPTED = 130  # exit code after Ctrl-C, as shells have it
_ENDS = {FinishReason.LENGTH: "broke off at its longest length", FinishReason.FILTERED: "was refused or filtered"}


@contextlib.contextmanager
def reporting(as_json: bool) -> Iterator[None]:
    """Say what went wrong, and end with the exit code that it has."""
    try:
        yield
    except HeadraceError as error:
        say_error(error, as_json)
        raise typer.Exit(error.exit_code) from error
    except KeyboardInterrupt:
        say("headrace: stopped", err=True)
        raise typer.Exit(INTERRUPTED) from None


def say_error(error: HeadraceError, as_json: bool) -> None:
    """Say it for people, and as JSON where that is wanted."""
    if as_json:
        said = {"kind": type(error).__name__, "message": str(error), "exit_code": error.exit_code}
        say(json.dumps({"error": said}))
    say(f"headrace: {error}", err=True)


def check_said(answer: Answer) -> str:
    """The text of an answer that is shown; its calls where it holds nothing else.

    Raises:
        EmptyAnswerError: It holds neither.
    """
    if not is_blank(answer.text):
        return answer.text
    if answer.tool_calls:
        return calls_as_text(answer.tool_calls)
    who = f"{answer.provenance.model or 'the model'} ({answer.provenance.tier.value})"
    why = f": it {_ENDS[answer.finish_reason]}" if answer.finish_reason in _ENDS else ""
    raise EmptyAnswerError(f"{who} gave an answer without a word{why}; ask again, or ask otherwise")


def who_answered(answer: Answer) -> str:
    """Who answered, why there, and how sure it is, in one line."""
    came_from = answer.provenance
    notes = [came_from.tier.value, came_from.model, f"release {came_from.release}" * bool(came_from.release)]
    notes += [came_from.reason.value, "" if answer.confidence is None else f"confidence {answer.confidence:.2f}"]
    notes.append("degraded" * came_from.degraded)
    notes.append(_ENDS.get(answer.finish_reason, ""))
    return "; ".join(note for note in notes if note)
