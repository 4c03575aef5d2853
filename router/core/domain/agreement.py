"""The judges of a task: when two answers say the same.

Laws, for every judge here:
 * Reflexive and symmetric, for any text at all: what can't be read is compared as normalised text.
 * Text is data: parsed, never evaluated; nesting, digits and exponents are bounded.
 * An answer that can be read never agrees with one that can't.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import Any

from router.core.domain.quantity import same_quantity
from router.core.domain.query import ToolCall

MOST_JSON_CHARACTERS = 256 * 1024
MOST_NUMBER_CHARACTERS = 400
MOST_DEPTH = 64

_FENCE = re.compile(r"^```[A-Za-z0-9]*\s*\n(.*?)\n?```$", re.DOTALL)

Agree = Callable[[str, str], bool]


def exact(one: str, other: str) -> bool:
    """The same letters."""
    return one == other


def normalised_text(one: str, other: str) -> bool:
    """The same text, whatever its case, width of letters, spaces and closing marks."""
    return normalised(one) == normalised(other)


def number(one: str, other: str) -> bool:
    """The same number, up to rounding in the sixth digit; units are converted where both name one."""
    same = same_quantity(one, other)
    return normalised_text(one, other) if same is None else same


def structure(one: str, other: str) -> bool:
    """The same JSON value: order of keys, spaces and spelling of numbers don't matter, order of lists does."""
    return _same_parsed(parse_json, one, other)


def tool_call(one: str, other: str) -> bool:
    """The same calls in the same order, by name and arguments."""
    return _same_parsed(parse_calls, one, other)


JUDGES: Mapping[str, Agree] = MappingProxyType(
    {
        "label": exact,
        "normalised_text": normalised_text,
        "number": number,
        "structure": structure,
        "tool_call": tool_call,
    }
)


def normalised(text: str) -> str:
    """What is left of a text when case, width of letters, spaces and closing marks are taken away."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.split()).rstrip(".!? ")


@dataclass(frozen=True, slots=True)
class Parsed:
    """A JSON value in a form in which equal values are equal: numbers are decimals, objects are sorted pairs."""

    form: Any


def unfenced(text: str) -> str:
    """What stands in a Markdown fence around the whole text; the text itself without one."""
    stripped = text.strip()
    fenced = _FENCE.match(stripped)
    return fenced.group(1) if fenced else stripped


def parse_json(text: str) -> Parsed | None:
    """The value of a text that is JSON, in a Markdown fence or not; ``None`` if it is none.

    Not read: NaN and infinities, objects that name a key twice (readers differ on them), numbers of more than
    ``MOST_NUMBER_CHARACTERS`` characters, texts of more than ``MOST_JSON_CHARACTERS``, more than ``MOST_DEPTH`` levels.
    """
    value = _json(text)
    return None if value is _UNREADABLE else Parsed(_form(value))


def parse_calls(text: str) -> tuple[Parsed, ...] | None:
    """The tool calls that a text holds, comparable; ``None`` if it holds none that can be read."""
    calls = tool_calls_in(text)
    if calls is None:
        return None
    return tuple(Parsed((call.name, parse_json(call.arguments))) for call in calls)


def tool_calls_in(text: str) -> tuple[ToolCall, ...] | None:
    """The calls in a text: one object ``{"name": ..., "arguments": {...}}``, or a list of them.

    Known spellings: OpenAI's ``{"function": {...}}`` around it, ``parameters`` for ``arguments``, arguments as JSON in
    a string, ``<tool_call>`` tags around the whole. ``None`` if the text is something else.
    """
    value = _json(text.strip().removeprefix("<tool_call>").removesuffix("</tool_call>"))
    listed = value if isinstance(value, list) else [value]
    calls = [_call(item) for item in listed]
    found = tuple(call for call in calls if call is not None)
    return found if found and len(found) == len(calls) else None


def _call(item: Any) -> ToolCall | None:
    if isinstance(item, dict) and isinstance(item.get("function"), dict):
        item = item["function"]
    if not isinstance(item, dict) or not isinstance(item.get("name"), str) or not item["name"].strip():
        return None
    given = item.get("arguments", item.get("parameters", {}))
    arguments = _json(given) if isinstance(given, str) else given
    return ToolCall(item["name"].strip(), _write(arguments)) if isinstance(arguments, dict) else None


def _same_parsed(parse: Callable[[str], Any], one: str, other: str) -> bool:
    first, second = parse(one), parse(other)
    if first is None and second is None:
        return normalised_text(one, other)
    return bool(first == second)


_UNREADABLE = object()


def _json(text: str) -> Any:
    stripped = text.strip()
    if len(stripped) > MOST_JSON_CHARACTERS:
        return _UNREADABLE
    try:
        value = json.loads(
            unfenced(stripped),
            object_pairs_hook=_object,
            parse_float=_decimal,
            parse_int=_decimal,
            parse_constant=_refuse,
        )
    except (ValueError, InvalidOperation, RecursionError):
        return _UNREADABLE
    return _UNREADABLE if _is_deep(value) else value


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MOST_DEPTH):
        level = [inner for item in level for inner in _inside(item)]
    return bool(level)


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key is named twice")
    return value


def _decimal(text: str) -> Decimal:
    if len(text) > MOST_NUMBER_CHARACTERS:
        raise ValueError("the number is too long")
    value = Decimal(text)
    if not value.is_finite():
        raise ValueError("the number is out of range")
    return value


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _form(value: Any) -> Any:
    """Nested tuples that start with the kind, so that ``true`` is not 1 and an object is no list."""
    if isinstance(value, dict):
        return ("object", tuple(sorted((key, _form(inner)) for key, inner in value.items())))
    if isinstance(value, list):
        return ("list", tuple(_form(inner) for inner in value))
    return (type(value).__name__, value)


def _write(value: Any) -> str:
    """JSON, with numbers as they were spelt and keys in order."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {_write(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_write(inner) for inner in value) + "]"
    return str(value) if isinstance(value, Decimal) else json.dumps(value)
