"""A user's log -> queries with the large model's answers, checked.

Rules:
 * Columns that are not named are guessed from the shape of a known program's log, else from their usual names; gold
   labels and costs are never guessed, and times only where the shape has them.
 * What can't be used is refused with file, line and column, or skipped and counted where the user says so. In a known
   program's log, calls that failed are no queries: they are skipped, counted and told.
 * A gold label that is missing is not known, and its row stays.
 * Without times the file's order is the order of asking.
 * A whole object is never taken for a text without a word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from router.backtest.logs.cells import BadCellError, cost_of, filled, is_empty, time_of, whole_text
from router.backtest.logs.column_guess import as_named, guessed
from router.backtest.logs.other_forms import as_pair
from router.backtest.logs.paths import Position
from router.backtest.logs.shapes import NAMES, SHAPES, Found, columns_for, find, shape_of
from router.backtest.logs.tables import Positioned, columns_of, rows_in
from router.backtest.logs.values import Value, answer_at, asked_at_column, asked_in_shape
from router.core.domain.generation import Written
from router.core.errors import ConfigError, DataError
from router.students.writers.whole_answer import answer_in

PROBED = 100  # first rows, by which the shape is guessed


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of the log's columns; a dotted name looks into nested objects. Empty: guessed, or not there."""

    text: str = ""
    answer: str = ""
    label: str = ""
    cost: str = ""
    time: str = ""


@dataclass(frozen=True, slots=True)
class How:
    """How a log is read.

    Attributes:
        shape: Name of a shape, ``columns`` for none, or ``auto``.
        encoding: Of a text file; empty for what its mark says, or UTF-8.
        requests: A batch's input file, joined by ``custom_id``.
        task: Only its rows, where a column ``task`` tells several.
    """

    shape: str = "auto"
    encoding: str = ""
    requests: Path | None = None
    task: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """One query of the log.

    Attributes:
        text: What was asked.
        answer: What the large model answered.
        label: The truth, ``None`` where it is not known.
        cost: What the answer cost, in the log's currency, 0 where it does not say.
        asked_at: Unix time in seconds, or the position in the log.
        device: Who asked; empty where that is not known.
    """

    text: str
    answer: str
    label: str | None = None
    cost: float = 0.0
    asked_at: float = 0.0
    device: str = ""


@dataclass(frozen=True, slots=True)
class Log:
    """A log.

    Attributes:
        path: Its file or folder.
        columns: Those that were used.
        rows: Its queries, in the order of asking.
        skipped: Rows that were left out.
        shape: Title of the program's log that it was read as; empty for plain columns.
        told: What a person should know of how it was read.
    """

    path: Path
    columns: Columns
    rows: tuple[Asked, ...]
    skipped: int = 0
    shape: str = ""
    told: tuple[str, ...] = ()


@dataclass(slots=True)
class _Heap:
    """What has been read so far."""

    rows: list[tuple[Asked, Value]] = field(default_factory=list)
    bad: int = 0
    missing: Counter[str] = field(default_factory=Counter)


def read_log(path: Path, columns: Columns, limit: int = 0, *, skip_bad: bool = False, how: How | None = None) -> Log:
    """Read a log.

    Args:
        path: JSON lines, a JSON list or an object around one, CSV or Parquet, packed or not; a folder of files of one
            such kind, or a Delta table.
        columns: Those that the user named.
        limit: Most queries, the earliest; 0 for all.
        skip_bad: Count rows with an unusable cell instead of refusing them.
        how: Shape, encoding, requests and task.

    Raises:
        ConfigError: A column is not there, or can't be guessed.
        DataError: Names file, line and column.
    """
    how = how or How()
    positioned = _rows(path, how)
    first = list(islice(positioned, PROBED))
    if not first:
        raise DataError(str(path), 0, "has no rows")
    head = [row for _, row in first]
    found = _shape(path, columns, how, head)
    columns = _chosen(path, columns, head, found)
    heap = _Heap()
    for position, row in chain(first, positioned):
        _take(heap, position, row, columns, found, skip_bad=skip_bad)
        if limit and not columns.time and len(heap.rows) >= limit:
            break
    if not heap.rows:
        raise DataError(str(path), 0, f"has no row that can be used{_why_none(heap, found)}")
    if columns.time:
        heap.rows.sort(key=lambda pair: pair[0].asked_at)
    kept = heap.rows[:limit] if limit else heap.rows
    several = len({value.system for _, value in kept}) > 1
    rows = tuple(replace(row, text=value.whole) if several and value.system else row for row, value in kept)
    told = tuple(_told(heap, [value for _, value in kept], columns, several=several))
    return Log(path, columns, rows, heap.bad + heap.missing.total(), found.shape.title if found else "", told)


def _rows(path: Path, how: How) -> Iterator[Positioned]:
    """The rows that are meant, with the requests that belong to them."""
    requests: dict[str, Mapping[str, Any]] | None = None
    if how.requests is not None:
        requests = {str(row.get("custom_id")): row for _, row in rows_in(how.requests, how.encoding)}
    tasks: dict[str, None] = {}
    for position, row in rows_in(path, how.encoding):
        row = as_pair(row)
        if requests is not None and str(row.get("custom_id")) in requests:
            row = {**row, "request": requests[str(row.get("custom_id"))]}
        if "task" in row and "propensity" in row:
            tasks[str(row["task"])] = None
            if not how.task and len(tasks) > 1:
                raise ConfigError("--task", "", f"{path} holds several tasks: name one of {', '.join(tasks)}, …")
        if not how.task or str(row.get("task")) == how.task:
            yield position, row
    if how.task and how.task not in tasks:
        raise ConfigError("--task", how.task, f"{path} holds no such task; it has {', '.join(tasks) or 'none'}")


