"""A user's log -> queries with the large model's answers, checked.

Rules:
 * Columns that are not named are guessed from their usual names; gold labels, costs and times are never guessed.
 * What can't be used is refused with file, line and column, or skipped and counted where the user says so.
 * A gold label that is missing is not known, and its row stays.
 * Without times the file's order is the order of asking.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from router.backtest.tables import columns_of, rows_in
from router.errors import ConfigError, DataError
from router.lines import HALF_OF_A_PAIR

TEXT_NAMES = ("text", "prompt", "question", "input", "query", "utterance", "messages")
ANSWER_NAMES = ("answer", "response", "label", "output", "completion")
MOST_SECONDS = 253_402_300_799.0  # the end of the year 9999
SECONDS_BELOW = 1e11  # larger Unix times are in milliseconds, micro- or nanoseconds
SHOWN_CHARACTERS = 40


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of the log's columns; a dotted name looks into nested objects. Empty: guessed, or not there."""

    text: str = ""
    answer: str = ""
    label: str = ""
    cost: str = ""
    time: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """One query of the log.

    Attributes:
        text: What was asked.
        answer: What the large model answered.
        label: The truth, ``None`` where it is not known.
        cost: What the answer cost, in the log's currency, 0 where it does not say.
        asked_at: Unix time in seconds, or the place in the log.
    """

    text: str
    answer: str
    label: str | None = None
    cost: float = 0.0
    asked_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Log:
    """A log: its file, the columns that were used, its queries in the order of asking, and how many were skipped."""

    path: Path
    columns: Columns
    rows: tuple[Asked, ...]
    skipped: int = 0


class _BadCellError(Exception):
    """A cell that can't be used, and what is wrong with it."""


def read_log(path: Path, columns: Columns, limit: int = 0, *, skip_bad: bool = False) -> Log:
    """Read a log.

    Args:
        path: JSON lines, a JSON list, CSV or Parquet.
        columns: Those that the user named.
        limit: Most queries, the earliest; 0 for all.
        skip_bad: Count rows with an unusable cell instead of refusing them.

    Raises:
        ConfigError: A column is not there, or can't be guessed.
        DataError: Names file, line and column.
    """
    known = columns_of(path)
    if not known:
        raise DataError(str(path), 0, "has no rows")
    columns = _chosen(path, columns, known)
    rows: list[Asked] = []
    skipped = 0
    for place, row in rows_in(path):
        try:
            rows.append(_asked(row, columns, len(rows)))
        except _BadCellError as error:
            if not skip_bad:
                raise DataError(str(path), place, f"{error} (--skip-bad leaves such rows out)") from None
            skipped += 1
        if limit and not columns.time and len(rows) >= limit:
            break
    if columns.time:
        rows.sort(key=lambda asked: asked.asked_at)
    if not rows:
        raise DataError(str(path), 0, "has no row that can be used")
    return Log(path, columns, tuple(rows[:limit] if limit else rows), skipped)


def _chosen(path: Path, columns: Columns, known: list[str]) -> Columns:
    for option in ("text", "answer", "label", "cost", "time"):
        name = getattr(columns, option)
        if name and name not in known and name.split(".")[0] not in known:
            raise ConfigError(f"--{option}", name, f"{path} has no such column; it has {', '.join(known)}")
    text = columns.text or _guess(path, "--text", TEXT_NAMES, known, taken="")
    answer = columns.answer or _guess(path, "--answer", ANSWER_NAMES, known, taken=columns.label)
    if text == answer:
        raise ConfigError("--answer", answer, "is the column of the texts too; name another one")
    return replace(columns, text=text, answer=answer)


def _guess(path: Path, option: str, names: tuple[str, ...], known: list[str], taken: str) -> str:
    by_lower = {name.lower(): name for name in reversed(known) if name != taken}
    for name in names:
        if name in by_lower:
            return by_lower[name]
    raise ConfigError(option, "", f"name one of the columns of {path}: {', '.join(known)}")


def _asked(row: Mapping[str, Any], columns: Columns, place: int) -> Asked:
    return Asked(
        text=_text(row, columns.text),
        answer=_text(row, columns.answer),
        label=_text(row, columns.label) if columns.label and not _is_empty(_find(row, columns.label)) else None,
        cost=_cost(row, columns.cost) if columns.cost else 0.0,
        asked_at=_time(row, columns.time) if columns.time else float(place),
    )


def _find(row: Mapping[str, Any], name: str) -> Any:
    value: Any = row
    for part in (name,) if name in row else name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _is_empty(value: Any) -> bool:
    """Nothing, blanks, or the NaN by which tables say that nothing is there."""
    return value is None or value != value or (isinstance(value, str) and not value.strip())


def _cell(row: Mapping[str, Any], name: str) -> Any:
    value = _find(row, name)
    if _is_empty(value):
        raise _BadCellError(f"column {name}: is empty")
    return value


def _text(row: Mapping[str, Any], name: str) -> str:
    text = _as_text(_cell(row, name))
    if HALF_OF_A_PAIR.search(text):
        raise _BadCellError(f"column {name}: holds half of a surrogate pair, which is no text")
    return text


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, list) and value and all(isinstance(item, Mapping) and "role" in item for item in value):
        return "\n".join(f"{item['role']}: {_content(item.get('content'))}" for item in value)
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return str(value)


def _content(content: Any) -> str:
    """The text of a chat message, whose content may be a list of parts."""
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    return "" if content is None else str(content)


def _cost(row: Mapping[str, Any], name: str) -> float:
    value = _cell(row, name)
    try:
        cost = float(value.strip().lstrip("$€£") if isinstance(value, str) else value)
    except (TypeError, ValueError):
        raise _BadCellError(f"column {name}: {_shown(value)} is no number") from None
    except OverflowError:
        cost = math.inf
    if not math.isfinite(cost) or cost < 0:
        raise _BadCellError(f"column {name}: {_shown(value)} is no cost; use 0 or more")
    return cost


def _time(row: Mapping[str, Any], name: str) -> float:
    value = _cell(row, name)
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if isinstance(value, str):
        value = _parsed_time(value.strip(), name)
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MOST_SECONDS * 1e9:
        seconds = float(value)
        while seconds >= SECONDS_BELOW:
            seconds /= 1000.0
        return seconds
    raise _BadCellError(f"column {name}: {_shown(value)} is no time; use ISO 8601 or Unix seconds")


def _parsed_time(text: str, name: str) -> datetime | float:
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise _BadCellError(f"column {name}: {_shown(text)} is no time; use ISO 8601 or Unix seconds") from None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"
