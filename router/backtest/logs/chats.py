"""What a request asks and what a response answers, in the shapes that model servers log.

Rules:
 * JSON that stands as text in a cell is looked into where it has such a shape; any other text is itself.
 * The answer is the text that the model wrote, or its tool calls as JSON; reasoning is neither.
 * What has no such shape is not guessed: ``None``.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from router.backtest.logs.other_forms import as_openai
from router.backtest.logs.streams import is_stream, text_of_stream
from router.core.domain.query import FinishReason
from router.students.writers.chat_completion import end_of

_ASKING = ("messages", "input", "prompt", "prompts", "contents", "query", "question", "text")
_ALONE = ("completion", "output_text", "text", "output", "answer", "response", "result")
_MODELS = ("assistant", "model", "ai")
_SYSTEMS = ("system", "developer")
_ITEMS = ("function_call", "function_call_output", "reasoning")
_BROKE = (
    *("error", "abort", "aborted", "cancel", "cancelled", "canceled", "user_cancel", "failed", "timeout"),
    *("malformed_function_call", "insufficient_system_resource", "unknown_error"),
)
_ROLES = {"human": "user", "ai": "assistant", "model": "assistant"}


@dataclass(frozen=True, slots=True)
class Chat:
    """What was asked.

    Attributes:
        system: What the operator said before it; empty if nothing.
        turns: Role and text of each further message.
    """

    system: str
    turns: tuple[tuple[str, str], ...]

    @property
    def text(self) -> str:
        """The user's message; a transcript where there are several turns."""
        if len(self.turns) == 1:
            return self.turns[0][1]
        return "\n".join(f"{role}: {text}" for role, text in self.turns)

    @property
    def whole(self) -> str:
        """A transcript, with the system's prompt."""
        turns = (("system", self.system), *self.turns) if self.system else self.turns
        return "\n".join(f"{role}: {text}" for role, text in turns)


def unpacked(value: Any) -> Any:
    """What a text spells that is an object or a list in JSON, or as Python shows one; else the value itself."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return _as_python_writes_it(value)
    return value


def _as_python_writes_it(text: str) -> Any:
    """A dictionary or a list out of its ``repr``, in which many a log has it; else the text itself."""
    if not re.match(r"\s*(?:\[\s*)?\{\s*'", text):
        return text
    try:
        with warnings.catch_warnings(action="ignore"):  # of escapes that Python does not know
            return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return text


def is_chat(value: Any) -> bool:
    """Whether a value is a list of messages with roles."""
    return isinstance(value, list) and bool(value) and all(isinstance(one, Mapping) and "role" in one for one in value)


def is_talk(value: Any) -> bool:
    """Whether a response is a whole talk, as a graph of LangChain's gives it: what was asked, and what came of it."""
    return isinstance(value, Mapping) and is_chat(as_openai(value.get("messages")))


