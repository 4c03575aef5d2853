"""A prompt as a model may read it: what a caller wrote is text, what the operator's template spells stays."""

from __future__ import annotations

from typing import Any

from router.core.domain.chat import messages_as_dicts, tools_as_dicts
from router.core.domain.generation import Prompt
from router.core.domain.plain_text import PlainText
from router.core.domain.query import Message

_OURS = frozenset({"role", "type"})  # keys whose values no caller writes


def plain_text_of(prompt: Prompt, plain: PlainText) -> str:
    """The prompt as one text."""
    before, after = prompt.frame
    asked = prompt.text[len(before) : len(prompt.text) - len(after)]
    return before + plain(asked) + after


def plain_messages(prompt: Prompt, plain: PlainText) -> list[dict[str, Any]]:
    """The conversation as chat servers and chat templates read it."""
    return [_message(prompt, message, plain) for message in prompt.messages]


def plain_tools(prompt: Prompt, plain: PlainText) -> list[dict[str, Any]]:
    """The tools as chat servers and chat templates read them.

    Raises:
        BadInputError: A schema of parameters that is no JSON object.
    """
    return [_plain(tool, plain) for tool in tools_as_dicts(prompt.tools)]


def _message(prompt: Prompt, message: Message, plain: PlainText) -> dict[str, Any]:
    (found,) = messages_as_dicts((message,))
    if message.content == prompt.text:  # a text as the one turn of a conversation
        return {**_plain(found, plain), "content": plain_text_of(prompt, plain)}
    return dict(_plain(found, plain))


def _plain(value: Any, plain: PlainText) -> Any:
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, list):
        return [_plain(one, plain) for one in value]
    if isinstance(value, dict):
        return {
            plain(key): one if key in _OURS and isinstance(one, str) else _plain(one, plain)
            for key, one in value.items()
        }
    return value
