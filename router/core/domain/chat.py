"""Conversations as one text, and as JSON.

Rules:
 * A transcript is what a student reads of a conversation, and what the log shows of it: one line per turn begins with
   who speaks, in the order in which they spoke. A line of what is said that would read as another turn is quoted, also
   where it only looks like one: with letters in it that can't be seen, in wide letters, between marks.
 * JSON is the form that loses nothing: ``messages_from_json(messages_as_json(m)) == m``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from router.core.domain.query import Message, Tool, ToolCall
from router.core.errors import BadInputError
from router.core.visible_text import as_seen

CALLS = "calls"  # what stands before the calls of a turn in a transcript
QUOTE = "> "  # before a line of a turn that would read as the head of another one
_HEAD = re.compile(rf"[\W_]*(?:system|user|assistant|tool)(?:[\W_]+{CALLS})?[\W_]*[:\u2236\ua789\u0589]", re.IGNORECASE)


def transcript(messages: Sequence[Message]) -> str:
    """The conversation as one text: ``role: content`` for each turn, ``role calls: [...]`` for its calls."""
    lines: list[str] = []
    for message in messages:
        if message.content or not message.tool_calls:
            lines.append(f"{message.role}: {_quoted(message.content)}")
        if message.tool_calls:
            lines.append(f"{message.role} {CALLS}: {_quoted(calls_as_text(message.tool_calls))}")
    return "\n".join(lines)


def _quoted(said: str) -> str:
    """What one turn says, its first line after the head: a further line that would read as a head is quoted."""
    first, *further = said.splitlines(keepends=True) or [""]
    return first + "".join(f"{QUOTE}{line}" if _HEAD.match(as_seen(line)) else line for line in further)


def calls_as_text(calls: Iterable[ToolCall]) -> str:
    """Tool calls as the JSON text that stands for them as an answer: ``[{"name": ..., "arguments": {...}}]``."""
    listed = [{"name": call.name, "arguments": _arguments(call.arguments)} for call in calls]
    return json.dumps(listed, ensure_ascii=False)


def messages_as_json(messages: Iterable[Message]) -> str:
    """The conversation as a JSON list, in the form that chat servers read."""
    return json.dumps(messages_as_dicts(messages), ensure_ascii=False)


def messages_as_dicts(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """The conversation as chat servers and chat templates read it; absent fields are left out."""
    return [_as_dict(message) for message in messages]


def tools_as_dicts(tools: Iterable[Tool]) -> list[dict[str, Any]]:
    """Tools as chat servers and chat templates read them.

    Raises:
        BadInputError: A schema of parameters that is no JSON object.
    """
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": _schema(tool.parameters_schema, f"tools[{position}].parameters_schema"),
            },
        }
        for position, tool in enumerate(tools)
    ]


def messages_from_json(text: str) -> tuple[Message, ...]:
    """The conversation that a JSON list spells.

    Raises:
        BadInputError: It is no list of messages.
    """
    try:
        listed = json.loads(text)
        if not isinstance(listed, list):
            raise TypeError(f"{type(listed).__name__} is no list")
        return tuple(_message(item) for item in listed)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BadInputError("chat", f"is no JSON list of messages: {type(error).__name__}: {error}") from error


def call_of(item: dict[str, Any]) -> ToolCall:
    """One call as chat servers write it; arguments that come as an object are written as JSON.

    Raises:
        KeyError, TypeError, AttributeError: It is none.
    """
    arguments = item["function"].get("arguments") or "{}"
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    name = item["function"]["name"]
    return ToolCall("" if name is None else str(name), text, str(item.get("id") or ""))


def _as_dict(message: Message) -> dict[str, Any]:
    found: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        found["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id:
        found["tool_call_id"] = message.tool_call_id
    return found


def _message(item: dict[str, Any]) -> Message:
    calls = tuple(call_of(call) for call in item.get("tool_calls") or ())
    role, content = item["role"], item.get("content") or ""
    if not isinstance(role, str) or not isinstance(content, str):
        raise TypeError("role and content are texts")
    return Message(role, content, calls, str(item.get("tool_call_id") or ""))


def _arguments(text: str) -> Any:
    """The arguments as JSON; a text that is none stays a text."""
    try:
        return json.loads(text or "{}")
    except (ValueError, RecursionError):
        return text


def _schema(text: str, field: str) -> dict[str, Any]:
    try:
        value = json.loads(text) if text else {"type": "object", "properties": {}}
    except (ValueError, RecursionError) as error:
        raise BadInputError(field, "is no JSON") from error
    if not isinstance(value, dict):
        raise BadInputError(field, "is no JSON object")
    return value