def _reply(talk: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The last message of a model in a whole talk, after what its user said last."""
    for one in reversed(as_openai(talk["messages"])):
        if _role(one) in ("user", *_MODELS):
            return None if _role(one) == "user" else one
    return None


def _is_items(value: Any) -> bool:
    """Whether a list holds turns in other forms too: calls and what came of them, or parts without a role."""
    return isinstance(value, list) and bool(value) and all(map(_is_item, value))


def _is_item(one: Any) -> bool:
    return isinstance(one, Mapping) and ("role" in one or "parts" in one or one.get("type") in _ITEMS)


def is_failure(value: Any) -> bool:
    """Whether a logged response says that there was no answer."""
    value = unpacked(value)
    if not isinstance(value, Mapping):
        return False
    named = any(value.get(name) for name in ("error", "promptFeedback", "prompt_feedback", "error_message"))
    return (named and not (value.get("choices") or value.get("candidates"))) or value.get("type") == "error"


def is_unfinished(value: Any) -> bool:
    """Whether a logged response says that its answer broke off, or was refused or filtered."""
    value = as_openai(unpacked(value))
    if not isinstance(value, Mapping):
        return False
    for name in ("choices", "candidates", "output"):
        listed = value.get(name)
        if isinstance(listed, list) and listed and any(map(is_unfinished, listed[:1] if name != "output" else listed)):
            return True
    if any(isinstance(value.get(name), Mapping) and is_unfinished(value[name]) for name in ("message", "output")):
        return True
    if is_talk(value):
        return is_unfinished(_reply(value))
    ends = [value.get(name) for name in ("finish_reason", "finishReason", "stop_reason", "stopReason")]
    is_refused = bool(value.get("refusal")) or value.get("status") in ("incomplete", "failed", "cancelled")
    parts = value.get("content") if isinstance(value.get("content"), list) else ()
    is_refused = is_refused or any(isinstance(part, Mapping) and part.get("type") == "refusal" for part in parts or ())
    return is_refused or any(map(_is_no_end, ends))


def _is_no_end(said: Any) -> bool:
    """Whether a word for the end of an answer says that it is none; words that are not known say nothing of that."""
    broke = isinstance(said, str) and said.strip().lower() in _BROKE
    return broke or end_of(said) in (FinishReason.LENGTH, FinishReason.FILTERED)


def chat_in(value: Any) -> Chat | None:
    """What a logged request asks; ``None`` if it has no shape that is known."""
    if isinstance(value, str):
        inner = unpacked(value)
        found = None if isinstance(inner, str) else chat_in(inner)
        if found is not None or not inner:
            return found
        return Chat("", (("user", value.strip()),)) if value.strip() else None
    value = as_openai(value)
    if is_chat(value) or _is_items(value):
        return _chat(value)
    if isinstance(value, list):
        return chat_in(value[0]) if len(value) == 1 and isinstance(value[0], str | list) else None
    if not isinstance(value, Mapping):
        return None
    if "role" in value and ("content" in value or "parts" in value):
        return _chat([value])
    for name in _ASKING:
        found = chat_in(value[name]) if value.get(name) else None
        if found is not None:
            return _with_system(found, value)
    return None


def answer_in(value: Any) -> str | None:
    """What a logged response answers: text, or tool calls as JSON; ``None`` if it has no shape that is known."""
    if is_stream(value):
        return text_of_stream(value)
    if isinstance(value, str):
        inner = unpacked(value)
        found = None if isinstance(inner, str) else answer_in(inner)
        return found if found is not None or not inner else value.strip() or None
    value = as_openai(value)
    if is_chat(value):
        return _said(next((one for one in reversed(value) if one["role"] in _MODELS), None))
    if isinstance(value, list):
        return _output(value)
    return _of_response(value) if isinstance(value, Mapping) else None


def _of_response(value: Mapping[str, Any]) -> str | None:
    for name in ("choices", "candidates"):
        if isinstance(value.get(name), list):
            return _first(value[name])
    for name in ("message", "output"):
        if isinstance(value.get(name), Mapping | list):
            return answer_in(value[name])
    if {"content", "tool_calls", "function_call", "parts"} & value.keys():
        return _said(value)
    if value.get("done") is True and isinstance(value.get("response"), str):  # Ollama's /api/generate
        return value["response"].strip() or None
    if is_talk(value):
        return _said(_reply(value))
    alone = next((name for name in _ALONE if value.keys() == {name}), "")
    return answer_in(value[alone]) if alone else None


def text_of(content: Any) -> str:
    """The text of a message, whose content may be a list of parts; what is no text is named."""
    if isinstance(content, Mapping):
        content = [content]
    if not isinstance(content, list):
        return "" if content is None else str(content)
    return " ".join(part for part in map(_part, content) if part)


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part
    if (
        not isinstance(part, Mapping)
        or part.get("thought")
        or part.get("type") in ("thinking", "reasoning", "tool_use")
    ):
        return ""
    text = part.get("text", part.get("content"))
    if isinstance(text, Mapping):  # assistants: {"text": {"value": "..."}}
        text = text.get("value")
    return text if isinstance(text, str) else f"[{part['type']}]" if isinstance(part.get("type"), str) else ""


def _chat(messages: Sequence[Mapping[str, Any]]) -> Chat | None:
    system = [_message(one) for one in messages if one.get("role") in _SYSTEMS]
    turns = [(_role(one), _message(one)) for one in messages]
    turns = [(role, text) for role, text in turns if role not in _SYSTEMS and text]
    return Chat("\n".join(filter(None, system)), tuple(turns)) if turns else None


def _role(message: Mapping[str, Any]) -> str:
    if "role" not in message:
        return {"function_call": "assistant", "function_call_output": "tool"}.get(str(message.get("type")), "user")
    return _ROLES.get(str(message["role"]), str(message["role"]))


def _message(message: Mapping[str, Any]) -> str:
    if message.get("type") == "function_call":
        return _calls([message])
    if message.get("type") == "function_call_output":
        return text_of(message.get("output"))
    return _said(message) or ""


def _with_system(chat: Chat, request: Mapping[str, Any]) -> Chat:
    """The chat with the prompt of a field of its own, as Anthropic's and OpenAI's newer requests have it."""
    system = request.get("system") or request.get("instructions") or ""
    return Chat(text_of(system), chat.turns) if system and not chat.system else chat


def _first(choices: Sequence[Any]) -> str | None:
    listed = [one for one in choices if isinstance(one, Mapping)]
    if not listed:
        return None
    numbered = all(isinstance(one.get("index"), int) for one in listed)
    first = min(listed, key=lambda one: one["index"]) if numbered else listed[0]
    message = first.get("message", first.get("content"))
    if isinstance(message, Mapping):
        return _said(message)
    return str(first["text"]).strip() or None if first.get("text") else None


def _output(items: Sequence[Any]) -> str | None:
    """The answer in a list of outputs, as OpenAI's newer responses have it: messages and calls, among others."""
    parts = [one for one in items if isinstance(one, Mapping)]
    if any("message" in one for one in parts):
        return _first(parts)
    if any("generated_text" in one for one in parts):
        return str(parts[0].get("generated_text") or "").strip() or None
    calls = [one for one in parts if one.get("type") == "function_call"]
    if calls:
        return _calls(calls)
    said = [_said(one) for one in parts if one.get("type") in ("message", "text", "output_text") or "role" in one]
    return "\n".join(filter(None, said)) or None


def _said(message: Mapping[str, Any] | None) -> str | None:
    """What a message says: its calls, where it makes some, else its text."""
    if message is None:
        return None
    content = message.get("content", message.get("parts", message.get("text")))
    calls = list(message.get("tool_calls") or [])
    if message.get("function_call"):
        calls.append(message["function_call"])
    if isinstance(content, list):
        parts = [part for part in content if isinstance(part, Mapping)]
        calls += [part for part in parts if part.get("type") == "tool_use"]
        calls += [part["functionCall"] for part in parts if isinstance(part.get("functionCall"), Mapping)]
    return _calls(calls) if calls else text_of(content).strip() or None


def _calls(calls: Sequence[Any]) -> str:
    """Calls as the judge ``tool_call`` reads them, without their ids, which never recur."""
    found = []
    for call in calls:
        inner = call.get("function", call) if isinstance(call, Mapping) else {}
        arguments = (
            inner.get("arguments", inner.get("input", inner.get("args", {}))) if isinstance(inner, Mapping) else {}
        )
        found.append(
            {"name": inner.get("name") if isinstance(inner, Mapping) else None, "arguments": unpacked(arguments)}
        )
    return json.dumps(found[0] if len(found) == 1 else found, ensure_ascii=False, sort_keys=True)
