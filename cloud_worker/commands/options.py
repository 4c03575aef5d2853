"""What the commands of ``headrace-cloud`` share: options, who gives them, and how they end."""

from __future__ import annotations

import errno
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.exc import DBAPIError

from cloud_worker.extra import COMMAND, EXTRA
from cloud_worker.state.database.sqlite_files import needs_an_operator
from router.commands.program import output_is_stuck
from router.core.errors import HeadraceError, OperatorError, UnavailableError
from router.io.extras import import_problem
from router.io.terminal import say

INTERRUPTED = 130  # 128 + SIGINT, as shells tell it

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The cluster's TOML file.", metavar="FILE")]
TaskArgument = Annotated[str, typer.Argument(help="Name of the task.", metavar="TASK")]
MOST_NAMED = 200  # characters of a name, as many as the audit keeps


def _short(name: str) -> str:
    if len(name) > MOST_NAMED:
        raise typer.BadParameter(f"has {len(name)} characters; use {MOST_NAMED} at most")
    return name


WhoOption = Annotated[
    str, typer.Option("--who", help="Who does it; by default the user of this system.", callback=_short)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@contextmanager
def errors_as_exit_codes() -> Iterator[None]:
    """Print what goes wrong as one line, and end with its exit code."""
    try:
        yield
    except UnavailableError as error:
        raise _ended(_behind(error)) from None
    except HeadraceError as error:
        raise _ended(error) from None
    except ImportError as error:
        raise _ended(import_problem(COMMAND, EXTRA, error)) from None
    except BrokenPipeError:  # whoever read has left: nothing to tell
        raise
    except OSError as error:
        if output_is_stuck():  # the program ends for it, as all of ours do
            raise
        raise _ended(disk_problem(error)) from None
    except DBAPIError as error:  # of a database that is no file
        raise _ended(OperatorError(f"the state of the fleet can't be used: {error.orig}; see to it")) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def disk_problem(error: OSError) -> OperatorError:
    """What a file or folder that can't be used means: which one, what the system says, and what would do."""
    where = error.filename or error.filename2
    todo = {
        errno.ENOSPC: "make room on that disk",
        errno.EDQUOT: "make room, or ask for a larger quota",
        errno.EROFS: "that disk is read-only; choose another data folder",
        errno.EACCES: f"run it as the owner; this is {user_name()}",
        errno.EPERM: f"run it as the owner; this is {user_name()}",
        errno.EMFILE: "raise `ulimit -n` (LimitNOFILE)",
    }.get(error.errno or 0, "see to it, and start again")
    said = error.strerror or str(error) or type(error).__name__
    return OperatorError(f"{where}: {said}; {todo}" if where else f"{said}; {todo}")


def _behind(error: UnavailableError) -> HeadraceError:
    """What made the state of the fleet unavailable, where whoever gave the command can mend it."""
    cause = error.__cause__
    if isinstance(cause, OSError):
        return OperatorError(f"the state of the fleet can't be used: {disk_problem(cause)}")
    if cause is not None and needs_an_operator(cause):
        return OperatorError(
            f"the state of the fleet can't be used: {cause}; see to its disk and owner (this is {user_name()})"
        )
    return error


def _ended(error: HeadraceError) -> typer.Exit:
    said = str(error)
    say(said if said.startswith(COMMAND) else f"{COMMAND}: {said}", err=True)
    return typer.Exit(error.exit_code)


def user_name() -> str:
    """The user of this system, by the process and not by the environment."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # in a container
        return f"user {os.getuid()}"
