"""Values that stand as JSON in the fleet's database, read such that a spoilt one is as good as none.

A disk may change a value and leave the database whole, which then can't tell it. One value is worth no outage.
"""

from __future__ import annotations

import json
import logging
from typing import Any, TypeVar

from pydantic import TypeAdapter

log = logging.getLogger(__name__)

Value = TypeVar("Value")


def read_as(kind: TypeAdapter[Value], text: str | None, what: str) -> Value | None:
    """The value, ``None`` where there is none or it can't be read; ``what`` it is, for the log."""
    if text is None:
        return None
    try:
        return kind.validate_json(text)
    except (ValueError, TypeError, OverflowError) as error:
        log.error("%s can't be read, and is as good as none: %s", what, str(error).partition("\n")[0])
        return None


def read_object(text: str | None, what: str) -> dict[str, Any]:
    """The same of an object of any content, empty where there is none."""
    if not text:
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        log.error("%s can't be read, and is as good as none: %s", what, error)
        return {}
    return value if isinstance(value, dict) else {}
