"""A cell of a log -> a cost, a time or a text, checked.

Rules:
 * What can't be used is refused with its column; nothing is guessed over.
"""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from router.io.json_lines import HALF_OF_A_PAIR

MOST_SECONDS = 253_402_300_799.0  # the end of the year 9999
SECONDS_BELOW = 1e11  # larger Unix times are in milliseconds, micro- or nanoseconds
SHOWN_CHARACTERS = 40


class BadCellError(Exception):
    """A cell that can't be used, and what is wrong with it."""


def is_empty(value: Any) -> bool:
    """Nothing, blanks, or the NaN by which tables say that nothing is there."""
    return value is None or value != value or (isinstance(value, str) and not value.strip())


def filled(value: Any, name: str) -> Any:
    """The value of a column that must not be empty.

    Raises:
        BadCellError: It is.
    """
    if is_empty(value):
        raise BadCellError(f"column {name}: is empty")
    return value


def whole_text(text: str, name: str) -> str:
    """A text that can be written as UTF-8.

    Raises:
        BadCellError: It can't.
    """
    if HALF_OF_A_PAIR.search(text):
        raise BadCellError(f"column {name}: holds half of a surrogate pair, which is no text")
    return text


def cost_of(value: Any, name: str) -> float:
    """A cost, 0 or more.

    Raises:
        BadCellError: It is none.
    """
    value = filled(value, name)
    try:
        cost = float(value.strip().lstrip("$€£") if isinstance(value, str) else value)
    except (TypeError, ValueError):
        raise BadCellError(f"column {name}: {_shown(value)} is no number") from None
    except OverflowError:
        cost = math.inf
    if not math.isfinite(cost) or cost < 0:
        raise BadCellError(f"column {name}: {_shown(value)} is no cost; use 0 or more")
    return cost


def time_of(value: Any, name: str) -> float:
    """Unix time in seconds.

    Raises:
        BadCellError: It is no time.
    """
    value = filled(value, name)
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
    raise BadCellError(f"column {name}: {_shown(value)} is no time; use ISO 8601 or Unix seconds")


def _parsed_time(text: str, name: str) -> datetime | float:
    try:
        return float(text)
    except ValueError:
        pass
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            return parse(text.removesuffix(" UTC"))
        except (ValueError, IndexError):
            continue
    raise BadCellError(f"column {name}: {_shown(text)} is no time; use ISO 8601 or Unix seconds")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"
