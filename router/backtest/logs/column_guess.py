"""Which columns of a log of no known shape hold query and answer, and the line to type where none can be told."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from router.backtest.logs.chats import is_chat, unpacked
from router.backtest.logs.shapes import find
from router.core.errors import ConfigError

TEXT_NAMES = ("text", "prompt", "question", "input", "query", "utterance", "messages")
ANSWER_NAMES = ("answer", "response", "label", "output", "completion")
_DEEPEST = 6


def guessed(path: Path, text: str, answer: str, label: str, head: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """The columns of the texts and of the answers: as named, or by their usual names.

    Raises:
        ConfigError: There are none of these names; gives the line to type.
    """
    known = list(dict.fromkeys(name for row in head for name in row))
    text_found = text or _usual(TEXT_NAMES, known, "")
    answer_found = answer or _usual(ANSWER_NAMES, known, label)
    for option, name in (("--text", text_found), ("--answer", answer_found)):
        if not name:
            line = suggestion(path, text_found, answer_found, label, head[0])
            raise ConfigError(option, "", f"name one of the columns of {path}: {', '.join(known)}{line}")
    return text_found, answer_found


def as_named(head: Sequence[Mapping[str, Any]], name: str) -> bool:
    """Whether a column holds whole talks, the answer among them."""
    return any(is_chat(unpacked(find(row, name))) for row in head)


def suggestion(path: Path, text: str, answer: str, label: str, row: Mapping[str, Any]) -> str:
    """The line that would read a log that has such rows; empty where it has no two texts."""
    found = [name for name, _ in _leaves(row, "") if name != label]
    text = text or _like(TEXT_NAMES, [name for name in found if name != answer])
    answer = answer or _like(ANSWER_NAMES, [name for name in reversed(found) if name != text])
    if not text or not answer:
        return ""
    return f"; for example: headrace backtest {shlex.quote(str(path))} --text {text} --answer {answer}"


def text_inside(value: Any) -> str | None:
    """Where in an object or a list a text stands; empty where there is none, ``None`` for any other value."""
    if not isinstance(value, Mapping | list):
        return None
    return next((name for name, _ in _leaves(value, "")), "")


def _usual(names: Sequence[str], known: Sequence[str], taken: str) -> str:
    by_lower = {name.lower(): name for name in reversed(known) if name != taken}
    return next((by_lower[name] for name in names if name in by_lower), "")


def _like(names: Sequence[str], found: Sequence[str]) -> str:
    likely = (one for name in names for one in found if name in one.lower().split("."))
    return next(likely, found[0] if found else "")


def _leaves(value: Any, before: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Dotted names of the texts in a value; a talk is one."""
    value = unpacked(value)
    if before and (is_chat(value) or (isinstance(value, str) and value.strip())):
        yield before.rstrip("."), str(value)
        return
    if depth > _DEEPEST:
        return
    items = value.items() if isinstance(value, Mapping) else enumerate(value[:3]) if isinstance(value, list) else ()
    for name, inner in items:
        yield from _leaves(inner, f"{before}{name}.", depth + 1)
