r"""What others wrote, made fit to be shown: on a terminal, in a log, in the message of an error.

Rules:
 * No character that steers a terminal is left: escapes, the C1 controls, carriage returns, turned reading directions.
   It is spelt out instead, as in ``\x1b``, so that whoever looks sees that it was there.
 * Letters of all scripts, joined emoji too, stay as they are.
 * What a font draws as nothing says nothing, whatever it is made of.
"""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

_STEERING = "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff"
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")  # letters and marks that are drawn as nothing
_UNSEEN = frozenset({"Cc", "Cf", "Zl", "Zp", "Zs"})
_OF_TEXT = re.compile(f"[{_STEERING}]")
_OF_LINE = re.compile(f"[{_STEERING}\t\n]")


def is_blank(text: str) -> bool:
    """Whether nothing of ``text`` can be seen: white space, controls, joiners, marks of byte order, fillers."""
    return all(_is_unseen(letter) for letter in text)


def is_filler(letter: str) -> bool:
    """Whether a letter or mark is drawn as nothing, though it is one."""
    return letter in _BLANK


def as_seen(text: str) -> str:
    """``text`` as it looks to a reader: without what is drawn as nothing, wide and styled letters as plain ones."""
    plain = unicodedata.normalize("NFKC", text)
    return "".join(letter for letter in plain if letter.isspace() or not _is_unseen(letter))


def visible(text: str) -> str:
    """``text`` with its lines and tabs, and nothing else that steers a terminal."""
    return _OF_TEXT.sub(_spelt, text)


def in_line(text: str, most: int | None = None) -> str:
    """``text`` as part of one line, of at most ``most`` characters where that is given; the rest is counted."""
    if most is not None and len(text) > most:
        return f"{_OF_LINE.sub(_spelt, text[:most])}... ({len(text)} characters)"
    return _OF_LINE.sub(_spelt, text)


def as_json_line(value: Any, *, ensure_ascii: bool = False) -> str:
    """``value`` as JSON that means the same and steers no terminal."""
    return _OF_LINE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=ensure_ascii))


def _is_unseen(letter: str) -> bool:
    return letter in _BLANK or unicodedata.category(letter) in _UNSEEN or "\ufe00" <= letter <= "\ufe0f"


def _spelt(found: re.Match[str]) -> str:
    number = ord(found[0])
    return {9: "\\t", 10: "\\n", 13: "\\r"}.get(number, f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}")
