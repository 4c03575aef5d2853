"""Sub-commands whose modules are imported when they are called: help, completion and their sisters load none of them.

Rules:
 * What ``--help`` lists stands in one table with where it is; a test holds it equal to what each command says itself.
 * A module that can't be imported ends the process with one line that names the extra.
"""

from __future__ import annotations

import sys
from functools import partial
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand
from typer.main import get_command, get_group

from router.commands.program import Program, TextCommand
from router.core.errors import ConfigError
from router.io.extras import import_problem
from router.io.terminal import say


def add_later(app: Program, name: str, where: str, summary: str, *, extra: str) -> None:
    """Add a sub-command, or a group of such, to a program.

    Args:
        app: The program.
        name: What people type.
        where: ``package.module:name`` of a function, or of a ``typer.Typer`` with sub-commands of its own.
        summary: One line for ``--help`` of the program.
        extra: Of this distribution; brings what the module needs.
    """
    app.command(name, cls=partial(Later, where=where, program=str(app.info.name), extra=extra), help=summary)(_stand_in)


class Later(TyperCommand):
    """Stands for a command in lists, and becomes it once it is called."""

    def __init__(self, *arguments: Any, where: str, program: str, extra: str, **options: Any) -> None:
        """Make a command like ``TyperCommand``; the rest as ``add_later`` has it."""
        super().__init__(*arguments, **options)
        self._where, self._program, self._extra = where, program, extra

    def loaded(self) -> Any:
        """The command itself; ends the process with one line where what it needs can't be imported."""
        module, _, attribute = self._where.partition(":")
        try:
            found = getattr(import_module(module), attribute)
        except ImportError as error:
            _end_for(import_problem(self._program, self._extra, error))
        command = get_group(found) if isinstance(found, typer.Typer) else get_command(_alone(self.name, found))
        command.name = self.name
        return command

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """The context of the command itself."""
        return self.loaded().make_context(*arguments, **options)


def _alone(name: str | None, function: Any) -> typer.Typer:
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(name, cls=TextCommand)(function)
    return app


def _end_for(error: ConfigError) -> Any:
    say(str(error), err=True)
    sys.exit(error.exit_code)


def _stand_in() -> None:
    """Never called: its place is taken before."""
