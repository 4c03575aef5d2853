"""A table as a page or a console draws it, in Markdown, by psql, MySQL, SQLite or DuckDB -> its rows.

Rules:
 * Lines that only rule are no rows: the one under the header, and those with corners. Nor is what a console says of the
   number of rows, nor DuckDB's row of types.
 * A bar that is escaped is a part of its cell, and so are quotes.
 * What a console shows in part is refused: rows that it left out, and cells that go on in the next line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from router.core.errors import DataError

_UPRIGHT = str.maketrans("│┃║", "|||")
_RULE = re.compile(r"(?=.*[-=─━═])[\s|+:=─-╿-]+")
_RULE_CELL = re.compile(r"\s*:?[-=]{2,}:?\s*")
_CORNER = re.compile(r"[+─-╿]")
_COUNT = re.compile(r"[|\s]*\(?\d+ (?:rows?|columns?)\b[^|]*[|\s]*")
_GOES_ON = re.compile(r"\S.*\+(?:\||$)")
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
        DataError: Names the line that has other cells than the header, or is not all there.
    """
    count, is_ruled, aligned = 0, False, False
    held: tuple[int, list[str]] | None = None  # what stands under the header before any rule: may be the types
    for number, drawn in enumerate(lines, 1):
        line = _plain(drawn)
        if _RULE.fullmatch(line) and (not is_ruled or _CORNER.search(line) or "|" not in line):
            aligned = aligned or (line[0] == "-" and "+" in line and bool(count))
            is_ruled, held = is_ruled or bool(count), None if "├" in line and not is_ruled else held
            continue
        if not line or (count and _COUNT.fullmatch(line)):
            continue
        cells = _cells(line)
        _check(path, number, cells, count or len(cells), goes_on=aligned and _GOES_ON.search(line) is not None)
        if held is not None:
            yield held
            held, is_ruled = None, True
        if count and not is_ruled and "│" in drawn:
            held = number, cells
        else:
            is_ruled = is_ruled or bool(count)
            yield number, cells
        count = len(cells)
    if held is not None:
        yield held


def _check(path: Path, number: int, cells: Sequence[str], count: int, *, goes_on: bool) -> None:
    if len(cells) != count:
        raise DataError(str(path), number, f"has {len(cells)} cells, and the header has {count}")
    if goes_on:
        raise DataError(str(path), number, "has a cell that goes on in the next line; write the log as CSV")
    if all(cell == "·" for cell in cells):
        raise DataError(str(path), number, "stands for rows that are left out; have all of them shown, or write CSV")


def is_rule(cells: Sequence[str]) -> bool:
    """Whether the row under a header is what is left of the rule of such a table."""
    return len(cells) > 1 and all(_RULE_CELL.fullmatch(cell) for cell in cells)


def _plain(line: str) -> str:
    return line.translate(_UPRIGHT).strip().removeprefix("\ufeff")


def _cells(line: str) -> list[str]:
    within = line[1:-1] if line[0] == line[-1] == "|" and len(line) > 1 and line[-2:] != "\\|" else line
    return [cell.replace("\\|", "|").strip() for cell in _BAR.split(within)]
