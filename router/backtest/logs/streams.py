"""An answer that was logged piece by piece, as it was streamed -> its text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

_MARK = "data:"


def is_stream(value: Any) -> bool:
    """Whether a value is a stream: a list of chunks, or the text of server-sent events."""
    return next(_pieces(value), None) is not None


def text_of_stream(value: Any) -> str | None:
    """What a stream says all in all; ``None`` for anything else, and where it says nothing."""
    return "".join(_pieces(value)).strip() or None


def _pieces(value: Any) -> Iterator[str]:
    for chunk in _chunks(value):
        if isinstance(chunk, Mapping):
            delta = chunk.get("delta")
            if chunk.get("event_type") == "text-generation":  # Cohere's, of its first interface
                delta = chunk.get("text")
            choices = chunk.get("choices")
            if isinstance(choices, list) and choices and isinstance(choices[0], Mapping):
                delta = choices[0].get("delta")
            if isinstance(delta, Mapping) and isinstance(delta.get("message"), Mapping):  # of its second
                delta = delta["message"].get("content")
            if isinstance(delta, Mapping):
                delta = delta.get("content", delta.get("text"))
            if isinstance(delta, str):
                yield delta


def _chunks(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        yield from value
    elif isinstance(value, str) and value.lstrip().startswith((_MARK, "event:")):
        for line in value.splitlines():
            if line.startswith(_MARK):
                try:
                    yield json.loads(line.removeprefix(_MARK))
                except ValueError:  # [DONE]
                    continue
