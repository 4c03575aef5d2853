"""Is what a model wrote a whole answer? One rule for students and teachers, in process and at servers.

Rules:
 * What a model thinks before it answers is no part of its answer. A thought that does not end leaves no answer.
 * A text that was broken off, filtered, or is empty is no whole answer: no device keeps it, nobody learns from it.
"""

from __future__ import annotations

import re
from dataclasses import replace

from router.core.domain.agreement import tool_calls_in
from router.core.domain.generation import Written
from router.core.domain.query import FinishReason, TokenProbability
from router.core.visible_text import is_blank

EMPTY = "the answer is empty"
MOST_THOUGHTS = 100
_TAG = r"(?:\w+[:_])?(?:think|thinking|thought|thoughts|reasoning)"  # also of a family: seed:think, longcat_think
# Where no tag of its own opens it, a thought is a channel (harmony), or begins with a token of control.
_OPENING = (
    rf"(?:<{_TAG}(?:\s[^<>]*)?>|\[THINK\]|◁think▷|<\|(?:START_THINKING|begin_of_thought|think|thinking)\|>|<unused94>"
    r"|(?:<\|start\|>assistant)?<\|channel\|>(?:analysis|commentary)[^<]*<\|message\|>"
    r"|\Aanalysis(?=\S.*assistantfinal))"
)
_OPEN = re.compile(rf"^[ \t\ufeff\u200b]*{_OPENING}", re.IGNORECASE | re.MULTILINE | re.DOTALL)
_OPEN_AT_ONCE = re.compile(rf"\s*{_OPENING}", re.IGNORECASE | re.DOTALL)
_CLOSE = re.compile(
    rf"</{_TAG}\s*>|\[/THINK\]|◁/think▷|<\|(?:END_THINKING|end_of_thought|/think|/thinking)\|>|<unused95>|assistantfinal"
    r"|(?:<\|end\|>\s*)?(?:<\|start\|>assistant)?<\|channel\|>final[^<]*<\|message\|>",
    re.IGNORECASE,
)
_ENDS = (
    *(f"<|{name}|>" for name in ("im_end", "eot_id", "eom_id", "endoftext", "end", "return", "END_RESPONSE")),
    *("<end_of_turn>", "</s>"),
)


def answer_in(written: Written) -> Written:
    """What is left when the model's thinking is taken off: its text, its tokens, and the thinking as its rationale.

    A thought begins a line with its tag. A closing tag alone ends one that began in the prompt. A model that goes
    round, with more thoughts than ``MOST_THOUGHTS``, has no answer.
    """
    rest = replace(written, text=_without_ends(written.text))
    for _ in range(MOST_THOUGHTS):
        thought_less = _without_a_thought(rest)
        if thought_less is None:
            return rest
        rest = thought_less
    if _without_a_thought(rest) is None:
        return rest
    return replace(rest, text="", tokens=(), finish_reason=FinishReason.LENGTH)


def _without_a_thought(written: Written) -> Written | None:
    """The same without its first thought; ``None`` where there is none."""
    opened, closed = _OPEN.search(written.text), _CLOSE.search(written.text)
    if closed is not None and (opened is None or closed.start() < opened.start()):
        start, end = 0, closed.end()
    elif opened is not None:
        closed = _close_of(written.text, opened.end())
        start, end = opened.start(), len(written.text) if closed is None else closed.end()
    else:
        return None
    thought = _CLOSE.sub("", _OPEN.sub("", written.text[start:end])).strip()
    return replace(
        written,
        text=f"{written.text[:start].strip()}\n{written.text[end:].strip()}".strip(),
        tokens=_tokens_after(written.tokens) if closed is not None else (),
        finish_reason=FinishReason.LENGTH if closed is None else written.finish_reason,
        rationale="\n".join(part for part in (written.rationale, thought) if part),
    )


def flaw_of(written: Written) -> str:
    """Why a text, without its thinking, is no whole answer, in words for the operator; empty where it is one."""
    if written.finish_reason is FinishReason.FILTERED:
        return "the answer was refused or filtered"
    if written.finish_reason is FinishReason.LENGTH:
        return "the answer broke off at its longest length"
    if _lost_its_calls(written):
        return "the answer ends in calls, and holds none"
    if any(is_blank(call.name) for call in written.tool_calls):
        return "the answer calls nothing by name"
    return "" if written.tool_calls or not is_blank(written.text) else EMPTY


def _without_ends(text: str) -> str:
    """A text without the tokens that end it, which some servers leave there."""
    kept = text.rstrip()
    while kept.endswith(_ENDS):
        end = next(one for one in _ENDS if kept.endswith(one))
        text = kept = kept.removesuffix(end).rstrip()
    return text


def _lost_its_calls(written: Written) -> bool:
    is_said = written.finish_reason is FinishReason.TOOL_CALLS and not written.tool_calls
    return is_said and not is_blank(written.text) and tool_calls_in(written.text) is None


def _close_of(text: str, start: int) -> re.Match[str] | None:
    """The end of a thought whose opening tag ends at ``start``; a thought that begins at once within it has its own."""
    closed, inner = _CLOSE.search(text, start), _OPEN_AT_ONCE.match(text, start)
    while inner is not None and closed is not None:
        closed, inner = _CLOSE.search(text, closed.end()), _OPEN_AT_ONCE.match(text, inner.end())
    return closed


def _tokens_after(tokens: tuple[TokenProbability, ...]) -> tuple[TokenProbability, ...]:
    """The tokens behind the first closing tag; a tag may be one token or several."""
    said = ""
    for position, token in enumerate(tokens, start=1):
        said += token.token
        if _CLOSE.search(said):
            return tokens[position:]
    return tokens
