"""A file or a folder of rows in one of several formats -> each row with its position.

Rules:
 * JSON lines, a JSON list, a JSON object around one, CSV (any of , ; tab |), a table as Markdown or a console draws it
   and Parquet are told apart by content, not by name; so is packing.
 * A folder is a Delta table, or holds files of one kind, read in the order of their names.
 * What can't be read is refused with file and line; nothing is guessed over.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any

from router.backtest.logs.decoding import encoding_of, first_bytes, opened
from router.backtest.logs.documents import documents_in, is_document, rows_of_document
from router.backtest.logs.drawn_tables import is_drawn, is_rule, rows_of_drawn
from router.backtest.logs.folders import check_whole, rows_of_table, text_files
from router.backtest.logs.paths import Position
from router.core.errors import DataError
from router.io.json_lines import HALF_OF_A_PAIR, parse_json

Row = Mapping[str, Any]
Numbered = tuple[int, Row]  # a line, from 1, of a text file; a row, from 1, of Parquet and of a JSON list
Positioned = tuple[Position, Row]

MOST_CELL_CHARACTERS = 16 * 1024 * 1024
SEPARATORS = ",;\t|"
SAID_SEPARATOR = re.compile(r"\ufeff?\"?sep=(.)\"?\r?\n?", re.IGNORECASE)  # how Excel is told of it
PARQUET_MAGIC = b"PAR1"
_PROBED = 4  # first lines, by which a drawn table is told


def rows_in(path: Path, encoding: str = "") -> Iterator[Positioned]:
    """The rows of a file or a folder, each with its position.

    Args:
        path: The log.
        encoding: Of its text; empty for what its byte order mark says, or UTF-8.

    Raises:
        ConfigError: There is no such encoding.
        DataError: Names the file, and the position of what can't be read.
    """
    check_whole(path)
    files = text_files(path) if path.is_dir() else []
    for file in files:
        if first_bytes(file):
            yield from _positioned(file, _rows_of_file(file, encoding))
    if not files:
        yield from _positioned(path, rows_of_table(path) if path.is_dir() else _rows_of_file(path, encoding))


def _positioned(path: Path, rows: Iterable[Numbered]) -> Iterator[Positioned]:
    for number, row in rows:
        yield Position(path, number), row


def _rows_of_file(path: Path, encoding: str) -> Iterator[Numbered]:
    start = first_bytes(path)
    if start[:4] == PARQUET_MAGIC:
        yield from _parquet(path)
        return
    first = start.decode(encoding_of(path, start, encoding), errors="ignore").lstrip("\ufeff \t\r\n")[:1]
    if not first:
        raise DataError(str(path), 0, "is empty")
    yield from {"{": _json_lines, "[": _json_list}.get(first, _csv)(path, encoding)


def columns_of(rows: Iterable[Row]) -> list[str]:
    """The names of the columns of rows, in their order."""
    names: dict[str, None] = {}
    for row in rows:
        names.update(dict.fromkeys(row))
    return list(names)


def _json_lines(path: Path, encoding: str) -> Iterator[Numbered]:
    with opened(path, encoding) as file:
        head = list(islice((numbered for numbered in enumerate(file, 1) if numbered[1].strip()), 2))
        if is_document([line for _, line in head]):
            first = head[0][0]
            whole = "".join(chain((line for _, line in head), file))
            held = (rows_of_document(path, document) for document in documents_in(path, first, whole))
            for number, row in enumerate(chain.from_iterable(held), 1):
                yield number, _object(path, number, row)
            return
        start = head[-1][0] + 1
        for position, line in chain(head, enumerate(file, start)):
            if line.strip():
                yield position, _object(path, position, parse_json(path, position, line))


def _json_list(path: Path, encoding: str) -> Iterator[Numbered]:
    with opened(path, encoding) as file:
        listed = parse_json(path, 1, file.read())
    for position, row in enumerate(listed, 1):
        yield position, _object(path, position, row)


def _object(path: Path, position: int, row: Any) -> Row:
    if not isinstance(row, dict):
        raise DataError(str(path), position, f'is {type(row).__name__}; write an object such as {{"text": "..."}}')
    if HALF_OF_A_PAIR.search("".join(row)):
        raise DataError(str(path), position, "has a column with half of a surrogate pair in its name, which is no text")
    return row


def _csv(path: Path, encoding: str) -> Iterator[Numbered]:
    with _long_cells(), opened(path, encoding) as file:
        head = list(islice(file, _PROBED))
        if is_drawn(head):
            yield from _drawn(path, chain(head, file))
            return
        header, rest = head[0], chain(head[1:], file)
        said = SAID_SEPARATOR.fullmatch(header)
        before = 1 if said else 0
        lines = rest if said else chain([header], rest)
        separator = said[1] if said else max(SEPARATORS, key=header.count)
        if '{"' in header:
            raise DataError(
                str(path),
                1,
                "has words before its JSON; leave them out: each line is one object, {...}, and nothing else",
            )
        reader = csv.reader(lines, delimiter=separator, strict=True)
        position, first = before, True
        try:
            names = _header(path, before + 1, next(reader, []))
            position = before + reader.line_num
            for cells in reader:
                if cells and len(cells) != len(names):
                    raise DataError(str(path), position + 1, f"has {len(cells)} cells, and the header has {len(names)}")
                if cells and not (first and is_rule(cells)):
                    yield position + 1, dict(zip(names, cells, strict=True))
                first, position = first and not cells, before + reader.line_num
        except csv.Error as error:
            raise DataError(str(path), position + 1, f"is not CSV: {error}") from error


def _drawn(path: Path, lines: Iterable[str]) -> Iterator[Numbered]:
    rows = rows_of_drawn(path, lines)
    line, header = next(rows)
    names = _header(path, line, header)
    for position, cells in rows:
        yield position, dict(zip(names, cells, strict=True))


@contextmanager
def _long_cells() -> Iterator[None]:
    """Let cells be long while a log is read; the limit counts for the whole process."""
    former = csv.field_size_limit(MOST_CELL_CHARACTERS)
    try:
        yield
    finally:
        csv.field_size_limit(former)


def _header(path: Path, line: int, cells: list[str]) -> list[str]:
    names = [name.strip() for name in cells]
    twice = [name for name in names if name and names.count(name) > 1]
    if twice:
        raise DataError(str(path), line, f"has two columns named {twice[0]}")
    return names


def _parquet(path: Path) -> Iterator[Numbered]:
    from pyarrow import ArrowException, parquet

    position = 0
    try:
        with path.open("rb") as file:
            for batch in parquet.ParquetFile(file).iter_batches():
                for row in batch.to_pylist():
                    position += 1
                    yield position, row
    except ArrowException as error:
        raise DataError(str(path), position, f"is not Parquet that can be read: {error}") from error
