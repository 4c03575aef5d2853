"""Standard input as one question, for ``headrace ask -``.

Rules:
 * All of it is one question, whatever lines it has, without the line ends that it ends in and a byte order mark.
 * No more is read than a question may have, so that an input without an end is refused too.
"""

from __future__ import annotations

import sys

from router.core.domain.query import MAX_TEXT_BYTES
from router.core.errors import BadInputError, DataError
from router.core.visible_text import is_blank
from router.io.terminal import say

NAME = "standard input"
_LINE_ENDS = 64  # bytes: a byte order mark, and line ends that are left out


def piped_question() -> str:
    """The question that standard input holds; at a terminal it says how to end it.

    Raises:
        BadInputError: It is empty, or longer than a question may be.
        DataError: It is not UTF-8, or can't be read; names the line.
    """
    if sys.stdin.isatty():
        say("Type the question; Ctrl-D on a line of its own ends it.", err=True)
    text = _decoded(_read()).rstrip("\r\n")
    if is_blank(text):
        raise BadInputError(NAME, "is empty; `-` reads the question from there: pipe one, or give it as TEXT")
    if len(text.encode()) > MAX_TEXT_BYTES:
        raise _too_long()
    return text


def _read() -> bytes:
    try:
        held = sys.stdin.buffer.read(MAX_TEXT_BYTES + _LINE_ENDS)
    except OSError as error:
        raise DataError(NAME, 0, f"can't be read: {error.strerror}") from error
    if len(held) == MAX_TEXT_BYTES + _LINE_ENDS:
        raise _too_long()
    return held


def _decoded(held: bytes) -> str:
    try:
        return held.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataError(NAME, line, f"is not UTF-8: {error.reason}") from error


def _too_long() -> BadInputError:
    return BadInputError(NAME, f"is longer than the {MAX_TEXT_BYTES} bytes of a question")