def _shape(path: Path, columns: Columns, how: How, head: list[Mapping[str, Any]]) -> Found | None:
    if how.shape == "columns" or (how.shape == "auto" and (columns.text or columns.answer)):
        return None
    found = shape_of(head) if how.shape == "auto" else None
    if found is None and how.shape == "auto" and all({"messages", "response", "spend"} <= row.keys() for row in head):
        how = replace(how, shape="litellm")  # its columns are there, and nothing is in them
    if how.shape in NAMES:
        shape = SHAPES[NAMES.index(how.shape)]
        found = columns_for(shape, head)
        if found is None:
            where = f"a query in {' or '.join(shape.texts)} and an answer in {' or '.join(shape.answers)}"
            advice = f"; {shape.advice}" if shape.advice else ""
            raise ConfigError("--format", how.shape, f"{path} has no rows with {where}{advice}")
    batch = all("custom_id" in row and ("response" in row or "result" in row) for row in head)
    if found is None and batch and how.shape == "auto" and how.requests is None:
        raise ConfigError("--requests", "", f"{path} is batch output, without the queries: name the batch's input file")
    return found


def _chosen(path: Path, columns: Columns, head: list[Mapping[str, Any]], found: Found | None) -> Columns:
    known = columns_of(head)
    for option in ("text", "answer", "label", "cost", "time"):
        name = getattr(columns, option)
        if name and name not in known and name.split(".")[0] not in known:
            raise ConfigError(f"--{option}", name, f"{path} has no such column; it has {', '.join(known)}")
    if found is not None:
        text, answer = columns.text or found.text, columns.answer or found.answer
        return replace(columns, text=text, answer=answer, time=columns.time or found.time)
    text, answer = guessed(path, columns.text, columns.answer, columns.label, head)
    if text == answer and not as_named(head, text):
        raise ConfigError("--answer", answer, "is the column of the texts too; name another one")
    return replace(columns, text=text, answer=answer)


def _take(
    heap: _Heap,
    position: Position,
    row: Mapping[str, Any],
    columns: Columns,
    found: Found | None,
    *,
    skip_bad: bool,
) -> None:
    """Read a row, or count why it is none."""
    if found is not None:
        value = asked_in_shape(row, columns.text, columns.answer, found)
        if value.problem:
            heap.missing[value.problem] += 1
            return
    try:
        if found is None:
            value = asked_at_column(row, columns.text, columns.answer)
        heap.rows.append((_asked(row, value, columns, len(heap.rows)), value))
    except BadCellError as error:
        if not skip_bad:
            raise DataError(str(position.path), position.number, f"{error} (--skip-bad leaves such rows out)") from None
        heap.bad += 1


def _asked(row: Mapping[str, Any], value: Value, columns: Columns, position: int) -> Asked:
    label = find(row, columns.label) if columns.label else None
    return Asked(
        text=whole_text(value.text, columns.text),
        answer=whole_text(_without_thoughts(value.answer, columns.answer), columns.answer),
        label=None if is_empty(label) else whole_text(answer_at(label)[0], columns.label),
        cost=cost_of(find(row, columns.cost), columns.cost) if columns.cost else 0.0,
        asked_at=time_of(filled(find(row, columns.time), columns.time), columns.time)
        if columns.time
        else float(position),
    )


def _without_thoughts(answer: str, name: str) -> str:
    said = answer_in(Written(answer)).text
    if answer and not said:
        raise BadCellError(f"column {name}: holds no answer beside what was thought")
    return said


def _why_none(heap: _Heap, found: Found | None) -> str:
    reasons = "".join(f"; {count:,} {reason}" for reason, count in heap.missing.items())
    return reasons + (f": {found.shape.advice}" if found is not None and found.shape.advice else "")


def _told(heap: _Heap, values: Iterable[Value], columns: Columns, *, several: bool) -> Iterator[str]:
    values = list(values)
    if heap.bad:
        yield f"{heap.bad:,} rows were left out since a cell could not be used"
    for reason, count in heap.missing.items():
        yield f"{count:,} rows were left out: they {reason}"
    turns = sum(value.turns > 1 for value in values)
    if turns:
        yield f"{turns:,} queries are talks of several turns: each is read as a transcript, up to what was answered"
    if several:
        yield "the system's prompts differ, so they are a part of each query"
    elif values[0].system:
        yield "the system's prompt is always the same, so it is no part of the queries"
    for option, name, inside in (
        ("--text", columns.text, [value.text_inside for value in values if value.text_inside is not None]),
        ("--answer", columns.answer, [value.answer_inside for value in values if value.answer_inside is not None]),
    ):
        if inside:
            hint = f"; name a part of them, such as {option} {name}.{inside[0]}" if inside[0] else ""
            yield f"column {name}: {len(inside):,} whole JSON objects or lists were taken as texts{hint}"
