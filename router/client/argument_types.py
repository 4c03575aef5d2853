"""Check what a program hands over against the types that our dataclasses declare, before anything is sent.

Rules:
 * A request for privacy is never swallowed: what is not of its kind is refused, with the argument's name.
 * A choice is taken as its member or as its exact name; lists do as well as tuples. Nothing else is converted.
 * ``True`` and ``False`` are no numbers, and nothing else is either of them.
"""

from __future__ import annotations

import difflib
import math
import types
import typing
from collections.abc import Collection, Hashable
from dataclasses import fields, is_dataclass, replace
from enum import StrEnum
from functools import cache
from numbers import Integral, Real
from typing import Any, TypeVar, cast

from router.core.errors import BadInputError

_D = TypeVar("_D")
MOST_SECONDS = 366 * 24 * 3600  # of a deadline: more is a point in time, or no time at all
_MOST_SHOWN = 60  # characters of a wrong value
_CONTRACT_NAMES = {
    "id": "query_id",
    "messages": "chat.messages",
    "sequence_number": "place",
}  # where the contract spells a field otherwise
_JSON_TEXTS = frozenset({"arguments", "parameters_schema", "response_schema"})


def checked_value(value: _D, prefix: str = "") -> _D:
    """A dataclass of ours with every field of its declared type.

    Args:
        value: The dataclass, as a program made it.
        prefix: What stands before a field's name in messages.

    Returns:
        The same, or a copy in which names of choices have become members and lists tuples.

    Raises:
        BadInputError: Names the field, as the contract spells it, and what would do.
    """
    changed = {}
    for name, declared in _declared(cast("Hashable", type(value))):
        said = getattr(value, name)
        checked = _conform(said, declared, f"{prefix}{_CONTRACT_NAMES.get(name, name)}", name)
        if checked is not said:
            changed[name] = checked
    return replace(value, **changed) if changed else value  # type: ignore[type-var] # a dataclass


def checked_text(value: object, field: str) -> str:
    """A text.

    Raises:
        BadInputError: It is something else.
    """
    return str(_conform(value, str, field, field))


def checked_seconds(value: object, field: str) -> float:
    """A time in seconds, above 0 and at most ``MOST_SECONDS``.

    Raises:
        BadInputError: It is none.
    """
    if not isinstance(value, Real) or isinstance(value, bool):
        raise BadInputError(field, f"is {shown(value)}; use seconds above 0, as a number")
    try:
        seconds = float(value)
    except OverflowError:
        seconds = math.inf
    if not 0 < seconds < math.inf:
        raise BadInputError(field, f"is {shown(value)}; use seconds above 0")
    if seconds > MOST_SECONDS:
        raise BadInputError(
            field, f"is {shown(value)}; it is a time from now on: use seconds, {MOST_SECONDS:,} at most"
        )
    return seconds


def checked_flag(value: object, field: str) -> bool:
    """``True`` or ``False``.

    Raises:
        BadInputError: It is something else.
    """
    return bool(_conform(value, bool, field, field))


def check_keywords(call: str, given: Collection[str], known: Collection[str], otherwise: dict[str, str]) -> None:
    """Refuse a keyword that a call does not know.

    Args:
        call: Name of the call, for the message.
        given: The keywords that came.
        known: Those that it knows.
        otherwise: What to do instead of a keyword that people try.

    Raises:
        TypeError: As Python itself does; says what would do.
    """
    for name in given:
        if name not in known:
            instead = otherwise.get(name) or _instead_of(name, known)
            raise TypeError(f"{call}() got an unexpected keyword argument {name!r}; {instead}")


def _instead_of(name: str, known: Collection[str]) -> str:
    near = nearest(name, known)
    return f"did you mean {near!r}?" if near else f"the options are {', '.join(known)}"


def nearest(name: str, known: Collection[str]) -> str:
    """The known name that was probably meant by a misspelt one; empty where none is near."""
    plain = name.strip().casefold().replace("-", "_")
    if plain in known:
        return plain
    return next(iter(difflib.get_close_matches(plain, known, 1, cutoff=0.8)), "")


def shown(value: object) -> str:
    """A wrong value as a message shows it, cut to a readable length."""
    text = repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


@cache
def _declared(kind: Any) -> tuple[tuple[str, Any], ...]:
    hints = typing.get_type_hints(kind)
    return tuple((field.name, hints[field.name]) for field in fields(kind))


def _conform(value: Any, declared: Any, field: str, name: str) -> Any:
    origin = typing.get_origin(declared)
    if origin in (types.UnionType, typing.Union):
        (inner,) = (one for one in typing.get_args(declared) if one is not type(None))
        return None if value is None else _conform(value, inner, field, name)
    if origin is tuple:
        return _several(value, typing.get_args(declared)[0], field, name)
    if isinstance(declared, type) and is_dataclass(declared):
        if not isinstance(value, declared):
            raise _wrong(field, value, f"a {declared.__module__}.{declared.__name__}")
        return checked_value(value, f"{field}.")
    if issubclass(declared, StrEnum):
        return _member(value, declared, field)
    return _plain(value, declared, field, name)


def _several(value: Any, inner: Any, field: str, name: str) -> Any:
    if not isinstance(value, list | tuple):
        raise _wrong(field, value, "a list or tuple")
    checked = tuple(_conform(one, inner, f"{field}[{position}]", name) for position, one in enumerate(value))
    same = isinstance(value, tuple) and all(one is other for one, other in zip(checked, value, strict=True))
    return value if same else checked


def _member(value: Any, choices: type[StrEnum], field: str) -> StrEnum:
    is_other_choice = isinstance(value, StrEnum) and not isinstance(value, choices)
    if isinstance(value, str) and not is_other_choice and value in choices.__members__.values():
        return choices(value)
    *names, last = (repr(choice.value) for choice in choices)
    raise BadInputError(field, f"is {_told(value)}; use {', '.join(names)} or {last}")


def _plain(value: Any, declared: type[Any], field: str, name: str) -> Any:
    if declared is bool:
        if not isinstance(value, bool):
            raise _wrong(field, value, "True or False")
        return value
    if declared is str:
        if not isinstance(value, str):
            raise _wrong(field, value, "a str of JSON, as json.dumps writes it" if name in _JSON_TEXTS else "a str")
        return value
    number = Integral if declared is int else Real
    if not isinstance(value, number) or isinstance(value, bool):
        raise _wrong(field, value, "a whole number" if declared is int else "a number")
    return value if isinstance(value, declared) else declared(value)


def _wrong(field: str, value: object, wanted: str) -> BadInputError:
    return BadInputError(field, f"is {_told(value)}; use {wanted}")


def _told(value: object) -> str:
    if value is None or isinstance(value, bool):
        return repr(value)
    kind = "str" if isinstance(value, str) else type(value).__name__
    return f"{str(value)!r}, a str" if kind == "str" and len(str(value)) <= _MOST_SHOWN else f"{shown(value)}, a {kind}"
