"""A file of rows in one of three formats -> each row with its place.

Rules:
 * JSON lines, a JSON list, CSV (any of , ; tab |) and Parquet are told apart by content, not by name.
 * A place is a line, from 1, in a text file, and a row, from 1, in Parquet and in a JSON list.
 * What can't be read is refused with file and line; nothing is guessed over.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from router.errors import DataError
from router.lines import HALF_OF_A_PAIR, parse_json

Row = Mapping[str, Any]
Placed = tuple[int, Row]

MOST_CELL_CHARACTERS = 16 * 1024 * 1024
SEPARATORS = ",;\t|"
PARQUET_MAGIC = b"PAR1"
LOOKED_AT = 100  # rows whose columns are listed


def rows_in(path: Path) -> Iterator[Placed]:
    """The rows of a file, each with its place.

    Raises:
        DataError: Names the file, and the place of what can't be read.
    """
    try:
        with path.open("rb") as file:
            start = file.read(4096)
        if start[:4] == PARQUET_MAGIC:
            yield from _parquet(path)
            return
        first = start.decode("utf-8-sig", errors="replace").lstrip()[:1]
        if not first:
            raise DataError(str(path), 0, "is empty")
        yield from {"{": _json_lines, "[": _json_list}.get(first, _csv)(path)
    except OSError as error:
        raise DataError(str(path), 0, f"can't be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(str(path), 0, f"is not in UTF-8: byte {error.start} of it can't be read") from error


def columns_of(path: Path) -> list[str]:
    """The names of a file's columns, in their order, as its first rows show them.

    Raises:
        DataError: As ``rows_in``.
    """
    names: dict[str, None] = {}
    for _, row in islice(rows_in(path), LOOKED_AT):
        names.update(dict.fromkeys(row))
    return list(names)


def _json_lines(path: Path) -> Iterator[Placed]:
    with path.open(encoding="utf-8-sig") as file:
        for place, line in enumerate(file, 1):
            if line.strip():
                yield place, _object(path, place, parse_json(path, place, line))


def _json_list(path: Path) -> Iterator[Placed]:
    for place, row in enumerate(parse_json(path, 1, path.read_text(encoding="utf-8-sig")), 1):
        yield place, _object(path, place, row)


def _object(path: Path, place: int, row: Any) -> Row:
    if not isinstance(row, dict):
        raise DataError(str(path), place, f'is {type(row).__name__}; write an object such as {{"text": "..."}}')
    if HALF_OF_A_PAIR.search("".join(row)):
        raise DataError(str(path), place, "has a column with half of a surrogate pair in its name, which is no text")
    return row


def _csv(path: Path) -> Iterator[Placed]:
    csv.field_size_limit(MOST_CELL_CHARACTERS)
    with path.open(encoding="utf-8-sig", newline="") as file:
        header = file.readline()
        separator = max(SEPARATORS, key=header.count)
        file.seek(0)
        reader = csv.reader(file, delimiter=separator, strict=True)
        place = 0
        try:
            names = _header(path, next(reader))
            place = reader.line_num
            for cells in reader:
                if cells and len(cells) != len(names):
                    raise DataError(str(path), place + 1, f"has {len(cells)} cells, and the header has {len(names)}")
                if cells:
                    yield place + 1, dict(zip(names, cells, strict=True))
                place = reader.line_num
        except csv.Error as error:
            raise DataError(str(path), place + 1, f"is not CSV: {error}") from error


def _header(path: Path, cells: list[str]) -> list[str]:
    names = [name.strip() for name in cells]
    twice = [name for name in names if name and names.count(name) > 1]
    if twice:
        raise DataError(str(path), 1, f"has two columns named {twice[0]}")
    return names


def _parquet(path: Path) -> Iterator[Placed]:
    from pyarrow import ArrowException, parquet

    place = 0
    try:
        for batch in parquet.ParquetFile(path).iter_batches():
            for row in batch.to_pylist():
                place += 1
                yield place, row
    except ArrowException as error:
        raise DataError(str(path), place, f"is not Parquet that can be read: {error}") from error
