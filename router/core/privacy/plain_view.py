"""A text as redactors read it: digits, letters, dashes and spaces of all scripts and widths as those of ASCII.

Rules:
 * One character stays one character; what can't be seen (joiners, soft hyphens, marks of direction) is left out, and
   the position of every character in the text as it was is known.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

Span = tuple[int, int]  # of characters, the second not included

_UNSEEN = "\0"
_MOST_KNOWN = 20_000  # characters whose reading is remembered
_DASHES = "\u2212\u2043\u02d7\u30fc"  # those that Unicode does not call dashes


@dataclass(frozen=True, slots=True)
class PlainView:
    """A text to look in.

    Attributes:
        text: To look in.
        positions: Of each of its characters in the text as it was; ``None`` where they are the same.
    """

    text: str
    positions: Sequence[int] | None = None

    def span(self, start: int, end: int) -> Span:
        """What ``text[start:end]``, which is not empty, is in the text as it was."""
        if self.positions is None:
            return start, end
        return self.positions[start], self.positions[end - 1] + 1


def plain_view(text: str) -> PlainView:
    """``text`` as redactors read it."""
    if text.isascii() and _UNSEEN not in text:
        return PlainView(text)
    plain = text.translate(_READING)
    if _UNSEEN not in plain:
        return PlainView(plain)
    positions = [position for position, character in enumerate(plain) if character != _UNSEEN]
    return PlainView(plain.replace(_UNSEEN, ""), positions)


class _Reading(dict[int, str]):
    def __missing__(self, code: int) -> str:
        read = _read(chr(code))
        if len(self) < _MOST_KNOWN:
            self[code] = read
        return read


_READING = _Reading()


def _read(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cf" or character == _UNSEEN:
        return _UNSEEN
    if category == "Nd":
        return str(unicodedata.decimal(character))
    if category == "Pd" or character in _DASHES:
        return "-"
    if category == "Zs" or character == "\t":
        return " "
    folded = unicodedata.normalize("NFKC", character)
    return folded if len(folded) == 1 else character
