"""Values in the fleet's database, and types of its columns, read such that a spoilt one is as good as none.

A disk may change a value and leave the database whole, which then can't tell it. One value is worth no outage.
"""

from __future__ import annotations

import json
import logging
from enum import StrEnum
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter
from sqlalchemy import Column, Integer, String, Text
from sqlalchemy.types import TypeDecorator

log = logging.getLogger(__name__)

Value = TypeVar("Value")
Name = TypeVar("Name", bound=StrEnum)
Item = TypeVar("Item")


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


class Named(TypeDecorator[Name], Generic[Name]):
    """One of a few names, as text."""

    impl = String
    cache_ok = True

    def __init__(self, kind: type[Name], otherwise: Name, length: int = 20) -> None:
        """Hold one of ``kind``; ``otherwise`` stands for what can't be read, ``length`` in characters."""
        super().__init__(length)
        self.kind, self.otherwise, self.length = kind, otherwise, length

    def process_bind_param(self, value: Name | None, dialect: Any) -> str | None:
        """The text of a name; ``ValueError`` if it is none of the kind."""
        return None if value is None else self.kind(value).value

    def process_result_value(self, value: Any, dialect: Any) -> Name | None:
        """The name of a text."""
        try:
            return None if value is None else self.kind(value)
        except ValueError:
            log.error("%r is no %s: taken for %s", value, self.kind.__name__, self.otherwise)
            return self.otherwise


class Several(TypeDecorator[tuple[Item, ...]], Generic[Item]):
    """Values of one dataclass, in their order, as JSON; none at all is NULL."""

    impl = Text
    cache_ok = True

    def __init__(self, adapter: TypeAdapter[tuple[Item, ...]], what: str) -> None:
        """Hold what ``adapter`` reads; ``what`` they are, for the log."""
        super().__init__()
        self.adapter, self.what = adapter, what

    def process_bind_param(self, value: tuple[Item, ...] | None, dialect: Any) -> str | None:
        """The values as JSON."""
        return self.adapter.dump_json(value).decode() if value else None

    def process_result_value(self, value: Any, dialect: Any) -> tuple[Item, ...]:
        """The values in a JSON; none where it can't be read."""
        return read_as(self.adapter, value, self.what) or ()


def name_column(column: str, *, key: bool = False) -> Column[str]:
    """The name of a task, a device, a caller or a judge."""
    return Column(column, String(200), primary_key=True) if key else Column(column, String(200), nullable=False)


def number_column(column: str) -> Column[int]:
    """A number that is part of the key, and that nobody counts up but us."""
    return Column(column, Integer, primary_key=True, autoincrement=False)


def row_key() -> list[Column[Any]]:
    """Key of a row of the log, of one task."""
    query = Column("query_id", String(64), primary_key=True)
    return [
        name_column("task", key=True),
        name_column("caller", key=True),
        query,
        name_column("teacher_version", key=True),
    ]


def needed(kind: Any, *names: str) -> list[Column[Any]]:
    """Columns of one kind that always hold something."""
    return [Column(name, kind, nullable=False) for name in names]
