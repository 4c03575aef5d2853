"""Requests, responses and messages in LangChain's and Cohere's forms -> the same in OpenAI's, which are read.

Rules:
 * Only what has the marks of such a form is turned; any other value stays itself.
 * LangChain writes messages by its serialiser, as ``{type, data}``, or as ``{type, content}``; generations are choices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_KINDS = {
    **dict.fromkeys(("human", "HumanMessage"), "user"),
    **dict.fromkeys(("ai", "AIMessage"), "assistant"),
    **dict.fromkeys(("system", "SystemMessage"), "system"),
    **dict.fromkeys(("tool", "ToolMessage", "function", "FunctionMessage"), "tool"),
    **dict.fromkeys(("chat", "ChatMessage"), "user"),
}
_PAIRED = {"user": "user", "assistant": "assistant", "human": "user", "ai": "assistant", "system": "system"}
_COHERES_ROLES = {"USER": "user", "CHATBOT": "assistant", "SYSTEM": "system", "TOOL": "tool"}
_HISTORY = ("chat_history", "chatHistory")
_OF_COHERE = (*_HISTORY, "preamble", "generation_id", "generationId")
_ASKED_OF_COHERE = {
    *("message", "model", "stream", "conversation_id", "prompt_truncation", "connectors", "documents", "tools"),
    *("search_queries_only", "citation_quality", "temperature", "max_tokens", "max_input_tokens", "k", "p", "seed"),
    *("stop_sequences", "frequency_penalty", "presence_penalty", "raw_prompting", "return_prompt", "tool_results"),
    *("force_single_step", "response_format", "safety_mode"),
}
_ENDED = ("finish_reason", "finishReason")
_ENDS = (*_ENDED, "stop_reason", "stopReason", "done_reason")


def as_openai(value: Any) -> Any:
    """A message, a request or a response in OpenAI's form, where it has another one that is known; else the value."""
    if isinstance(value, list):
        if value and all(map(_is_pair, value)):
            return [{"role": _PAIRED[role], "content": text} for role, text in value]
        inner = value[0] if len(value) == 1 and isinstance(value[0], list) else value
        messages = [_message(one) for one in inner]
        return messages if messages and None not in messages else value
    if not isinstance(value, Mapping):
        return value
    message = _message(value)
    if message is not None:
        return message
    if isinstance(value.get("generations"), list):
        return {"choices": [_choice(one) for one in _flat(value["generations"]) if isinstance(one, Mapping)]}
    is_asked = value.keys() <= _ASKED_OF_COHERE or value.keys() & {*_OF_COHERE}
    if isinstance(value.get("message"), str) and is_asked and not value.keys() & {"error", "role"}:
        return _request_of_cohere(value)
    if isinstance(value.get("text"), str) and value.keys() & {*_ENDED, "generation_id", "generationId"}:
        return {"choices": [_choice_of_cohere(value)]}
    return value


def as_pair(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """A line in which Cohere's request and response stand side by side, as such a pair; any other one as it is."""
    message = row.get("message")
    if isinstance(message, str) and row.keys() & {*_OF_COHERE}:
        said = {key: row[key] for key in ("text", *_ENDED, "tool_calls", "toolCalls") if key in row}
        asked = {key: row[key] for key in ("message", *_HISTORY, "preamble") if key in row}
        return {**row, "request": asked, "response": row.get("response") or {**said, "generation_id": ""}}
    if isinstance(message, Mapping) and "messages" in row and row.keys() & {*_ENDED}:
        return {**row, "request": {"messages": row["messages"]}, "response": row}
    return row


def _message(value: Any) -> dict[str, Any] | None:
    """A message of LangChain's; ``None`` for anything else."""
    if not isinstance(value, Mapping) or "role" in value:
        return None
    kind, inner = value.get("type"), value
    if "lc" in value and isinstance(value.get("kwargs"), Mapping) and isinstance(value.get("id"), list):
        kind, inner = str(value["id"][-1]) if value["id"] else "", value["kwargs"]
    elif isinstance(value.get("data"), Mapping):
        inner = value["data"]
    role = _KINDS.get(str(kind).removesuffix("Chunk"))
    if role is None or "content" not in inner or (inner is value and value.keys() & {"text", "answer"}):
        return None
    beside = inner.get("additional_kwargs")
    beside = beside if isinstance(beside, Mapping) else {}
    calls = inner.get("tool_calls") or beside.get("tool_calls") or []
    found = {"role": inner.get("role") or role, "content": inner["content"], "tool_calls": calls}
    if beside.get("function_call"):
        found["function_call"] = beside["function_call"]
    return {**found, **_end(inner.get("response_metadata"))}


def _is_pair(value: Any) -> bool:
    """Whether a value is a message as LangChain takes them too: its role and its text."""
    is_two = isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)
    return is_two and value[0] in _PAIRED and isinstance(value[1], str | list)


def _flat(generations: Sequence[Any]) -> Sequence[Any]:
    """The generations of the first prompt: LangChain writes a list for each."""
    return generations[0] if generations and isinstance(generations[0], list) else generations


def _choice(generation: Mapping[str, Any]) -> dict[str, Any]:
    message: Any = _message(generation.get("message"))
    end = _end(generation.get("generation_info")) or _end(generation) or _end(message)
    if message is None:
        message = {"role": "assistant", "content": generation.get("text")}
    return {"message": message, **end}


def _end(said: Any) -> dict[str, Any]:
    """Why an answer ended, where that is said."""
    end = next((said[name] for name in _ENDS if said.get(name)), None) if isinstance(said, Mapping) else None
    return {} if end is None else {"finish_reason": end}


def _request_of_cohere(value: Mapping[str, Any]) -> dict[str, Any]:
    before: Sequence[Any] = next((value[name] for name in _HISTORY if isinstance(value.get(name), list)), [])
    turns = [
        {"role": _COHERES_ROLES.get(str(one.get("role")), "user"), "content": one.get("message")}
        for one in before
        if isinstance(one, Mapping)
    ]
    system = [{"role": "system", "content": value["preamble"]}] if value.get("preamble") else []
    return {"messages": [*system, *turns, {"role": "user", "content": value["message"]}]}


def _choice_of_cohere(value: Mapping[str, Any]) -> dict[str, Any]:
    calls = value.get("tool_calls") or value.get("toolCalls") or []
    called = [
        {"name": call.get("name"), "arguments": call.get("parameters", call.get("arguments", {}))}
        for call in calls
        if isinstance(call, Mapping)
    ]
    return {"message": {"role": "assistant", "content": value["text"], "tool_calls": called}, **_end(value)}
