"""One field of a message at a time: set with an error that names it, read with its default."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from enum import StrEnum
from typing import Any, TypeVar

from google.protobuf.message import Message as ProtoMessage

from router.core.errors import BadInputError

_E = TypeVar("_E", bound=StrEnum)


def put(message: ProtoMessage, field: str, value: object, prefix: str = "") -> None:
    """Set a field unless the value is absent; what protobuf refuses is said with the field's name."""
    if value is None:
        return
    try:
        setattr(message, field, value)
    except (ValueError, TypeError) as error:
        raise BadInputError(f"{prefix}{field}", f"can't be sent: {error}") from error


def extend(message: ProtoMessage, field: str, texts: Iterable[str], prefix: str) -> None:
    """Add texts to a repeated field, as ``put`` sets one."""
    try:
        getattr(message, field).extend(texts)
    except (ValueError, TypeError) as error:
        raise BadInputError(f"{prefix}{field}", f"can't be sent: {error}") from error


def put_all(message: ProtoMessage, value: object, fields: Iterable[str], prefix: str = "") -> None:
    """Set the fields of these names from the attributes of the same names, as ``put`` does."""
    field = ""
    try:
        for field in fields:
            found = getattr(value, field)
            if found is not None:
                setattr(message, field, found)
    except (ValueError, TypeError) as error:
        raise BadInputError(f"{prefix}{field}", f"can't be sent: {error}") from error


def same(message: ProtoMessage, fields: Iterable[str]) -> dict[str, Any]:
    """The values of these fields, by name."""
    return {field: getattr(message, field) for field in fields}


def optional(message: ProtoMessage, field: str) -> Any:
    """The value of a field that may be absent, else ``None``."""
    return getattr(message, field) if message.HasField(field) else None


def enum(members: type[_E], wrapper: Any, prefix: str, number: int, default: _E) -> _E:
    """The member that a number of the contract stands for, ``default`` where it is unknown here."""
    known: dict[int, _E] = _members(members, wrapper, prefix)
    return known.get(number, default)


def choice(members: type[_E], wrapper: Any, field: str, number: int, default: _E) -> _E:
    """The member that a number stands for; one unknown here is refused: a request is never weakened in silence."""
    if number == 0:  # what most messages say
        return default
    if number not in _numbers(wrapper):
        raise BadInputError(field, f"has the number {number}, unknown to this version; update it or send a known one")
    return enum(members, wrapper, f"{field.upper()}_", number, default)


@functools.cache
def number_of(wrapper: Any, prefix: str, member: StrEnum) -> int:
    """The number of the contract that stands for a member."""
    return int(wrapper.Value(f"{prefix}{member.name}"))


@functools.cache
def _numbers(wrapper: Any) -> frozenset[int]:
    return frozenset(wrapper.values())


@functools.cache
def _members(members: type[_E], wrapper: Any, prefix: str) -> dict[int, _E]:
    """The members by number, of those that both sides know."""
    named = ((number, wrapper.Name(number).removeprefix(prefix)) for number in wrapper.values())
    return {number: members.__members__[name] for number, name in named if name in members.__members__}
