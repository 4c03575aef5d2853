"""A table as a page or a console draws it, in Markdown, by psql, MySQL, SQLite or DuckDB -> its rows.

Rules:
 * Lines that only rule are no rows, nor is what a console says of the number of rows.
 * A bar that is escaped is a part of its cell, and so are quotes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from router.core.errors import DataError

_UPRIGHT = str.maketrans("│┃║", "|||")
_RULE = re.compile(r"(?=.*[-=─━═])[\s|+:=─-╿-]+")
_RULE_CELL = re.compile(r"\s*:?[-=]{2,}:?\s*")
_COUNT = re.compile(r"\(?\d+ (?:rows?|columns?)\b.*")
_BAR = re.compile(r"(?<!\\)\|")


def is_drawn(lines: Sequence[str]) -> bool:
    """Whether a file that begins with these lines holds such a table: within bars, or ruled under its header."""
    kept = [line for line in map(_plain, lines) if line]
    while kept and _RULE.fullmatch(kept[0]):
        kept = kept[1:]
    if not kept or not _BAR.search(kept[0]):
        return False
    is_ruled = len(kept) > 1 and _RULE.fullmatch(kept[1]) is not None
    return is_ruled or (kept[0][0] == kept[0][-1] == "|" and len(kept[0]) > 1)


def rows_of_drawn(path: Path, lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """The header and the rows, each with its line, from 1.

    Raises:
        DataError: Names the line that has other cells than the header.
    """
    count = 0
    for number, line in enumerate(map(_plain, lines), 1):
        if not line or _RULE.fullmatch(line) or (count and _COUNT.fullmatch(line)):
            continue
        cells = _cells(line)
        count = count or len(cells)
        if len(cells) != count:
            raise DataError(str(path), number, f"has {len(cells)} cells, and the header has {count}")
        yield number, cells


def is_rule(cells: Sequence[str]) -> bool:
    """Whether the row under a header is what is left of the rule of such a table."""
    return len(cells) > 1 and all(_RULE_CELL.fullmatch(cell) for cell in cells)


def _plain(line: str) -> str:
    return line.translate(_UPRIGHT).strip().removeprefix("\ufeff")


def _cells(line: str) -> list[str]:
    within = line[1:-1] if line[0] == line[-1] == "|" and len(line) > 1 and line[-2:] != "\\|" else line
    return [cell.replace("\\|", "|").strip() for cell in _BAR.split(within)]
