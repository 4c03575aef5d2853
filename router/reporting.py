"""What the commands of ``headrace`` say alike: what went wrong, and who answered."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

import typer

from router.errors import HeadraceError
from router.query import Answer
from router.terminal import say

INTERRUPTED = 130  # exit code after Ctrl-C, as shells have it


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


def who_answered(answer: Answer) -> str:
    """Who answered, why there, and how sure it is, in one line."""
    came_from = answer.provenance
    notes = [came_from.tier.value, came_from.model, f"release {came_from.release}" * bool(came_from.release)]
    notes += [came_from.reason.value, "" if answer.confidence is None else f"confidence {answer.confidence:.2f}"]
    notes.append("degraded" * came_from.degraded)
    return "; ".join(note for note in notes if note)
