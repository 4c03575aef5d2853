"""A row of a log -> what was asked and what was answered, with what to tell of how it was read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from router.backtest.logs.cells import filled, is_empty
from router.backtest.logs.chats import Chat, answer_in, chat_in, is_chat, is_failure, is_talk, is_unfinished, unpacked
from router.backtest.logs.column_guess import text_inside
from router.backtest.logs.other_forms import as_openai
from router.backtest.logs.shapes import Found, find, kinds_of

_QUOTING = ("langfuse", "litellm")  # shapes whose cells may be JSON, also where they are texts
_NO_ANSWER = "have no answer"
_STATUSES = ("status_code", "response_status", "status")
GENERATION = "GENERATION"  # Langfuse's type of a model's call; other observations wrap or follow one


@dataclass(frozen=True, slots=True)
class Value:
    """What a row says.

    Attributes:
        text: What was asked.
        answer: What was answered.
        whole: What was asked, with the system's prompt.
        system: The system's prompt, where it is no part of ``text``.
        turns: Of the talk.
        text_inside: Where in a whole object, taken as the text, a text stands; ``None``: it was no such object.
        answer_inside: The same of the answer.
        problem: Why it is no query; empty if it is one.
    """

    text: str = ""
    answer: str = ""
    whole: str = ""
    system: str = ""
    turns: int = 1
    text_inside: str | None = None
    answer_inside: str | None = None
    problem: str = ""


def asked_at_column(row: Mapping[str, Any], text: str, answer: str) -> Value:
    """What plain columns say.

    Raises:
        BadCellError: One is empty.
    """
    asked, answered = filled(find(row, text), text), filled(find(row, answer), answer)
    if text == answer:
        asked, answered = _split(unpacked(asked))
        filled(answered, answer)
    inner = unpacked(asked)
    chat = chat_in(inner) if (isinstance(inner, Mapping) and not isinstance(asked, str)) or is_chat(inner) else None
    said, inside = answer_at(answered)
    filled(said, answer)
    if chat is not None:
        return Value(chat.whole, said, chat.whole, turns=len(chat.turns), answer_inside=inside)
    whole = _as_text(asked)[0]
    return Value(whole, said, whole, text_inside=text_inside(inner), answer_inside=inside)


def asked_in_shape(row: Mapping[str, Any], text: str, answer: str, found: Found) -> Value:
    """What a program's log says; a row that is no answered query says why."""
    aside = _beside(row, found)
    if aside:
        return Value(problem=aside)
    asked, answered = find(row, text), find(row, answer)
    if text == answer:
        asked, answered = _split(as_openai(unpacked(asked)))
    if _is_nothing(asked):
        return Value(problem="have no query")
    if _is_nothing(answered) or _failed(row, answer) or is_failure(answered) or (kinds_of(row) and row.get("error")):
        return Value(problem=_NO_ANSWER)
    if is_unfinished(answered):
        return Value(problem="have an answer that broke off, or was refused or filtered")
    if found.shape.name in _QUOTING:
        asked, answered = _unquoted(asked), _unquoted(answered)
    said, inside = answer_in(answered), None
    if said is None:
        inner = unpacked(answered)
        if isinstance(inner, Mapping) and ({"error", "choices", "candidates"} & inner.keys() or is_talk(inner)):
            return Value(problem=_NO_ANSWER)
        said, inside = _as_text(inner)
    chat, text_position = chat_in(unpacked(asked)), None  # an object that stands as text in a cell is told too
    if chat is None:
        whole, text_position = _as_text(unpacked(asked))
        chat = Chat("", (("user", whole),))
    return Value(chat.text, said, chat.whole, chat.system, len(chat.turns), text_position, inside)


def _beside(row: Mapping[str, Any], found: Found) -> str:
    """What a row is that stands beside the answers of a model; empty for one of those."""
    if found.shape.name == "langfuse" and str(row.get("type") or GENERATION).upper() in ("SPAN", "EVENT"):
        return "are spans or events, not a model's answers"
    is_step = found.only and kinds_of(row) and found.only not in kinds_of(row)
    return "are steps around a model's answers" if is_step else ""


def answer_at(value: Any) -> tuple[str, str | None]:
    """An answer as text, and where in it a text stands, if it is a whole object or list of no known shape."""
    inner = unpacked(value)
    known = is_chat(inner) or (isinstance(inner, Mapping) and {"choices", "candidates"} & inner.keys())
    if known or (isinstance(value, Mapping) and answer_in(value) is not None):
        return answer_in(inner) or "", None
    return _as_text(value)


def _failed(row: Mapping[str, Any], answer: str) -> bool:
    """Whether a status beside the answer says that there is none."""
    around = find(row, answer.rpartition(".")[0]) if "." in answer else None
    places = [place for place in (row, around) if isinstance(place, Mapping)]
    found = [place.get(name) for place in places for name in _STATUSES]
    return any(isinstance(status, int) and not isinstance(status, bool) and 400 <= status < 600 for status in found)


def _unquoted(value: Any) -> Any:
    """What a text in JSON's quotes says: exports write each cell as JSON."""
    if not isinstance(value, str) or not (value.startswith('"') and value.endswith('"')):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _split(messages: Any) -> tuple[Any, Any]:
    """Messages up to the last answer, and that answer."""
    if not is_chat(messages) or len(messages) < 2 or messages[-1]["role"] != "assistant":
        return messages, None
    return messages[:-1], messages[-1]


def _is_nothing(value: Any) -> bool:
    inner = unpacked(value)
    return is_empty(inner) or (isinstance(inner, Mapping | list) and not inner)


def _as_text(value: Any) -> tuple[str, str | None]:
    if isinstance(value, str):
        return value.strip(), None
    if isinstance(value, bool | int | float):
        return json.dumps(value), None
    try:
        return json.dumps(value, ensure_ascii=False), text_inside(value)
    except (TypeError, ValueError):
        return str(value), "" if isinstance(value, Mapping | list) else None
