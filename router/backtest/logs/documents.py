"""A file of one JSON object, or of several over many lines each -> the rows that they hold.

Interfaces answer with their rows under a key, beside what they say of the page: ``{"data": [...], "meta": {...}}``.

Rules:
 * The rows are the one list of objects in it, however deep, that is not itself a part of a row: a chat is none.
 * Of several lists the one under a usual key counts; where that does not decide, the object is refused, not guessed.
 * An object that has a query, and no list under a usual key, is a row of its own.
 * A table by columns, as pandas writes one, is turned into rows; so are rows under their names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from router.backtest.logs.chats import is_chat
from router.core.errors import DataError
from router.io.json_lines import parse_json

USUAL = ("data", "rows", "items", "results", "records", "logs", "entries", "traces", "observations", "value", "values")
OF_A_ROW = ("choices", "candidates", "tools", "functions", "tool_calls", "content", "parts", "messages")
OF_A_QUERY = ("text", "prompt", "question", "input", "query", "utterance", "messages", "request", "response")
DEEPEST = 4


def is_document(lines: Sequence[str]) -> bool:
    """Whether a file whose first lines are these, at most two that are not blank, does not hold one object a line."""
    if len(lines) == 1:
        return True
    opening = lines[0].rstrip()
    return opening.endswith(("{", "[", ",", ":")) and not _is_whole(opening)


def documents_in(path: Path, line: int, text: str) -> Iterator[Any]:
    """The objects that stand one after the other in a text that begins at a line of a file.

    Raises:
        DataError: Names the file, and the line of what can't be read.
    """
    decoder, position = json.JSONDecoder(), 0
    while rest := text[position:].lstrip():
        position = len(text) - len(rest)
        if rest[0] == ",":
            where = line + text.count("\n", 0, position)
            raise DataError(
                str(path), where, "has a comma after its object; leave such commas out, or write a list: [...]"
            )
        try:
            document, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):
            document, position = parse_json(path, line + text.count("\n", 0, position), rest), len(text)
        yield document


def rows_of_document(path: Path, document: Any) -> list[Any]:
    """The rows that an object holds; the object itself where it is one.

    Raises:
        DataError: It holds several lists that may be meant.
    """
    if not isinstance(document, Mapping):
        return [document]
    turned = _by_columns(document) or _under_names(document)
    if turned:
        return turned
    lists = dict(_lists(document, "", DEEPEST))
    usual = [name for name in lists if name.rpartition(".")[2].lower() in USUAL]
    found = usual or list(lists)
    if not usual and any(name in document for name in OF_A_QUERY):
        return [document]
    if len(found) > 1:
        raise DataError(str(path), 0, f"holds several lists, {', '.join(found)}; write the one that is meant to a file")
    return lists[found[0]] if found else [document]


def _by_columns(table: Mapping[str, Any]) -> list[Any]:
    """The rows of ``{"text": {"0": ..}}``, of ``{"text": [..]}``, or of columns beside data; none of anything else."""
    names, data = table.get("columns"), table.get("data")
    if isinstance(names, list) and isinstance(data, list) and data and all(isinstance(row, list) for row in data):
        return [dict(zip(map(str, names), row, strict=False)) for row in data]
    columns = list(table.values())
    if len(columns) < 2 or not any(name.lower() in OF_A_QUERY for name in table):
        return []
    if all(isinstance(one, Mapping) and one and one.keys() == columns[0].keys() for one in columns):
        keys = list(columns[0])
        return [{name: table[name][key] for name in table} for key in keys] if keys[0].isdecimal() else []
    if all(isinstance(one, list) and len(one) == len(columns[0]) > 1 for one in columns):
        rows = [dict(zip(table, cells, strict=True)) for cells in zip(*columns, strict=True)]
        return rows if not any(isinstance(cell, Mapping | list) for row in rows for cell in row.values()) else []
    return []


def _under_names(named: Mapping[str, Any]) -> list[Any]:
    """The rows of ``{"q1": {"text": ..}, "q2": ...}``; none of anything else."""
    rows = list(named.values())
    are_rows = len(rows) > 1 and all(isinstance(row, Mapping) and row.keys() == rows[0].keys() for row in rows)
    is_one = any(name.lower() in OF_A_QUERY for name in named)
    return rows if are_rows and not is_one and any(name in OF_A_QUERY for name in rows[0]) else []


def _lists(inside: Mapping[str, Any], above: str, depth: int) -> Iterator[tuple[str, list[Any]]]:
    for key, value in inside.items():
        name = f"{above}.{key}" if above else str(key)
        if isinstance(value, list) and key not in OF_A_ROW and not is_chat(value) and _are_rows(value, str(key)):
            yield name, value
        elif isinstance(value, Mapping) and depth > 1:
            yield from _lists(value, name, depth - 1)


def _are_rows(value: list[Any], key: str) -> bool:
    return isinstance(value[0], Mapping) if value else key.lower() in USUAL


def _is_whole(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True
