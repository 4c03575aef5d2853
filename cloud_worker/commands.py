"""What the commands of ``headrace-cloud`` share: options, who gives them, and how they end."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from router.errors import HeadraceError
from router.terminal import say

INTERRUPTED = 130  # 128 + SIGINT, as shells tell it

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The cluster's TOML file.", metavar="FILE")]
TaskArgument = Annotated[str, typer.Argument(help="Name of the task.", metavar="TASK")]
WhoOption = Annotated[str, typer.Option("--who", help="Who does it; by default the user of this system.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@contextmanager
def errors_as_exit_codes() -> Iterator[None]:
    """Print what goes wrong as one line, and end with its exit code."""
    try:
        yield
    except HeadraceError as error:
        say(f"headrace-cloud: {error}", err=True)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def user_name() -> str:
    """The user of this system, by the process and not by the environment."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # in a container
        return f"user {os.getuid()}"
