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
_OF_ANSWERS = ("response", "answer", "output", "completion", "reply", "result", "choices", "candidates", "chosen")
_OF_TEXTS = ("request", "input", "prompt", "question", "query", "message", "text", "utterance")
_NO_TEXTS = ("role", "id", "type", "object", "model", "from", "status", "path", "time", "index", "rejected")
_ENDS_OF_NO_TEXTS = ("_id", "_at", "_type", "_path", "_time", "_status", "reason")


def guessed(path: Path, text: str, answer: str, label: str, head: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """The columns of the texts and of the answers: as named, or by their usual names.

    Raises:
        ConfigError: There are none of these names; gives the line to type.
    """
    known = list(dict.fromkeys(name for row in head for name in row))
    text_found = text or _usual(TEXT_NAMES, known, "")
    if not text and text_found.lower() == "input" and (beside := _usual(("instruction",), known, "")):
        problem = f"{path} has the column {beside} beside {text_found}: say which was asked, or join them in one column"
        raise ConfigError("--text", "", f"{problem}; for example: --text {beside}")
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
    text = text or _likeliest([name for name in found if name != answer], _OF_TEXTS, _OF_ANSWERS)
    answer = answer or _likeliest([name for name in found[::-1] if name != text], _OF_ANSWERS, _OF_TEXTS)
    if not text or not answer:
        return ""
    named = f"--text {shlex.quote(text)} --answer {shlex.quote(answer)}"
    return f"; for example: headrace backtest {shlex.quote(str(path))} {named}"


def text_inside(value: Any) -> str | None:
    """Where in an object or a list a text stands; empty where there is none, ``None`` for any other value."""
    if not isinstance(value, Mapping | list):
        return None
    return next((name for name, _ in _leaves(value, "")), "")


def _usual(names: Sequence[str], known: Sequence[str], taken: str) -> str:
    by_lower = {name.lower(): name for name in reversed(known) if name != taken}
    return next((by_lower[name] for name in names if name in by_lower), "")


def _likeliest(found: Sequence[str], own: Sequence[str], other: Sequence[str]) -> str:
    """The name that is meant: of this side, not of the other, and of what somebody wrote; empty where there is none."""

    def rank(name: str) -> tuple[bool, bool, bool]:
        first, last = name.lower().partition(".")[0], name.lower().rpartition(".")[2]
        is_other = any(part in first for part in other)
        return is_other, _is_no_text(last), not any(part in first for part in own)

    return min(found, key=rank, default="")


def _is_no_text(name: str) -> bool:
    return name in _NO_TEXTS or name.endswith(_ENDS_OF_NO_TEXTS)


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
