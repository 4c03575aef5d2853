"""A chat completion, as servers and providers write it, as a text that was written.

Rules:
 * A text whose end is not told, or told in a word that is not known here, broke off: it is no answer.
 * What the model refuses to say stands in its text, and is told as filtered.
 * Content in parts is the text of its parts; what it thinks aloud there is its rationale.
"""

from __future__ import annotations

import math
from typing import Any

from router.core.domain.chat import call_of
from router.core.domain.generation import LEAST_TAIL, Written
from router.core.domain.query import Distribution, FinishReason, TokenProbability
from router.core.errors import UnavailableError
from router.core.policy.text_confidence import LEAST_LOG_PROBABILITY
from router.core.visible_text import is_blank

MOST_TOKENS = 2**31 - 1  # that are counted: more is no count
UNREADABLE = (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, OverflowError)
_STOP, _LENGTH, _CALLS, _FILTERED = (
    FinishReason.STOP,
    FinishReason.LENGTH,
    FinishReason.TOOL_CALLS,
    FinishReason.FILTERED,
)
_FINISH = {
    **dict.fromkeys(("stop", "eos", "eos_token", "end_turn", "end_of_turn", "stop_sequence", "stop_str"), _STOP),
    **dict.fromkeys(("complete", "completed"), _STOP),
    **dict.fromkeys(
        ("length", "max_tokens", "max_output_tokens", "model_length", "max_length", "token_limit"), _LENGTH
    ),
    **dict.fromkeys(("model_context_window_exceeded", "error_limit"), _LENGTH),
    **dict.fromkeys(("tool_calls", "tool_call", "function_call", "tool_use"), _CALLS),
    **dict.fromkeys(("content_filter", "content_filtered", "guardrail_intervened", "safety", "recitation"), _FILTERED),
    **dict.fromkeys(("refusal", "blocklist", "prohibited_content", "spii", "sensitive", "error_toxic"), _FILTERED),
    **dict.fromkeys(("image_safety", "language"), _FILTERED),
}


def written_of(reply: dict[str, Any], top_k: int) -> Written:
    """A chat completion as a text.

    Raises:
        UnavailableError: The text broke off.
        UNREADABLE: It is no chat completion.
    """
    choice, usage = _first_choice(reply["choices"]), reply.get("usage") or {}
    message = choice["message"]
    text, thought, refused = _content(message)
    calls = tuple(call_of(call) for call in _calls_in(message))
    for part in (text, thought, *(part for call in calls for part in (call.name, call.arguments, call.id))):
        part.encode()  # half a letter can't be sent on
    listed = (choice.get("logprobs") or {}).get("content") or ()
    tokens = tuple(_token(item, top_k) for item in listed)
    reason = _finish(_end_of(choice), bool(calls))
    read, wrote = (_count(usage.get(name)) for name in ("prompt_tokens", "completion_tokens"))
    return Written(
        text.strip(),
        tokens,
        _FILTERED if refused else reason,
        calls,
        tokens_in=read,
        tokens_out=wrote or len(tokens),
        rationale=thought.strip(),
    )


def _first_choice(choices: Any) -> Any:
    """The choice of the least index; servers list them in any order."""
    listed = list(choices) if isinstance(choices, list) else [choices[0]]
    numbered = all(isinstance(one, dict) and isinstance(one.get("index"), int) for one in listed)
    return min(listed, key=lambda one: one["index"]) if numbered and listed else listed[0]


def _calls_in(message: dict[str, Any]) -> list[Any]:
    """The calls of a message; servers of the interface's first years write one alone, under another name."""
    calls, alone = message.get("tool_calls") or [], message.get("function_call")
    if not isinstance(calls, list):
        raise TypeError("tool_calls is no list")
    return calls or ([{"function": alone}] if alone else [])


def _end_of(choice: dict[str, Any]) -> Any:
    """The word for its end: as the provider said it, where a library between has put another in its place."""
    kept = choice.get("provider_specific_fields")
    native = kept.get("native_finish_reason") if isinstance(kept, dict) else None
    return choice.get("finish_reason") if native is None else native


def end_of(word: Any) -> FinishReason | None:
    """What a provider's word for the end of an answer means; ``None`` for one that is not known."""
    return _FINISH.get(word.strip().lower().removeprefix("finish_reason_")) if isinstance(word, str) else None


def _finish(said: Any, calls: bool) -> FinishReason:
    """Why it ended.

    Raises:
        UnavailableError: It broke off, or nobody says.
    """
    found = end_of(said)
    if found is None:
        raise UnavailableError(f"the model's answer broke off, or may have: its finish_reason is {said!r}")
    return _CALLS if calls and found is _STOP else found


def _content(message: dict[str, Any]) -> tuple[str, str, bool]:
    """The text, what is thought aloud in it, and whether it is a refusal."""
    content = message.get("content")
    parts = content if isinstance(content, list) else [content]
    text, thought = "", ""
    refusal = message.get("refusal") or ""
    for part in parts:
        if isinstance(part, dict):
            refusal = refusal or part.get("refusal") or ""
            thought += _thinking(part.get("thinking"))
            part = "" if part.get("type") in {"thinking", "reasoning", "refusal"} else _text_in(part["text"])
        if not isinstance(part, str | None):
            raise TypeError("content is no text")
        text += part or ""
    if not isinstance(refusal, str):
        raise TypeError("refusal is no text")
    return refusal if is_blank(text) else text, thought, bool(refusal)


def _text_in(said: Any) -> Any:
    return said.get("value") if isinstance(said, dict) else said


def _thinking(said: Any) -> str:
    if isinstance(said, list):
        return "".join(str(part.get("text") or "") for part in said)
    return str(said or "")


def _token(item: dict[str, Any], top_k: int) -> TokenProbability:
    top = sorted(
        ((_name(other), _log(other["logprob"])) for other in item.get("top_logprobs") or ()),
        key=lambda pair: -pair[1],
    )[:top_k]
    rest = 1.0 - sum(math.exp(value) for _, value in top)
    tail = max(math.log(rest), LEAST_TAIL) if rest > 0 else LEAST_TAIL
    return TokenProbability(_name(item), _log(item["logprob"]), Distribution(tuple(top), tail if top else None))


def _name(item: dict[str, Any]) -> str:
    """A token's text; where a letter takes several tokens, half of one is a question mark."""
    return str(item["token"]).encode("utf-8", "replace").decode()


def _log(value: Any) -> float:
    """A natural logarithm in [-100, 0]; servers write minus infinity, or -9999, for what can't be."""
    number = float(value)
    if math.isnan(number):
        raise ValueError("a log-probability is no number")
    return max(min(number, 0.0), LEAST_LOG_PROBABILITY)


def _count(value: Any) -> int:
    return value if isinstance(value, int) and 0 < value <= MOST_TOKENS else 0
