"""Rows to label as a file: out, filled in by whoever can, and back.

Rules:
 * A file holds questions and empty labels: no answer of a student or a teacher, no score, no release.
 * Every line is checked before the first label is kept; what is wrong is named by file, line and field.
 * The same file again changes nothing. An empty label stays open, and ``"skip": true`` says that nobody can tell.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloud_worker.state.gold_labels import Key, Label
from router.core.domain.record import Record
from router.core.errors import DataError
from router.io.atomic_write import write_whole
from router.io.json_lines import json_lines

MOST_LABEL_BYTES = 64 * 1024

_KEYS = ("query_id", "caller", "text", "label", "skip")
_NEEDED = ("query_id", "caller", "text", "label")


@dataclass(frozen=True, slots=True)
class Expected:
    """What a file may speak of.

    Attributes:
        rows: That were handed out, by caller and query id.
        known: Labels that the task knows; empty where any text will do.
        who: Who labelled.
        now: Unix time in seconds.
    """

    rows: Mapping[tuple[str, str], Record]
    known: Collection[str]
    who: str
    now: float


def write_rows(path: Path, rows: Sequence[Record]) -> None:
    """Write questions with empty labels, one JSON object a line.

    Raises:
        DataError: There is a file already, which may hold labels, or it can't be written.
    """
    if path.exists():
        raise DataError(str(path), 0, "is there already, and may hold labels; name another file")
    lines = [
        json.dumps({"query_id": row.query_id, "caller": row.caller, "text": row.text, "label": ""}, ensure_ascii=False)
        for row in rows
    ]
    try:
        write_whole(path, "".join(f"{line}\n" for line in lines).encode())
    except OSError as error:
        raise DataError(str(path), 0, f"can't be written: {error.strerror or error}") from error


def read_labels(path: Path, expected: Expected) -> tuple[list[Label], int]:
    """The labels of a file, and how many of its rows are still open.

    Raises:
        DataError: A line can't be used; names it, the field, and what would do.
    """
    labels: list[Label] = []
    seen: dict[Key, int] = {}
    still_open = 0
    for number, said in json_lines(path):
        row = _Line(str(path), number, said, expected)
        key = row.record.key
        if key in seen:
            raise DataError(str(path), number, f"query_id: {key[1]!r} stands in line {seen[key]} already")
        seen[key] = number
        label = row.label()
        if label is None:
            still_open += 1
        else:
            labels.append(label)
    return labels, still_open


class _Line:
    """One line, checked field by field."""

    def __init__(self, path: str, number: int, said: Any, expected: Expected) -> None:
        self._path, self._number, self._expected = path, number, expected
        self._said = self._checked(said)
        self.record = self._record()

    def label(self) -> Label | None:
        """What it says, ``None`` while it is open."""
        text, skip = self._said["label"].strip(), self._said.get("skip", False)
        if not isinstance(skip, bool):
            raise self._error("skip", "is neither true nor false")
        if skip and text:
            raise self._error("skip", "is true beside a label; keep one of them")
        if len(text.encode()) > MOST_LABEL_BYTES:
            raise self._error("label", f"has more than {MOST_LABEL_BYTES} bytes")
        if text and self._expected.known and text not in self._expected.known:
            raise self._error("label", f"{text!r} is no label of the task; --new-labels lets it in")
        if not text and not skip:
            return None
        record, expected = self.record, self._expected
        return Label(record.key, expected.who, text, skip, at=expected.now, subject=record.subject)

    def _checked(self, said: Any) -> dict[str, Any]:
        if not isinstance(said, dict):
            raise DataError(self._path, self._number, "is no JSON object")
        for field in _NEEDED:
            if not isinstance(said.get(field), str):
                raise self._error(field, "is missing, or no text")
        for field in said:
            if field not in _KEYS:
                raise self._error(field, f"is no field here; use {', '.join(_KEYS)}")
        return said

    def _record(self) -> Record:
        record = self._expected.rows.get((self._said["caller"], self._said["query_id"]))
        if record is None:
            raise self._error("query_id", f"{self._said['query_id']!r} of this caller was not handed out, or is erased")
        if record.text != self._said["text"]:
            raise self._error("text", "is not what was handed out; a label of another text would count for this one")
        return record

    def _error(self, field: str, problem: str) -> DataError:
        return DataError(self._path, self._number, f"{field}: {problem}")
