"""Is what a model wrote a whole answer? One rule for students and teachers, in process and at servers.

Rules:
 * What a model thinks before it answers is no part of its answer. A thought that does not end leaves no answer.
 * A text that was broken off, filtered, or is empty is no whole answer: no device keeps it, nobody learns from it.
"""

from __future__ import annotations

import re
from dataclasses import replace

from router.core.domain.generation import Written
from router.core.domain.query import FinishReason, TokenProbability

EMPTY = "the answer is empty"
_TAGS = "think|thinking|thought|reasoning"
_OPEN = re.compile(rf"^[ \t]*(?:<({_TAGS})>|\[THINK\])", re.IGNORECASE | re.MULTILINE)
_CLOSE = re.compile(rf"</(?:{_TAGS})>|\[/THINK\]", re.IGNORECASE)


def answer_in(written: Written) -> Written:
    """What is left when the model's thinking is taken off: its text, its tokens, and the thinking as its rationale.

    A thought begins a line with its tag. A closing tag alone ends one that began in the prompt.
    """
    opened, closed = _OPEN.search(written.text), _CLOSE.search(written.text)
    if closed is not None and (opened is None or closed.start() < opened.start()):
        start, end = 0, closed.end()
    elif opened is not None:
        closed = _CLOSE.search(written.text, opened.end())
        start, end = opened.start(), len(written.text) if closed is None else closed.end()
    else:
        return written
    thought = _CLOSE.sub("", _OPEN.sub("", written.text[start:end])).strip()
    rest = replace(
        written,
        text=f"{written.text[:start].strip()}\n{written.text[end:].strip()}".strip(),
        tokens=_tokens_after(written.tokens) if closed is not None else (),
        finish_reason=FinishReason.LENGTH if closed is None else written.finish_reason,
        rationale="\n".join(part for part in (written.rationale, thought) if part),
    )
    return answer_in(rest)


def flaw_of(written: Written) -> str:
    """Why a text, without its thinking, is no whole answer, in words for the operator; empty where it is one."""
    if written.finish_reason is FinishReason.FILTERED:
        return "the answer was refused or filtered"
    if written.finish_reason is FinishReason.LENGTH:
        return "the answer broke off at its longest length"
    return "" if written.text.strip() or written.tool_calls else EMPTY


def _tokens_after(tokens: tuple[TokenProbability, ...]) -> tuple[TokenProbability, ...]:
    """The tokens behind the first closing tag; a tag may be one token or several."""
    said = ""
    for position, token in enumerate(tokens, start=1):
        said += token.token
        if _CLOSE.search(said):
            return tokens[position:]
    return tokens
