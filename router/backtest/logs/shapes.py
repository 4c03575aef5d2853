"""Logs as other programs write them: which columns hold the query and the answer.

Rules:
 * A shape is guessed only where most of the first rows have its columns, and the command tells which it took.
 * Columns that the user names are read as named; nothing is guessed beside them.
 * A shape says when a query was asked, where its rows do; it never says costs or labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from router.backtest.logs.chats import answer_in as _answer_in
from router.backtest.logs.chats import chat_in, is_chat, is_failure, is_unfinished, unpacked
from router.backtest.logs.streams import is_stream

Row = Mapping[str, Any]
MOST = 0.5  # of the first rows have a shape's columns


@dataclass(frozen=True, slots=True)
class Shape:
    """A program's log.

    Attributes:
        name: As ``--format`` has it.
        title: For people.
        texts: Where what was asked may stand, the likeliest first.
        answers: Where the answer may.
        times: Where the time may.
        marks: Columns one of which a log of this kind has; empty: none is needed.
        advice: What to do where its rows have no texts or answers.
    """

    name: str
    title: str
    texts: tuple[str, ...]
    answers: tuple[str, ...]
    times: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    advice: str = ""


# As they are, and as proxies, gateways, providers and tracing programs log them.
_REQUESTS = (
    *("request.body", "request", "request_body", "requestBody", "properties.requestBody", "messages", "inputs"),
    *("input.inputBodyJson", "attributes.gen_ai.input.messages", "attributes.input.value", "input"),
)
_RESPONSES = (
    *("response.body", "response", "response_body", "responseBody", "properties.responseBody", "completion"),
    *("output.outputBodyJson", "attributes.gen_ai.output.messages", "attributes.output.value", "outputs"),
    *("choices", "output"),
)
SHAPES = (
    Shape(
        "headrace",
        "Headrace's own log",
        ("text",),
        ("answer",),
        ("asked_at",),
        ("propensity",),
    ),
    Shape(
        "openai-batch",
        "batch output",
        ("request.body", "request.params", "request"),
        ("response.body", "result.message", "response"),
        (),
        ("custom_id",),
        "add --requests with the batch's input file, which has the queries",
    ),
    Shape(
        "litellm",
        "LiteLLM spend log",
        ("messages", "proxy_server_request"),
        ("response",),
        ("startTime", "starttime", "start_time", "created_at"),
        ("startTime", "starttime", "call_type", "spend", "api_key"),
        "LiteLLM keeps them only with store_prompts_in_spend_logs: true in general_settings",
    ),
    Shape(
        "langfuse",
        "Langfuse export",
        ("input",),
        ("output",),
        ("start_time", "startTime", "timestamp", "created_at", "createdAt"),
        ("trace_id", "traceId", "htmlPath", "project_id", "projectId", "observations", "bookmarked"),
    ),
    Shape(
        "langsmith",
        "LangSmith runs",
        ("inputs",),
        ("outputs",),
        ("start_time", "startTime"),
        ("run_type", "runType"),
    ),
    Shape(
        "fine-tuning",
        "fine-tuning examples",
        ("messages", "input.messages", "conversations"),
        ("messages", "preferred_output", "conversations"),
    ),
    Shape("openai", "requests with responses", _REQUESTS, _RESPONSES),
)
NAMES = tuple(shape.name for shape in SHAPES)


@dataclass(frozen=True, slots=True)
class Found:
    """A shape and the columns in which a log has it.

    Attributes:
        shape: The shape.
        text: Where what was asked stands.
        answer: Where the answer stands.
        time: Where the time does; empty for none.
        only: The kind of rows that count, where others stand around them; empty for all.
    """

    shape: Shape
    text: str
    answer: str
    time: str = ""
    only: str = ""


def find(row: Any, name: str) -> Any:
    """The value of a dotted name: columns, keys, positions in lists from 0, and JSON that stands as text in a cell.

    A key may hold dots itself: the longest that is there goes first.
    """
    value = unpacked(row)
    if isinstance(value, Mapping):
        for end in (len(name), *(place for place in range(len(name) - 1, 0, -1) if name[place] == ".")):
            if name[:end] in value:
                inner = value[name[:end]]
                return inner if end == len(name) else find(inner, name[end + 1 :])
        return None
    first, _, rest = name.partition(".")
    if isinstance(value, list) and first.lstrip("-").isdecimal() and -len(value) <= int(first) < len(value):
        return find(value[int(first)], rest) if rest else value[int(first)]
    return None


def shape_of(rows: Sequence[Row]) -> Found | None:
    """The shape of a log that begins with these rows; ``None`` where they are plain columns."""
    for shape in SHAPES:
        if shape.marks and not any(mark in row for row in rows for mark in shape.marks):
            continue
        found = columns_for(shape, rows)
        if found is not None and _is_it(found, rows):
            return found
    return None


def columns_for(shape: Shape, rows: Sequence[Row]) -> Found | None:
    """Where rows have what a shape needs; ``None`` where they don't."""
    text = next((name for name in shape.texts if _share(rows, name, chat_in) > 0), "")
    answer = next((name for name in shape.answers if _share(rows, name, _answer_in) > 0), "")
    time = next((name for name in shape.times if rows and all(find(row, name) for row in rows)), "")
    models = any("llm" in kinds_of(row) for row in rows)
    return Found(shape, text, answer, time, "llm" if models else "") if text and answer else None


def kinds_of(row: Row) -> set[str]:
    """What LangSmith says that a run is; it has two spellings of the column."""
    return {str(row[name]).lower() for name in ("run_type", "runType") if name in row}


def _is_it(found: Found, rows: Sequence[Row]) -> bool:
    if found.shape.name in ("headrace", "litellm", "langfuse", "langsmith", "openai-batch"):
        return True
    texts = [unpacked(find(row, found.text)) for row in rows]
    if found.shape.name == "fine-tuning":
        whole = [text for text in texts if is_chat(text) and text[-1]["role"] == "assistant"]
        return len(whole) > MOST * len(rows) and (
            found.answer != found.text
            or not any(name in row for row in rows for name in ("response", "answer", "output"))
        )
    answers = [unpacked(find(row, found.answer)) for row in rows]
    return sum(map(_is_response, answers)) > MOST * len(rows)


def _is_response(value: Any) -> bool:
    if not isinstance(value, Mapping | list) and not is_stream(value):
        return False
    return is_failure(value) or is_unfinished(value) or _answer_in(value) is not None


def _share(rows: Sequence[Row], name: str, read: Any) -> float:
    values = [find(row, name) for row in rows]
    return sum(value is not None and read(value) is not None for value in values) / max(1, len(rows))
