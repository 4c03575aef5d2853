"""The one way to a terminal: what a command says, shows and logs.

Rules:
 * Whatever a device, a caller or a model wrote comes out as it reads, and steers nothing (``visible_text.py``): no
   escapes, no markup, no line of its own in a log.
 * Styles are ours alone, put around what was cleaned.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable
from typing import Any

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from router.core.visible_text import as_json_line, in_line, visible

_NO_WIDTH = 10_000  # columns
_SIZES = frozenset({"COLUMNS", "LINES", "JUPYTER_COLUMNS", "JUPYTER_LINES"})


def say(text: str = "", *, err: bool = False, dim: bool = False) -> None:
    """Write lines to standard output, or to standard error."""
    cleaned = visible(text)
    typer.echo(typer.style(cleaned, dim=True) if dim and _shows_colour() else cleaned, err=err)


def say_json(value: Any) -> None:
    """Write one line of JSON to standard output: letters as they are, where it can show them."""
    text = as_json_line(value)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = as_json_line(value, ensure_ascii=True)
    typer.echo(text)


def _shows_colour() -> bool:
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class Screen(Console):
    """A console whose markup is off unless a call asks for it, and through which no control character goes."""

    def __init__(self, **settings: Any) -> None:
        """Make rich's console without markup, highlighting, emoji; of no width in a pipe, unless COLUMNS says one."""
        # rich takes "²" for a number of columns, and fails to read it
        environ = {name: value for name, value in os.environ.items() if name not in _SIZES or _is_number(value)}
        super().__init__(**{"markup": False, "highlight": False, "emoji": False, "_environ": environ, **settings})
        if not self.is_terminal and "width" not in settings and "COLUMNS" not in environ:
            self.width = _NO_WIDTH

    def render_str(self, text: str, **settings: Any) -> Text:
        """A text as it is measured and shown."""
        return super().render_str(visible(text), **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The pieces that are written; those of a ``Text`` are cleaned here."""
        for piece in super().render(renderable, options):
            yield piece if piece.control else Segment(visible(piece.text), piece.style)


def _is_number(value: str) -> bool:
    return value.isascii() and value.isdigit() and int(value[:6]) > 0 and len(value) <= 6


class LogLines(logging.Formatter):
    """One line a message, whatever stands in it; a traceback keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's name
        """The line of a record."""
        record.message = in_line(record.message)
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the traceback where there is one."""
        return visible(super().format(record))


def log_to_stderr(level: int, words: str = logging.BASIC_FORMAT) -> None:
    """Write what is logged to standard error, unless that is set up already."""
    handler = logging.StreamHandler()
    handler.setFormatter(LogLines(words))
    logging.basicConfig(level=level, handlers=[handler])
