"""What every command of ours has in common as a program of the terminal.

Rules:
 * Streams carry any text: what the console can't show is escaped, never a traceback. JSON stays JSON.
 * Paths are UTF-8 also where the locale says ASCII: the process starts itself again in Python's UTF-8 mode.
 * A closed stream reads as empty and takes everything; a reader that has left ends the program quietly.
 * Arguments are text. Bytes that are no UTF-8 are refused with the argument's name; only paths may hold them.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand

from router.io.terminal import say

_OF_PRIVACY = frozenset({"route", "consent"})  # parameters of which none may get lost
CANT_WRITE = 74  # EX_IOERR of sysexits
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EBADF, errno.EFBIG})


class Program(typer.Typer):
    """One of our commands. ``headrace --install-completion`` and ``--show-completion`` come with it."""

    def __init__(self, name: str, **options: Any) -> None:
        """Make a program without sub-commands; ``name`` is what people type."""
        super().__init__(name=name, no_args_is_help=True, pretty_exceptions_enable=False, **options)

    def command(self, name: str | None = None, **options: Any) -> Callable[[Any], Any]:
        """Add a sub-command whose arguments are text."""
        return super().command(name, **{"cls": TextCommand, **options})

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Run it on the arguments of this process; ends the process."""
        _use_utf8_paths()
        _replace_closed_streams()
        _carry_any_text()
        try:
            return super().__call__(*arguments, **options)
        except OSError as error:
            if error.errno in _FULL and output_is_stuck():
                _end_for(f"{self.info.name}: can't write what it says: {os.strerror(error.errno)}")
            raise


def output_is_stuck() -> bool:
    """Whether a standard stream holds what it can't write; an error of the disk tells no file then."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            return True
        except ValueError:  # it is closed, and holds nothing
            continue
    return False


class TextCommand(TyperCommand):
    """A command whose arguments are text; those that name files may hold any bytes."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse, and refuse what is no text, and a request for privacy that another one would undo."""
        given = list(args)
        left = super().parse_args(ctx, args)
        if not ctx.resilient_parsing:
            self._check_privacy(ctx, given)
        for parameter in self.params:
            said = ctx.params.get(parameter.name or "")
            for text in said if isinstance(said, list | tuple) else (said,):
                if isinstance(text, str) and not _is_text(text):
                    named = [name for name in parameter.opts if name.startswith("-")] or [
                        (parameter.name or "").upper()
                    ]
                    raise typer.BadParameter(f"{named[-1]} has bytes that are not UTF-8", ctx=ctx)
        return left

    def _check_privacy(self, ctx: Any, args: list[str]) -> None:
        order = self.make_parser(ctx).parse_args(args)[2]
        for parameter in order:
            if parameter.name in _OF_PRIVACY and order.count(parameter) > 1:
                raise typer.BadParameter(f"{parameter.opts[0]} is given twice; give it once", ctx=ctx)


def _show_version(ctx: typer.Context, wanted: bool) -> None:
    if wanted:
        say(f"{ctx.command.name} {version('headrace')}")
        raise typer.Exit


VersionOption = Annotated[
    bool, typer.Option("--version", help="Show the version and end.", callback=_show_version, is_eager=True)
]


IdentityOption = Annotated[
    Path | None,
    typer.Option(
        "--identity", help="Folder of your certificate or token.", metavar="FOLDER", envvar="HEADRACE_IDENTITY"
    ),
]


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _use_utf8_paths() -> None:
    """Start again in UTF-8 mode where paths would be ASCII; Python does so itself unless it is told not to."""
    if codecs.lookup(sys.getfilesystemencoding()).name != "ascii" or sys.flags.utf8_mode:
        return
    os.environ["PYTHONUTF8"] = "1"  # for the processes that this one starts
    os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def _replace_closed_streams() -> None:
    """Open the null device where a stream is closed, or the next file that is opened would take its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 - for the process's life


def _carry_any_text() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _end_for(message: str) -> NoReturn:
    """End with one line; what waits in standard output is dropped, or Python would try it once more."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    try:
        sys.stderr.write(f"{message}\n")
        sys.stderr.flush()
    except OSError:  # standard error is full too
        os._exit(CANT_WRITE)
    raise SystemExit(CANT_WRITE)
