"""The end of a demo: the table and where the picture lies for a person, the figures as JSON for a program.

Rules:
 * A terminal as standard output gets JSON only where ``--json`` or ``--no-ui`` asks for it; a pipe or file always does.
 * The figures are the last line of standard output, whole, on one line.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from typer.core import TyperCommand

from demo import report, story
from demo.setting import Setting
from router.core.errors import ConfigError, OperatorError
from router.io.terminal import say_json

PRINTED = Path("-")


class Command(TyperCommand):
    """A command whose option ``--json`` takes a file, or stands alone."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse, with ``--json -`` for ``--json`` alone."""
        given: list[str] = []
        for position, word in enumerate(args):
            given.append(word)
            following = args[position + 1 : position + 2]
            if word == "--json" and (not following or following[0].startswith("--")):
                given.append(str(PRINTED))
        return super().parse_args(ctx, given)


def check(json_to: Path | None) -> None:
    """Check that the figures can be written where they are wanted.

    Raises:
        ConfigError: They can't.
    """
    try:
        if json_to not in (None, PRINTED):
            json_to.open("a").close()
    except OSError as error:
        raise ConfigError("--json", "", f"{json_to} can't be written: {error.strerror}") from error


def show(figures: dict[str, Any], setting: Setting, console: Console) -> None:
    """What a person reads at the end."""
    console.print(report.table(figures, setting.promise))
    for words in story.told(figures, setting.promise):
        console.print(words, soft_wrap=True)
    console.print(f"picture: {setting.folder / 'picture.png'}   everything else: {setting.folder}", soft_wrap=True)


def tell(figures: dict[str, Any], json_to: Path | None, *, always: bool) -> None:
    """Write the figures for a program: to standard output, to the file ``json_to``, or both.

    Args:
        figures: Of the run.
        json_to: A file, ``PRINTED``, or ``None`` where ``--json`` was not given.
        always: Print them on a terminal too.

    Raises:
        OperatorError: The file can't be written; they have been printed then.
    """
    failed = _written(figures, json_to) if json_to not in (None, PRINTED) else None
    if always or failed or json_to == PRINTED or not sys.stdout.isatty():
        say_json(figures)
    if failed:
        raise failed


def _written(figures: dict[str, Any], path: Path) -> OperatorError | None:
    """Write a file; what is wrong where that can't be."""
    try:
        path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        return OperatorError(f"--json: {path} can't be written: {error.strerror}; the figures were printed instead")
    return None
