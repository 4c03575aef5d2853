"""What a model's server says instead of an answer, sorted by who must act.

    the question's fault   TooLongError, DeclinedError   another question would be answered
    now not                UnavailableError              the same question, later
    the operator's fault   ModelError                    nothing is answered until somebody changes something

Rules:
 * A status says it where it can; the words decide where servers use one status for several things.
 * What can't be told for sure is no fault of the question's: a query that is given up is lost for good.
 * A limit that fills and empties again passes, whatever it counts: "too many tokens, please wait" is no long question.
 * A redirect is told with where it leads, and never followed: what is sent holds queries and a key.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

from router.core.errors import DeclinedError, HeadraceError, ModelError, TooLongError, UnavailableError

SHOWN_CHARACTERS = 300
_TOO_LONG = (
    *("context_length", "context length", "context size", "context window", "exceed_context", "too many tokens"),
    *("maximum context", "prompt is too long", "input is too long", "max_model_len", "too many input tokens"),
    *("input length", "string_above_max_length", "request too large", "exceeds the maximum number of tokens"),
    *("maximum prompt length", "reduce the length of the", "max_new_tokens` must be"),
)
_FILTERED = ("content_filter", "content filter", "content_policy", "content management policy", "moderation", "flagged")
_OPERATORS = (
    *("api key", "api_key", "apikey", "credential", "unauthorized", "billing", "credit", "insufficient_quota"),
    *("insufficient_balance", "payment", "model_not_found", "model not found", "no such model", "unknown model"),
    *("invalid model", "does not exist", "not a valid model", "unsupported parameter", "unsupported_parameter"),
    *("unsupported value", "unsupported_value", "unrecognized request argument", "extra inputs are not permitted"),
    *("location is not supported", "region, or territory", "unsupported_country"),
)
# What a limit of its own and a moment's trouble are called. Such a message may speak of tokens and of bills, too.
_PASSES = (
    *(
        "throttl",
        "rate limit reached",
        "rate_limit",
        "too many requests",
        "overloaded",
        "please wait",
        "try again later",
    ),
    *("try again in", "retry in", "retry after", "currently loading", "is loading", "temporarily unavailable"),
    *("tokens per min", "tokens per day", "in flight"),
)
_NAMED = ("message", "detail", "code", "status")  # where servers say what is wrong
_NOT_NOW = {408, 409, 423, 424, 425, 429, 444, 449, 498, 499}
_BUSY = {*_NOT_NOW, 502, 503, 504, 529}
_OF_THE_QUESTION = {400, 413, 422}


def refusal(status: int, said: str, url: str, model: str, location: str = "") -> HeadraceError:
    """The error that a server's answer stands for.

    Args:
        status: Of HTTP; of an error within a 200, the one that it names, 0 for none.
        said: The body. It reaches the operator alone.
        url: The server's, as it is set up.
        model: As the server calls it.
        location: Where a redirect leads.
    """
    low = said.lower()
    server = f"the server at {url}"
    refuses = f"{server} refuses ({status or 'by an error in its reply'}) for model {model!r}: {_shown(said)}"
    if 300 <= status < 400:
        leads = f" to {_without_query(location)}" if location else ""
        return ModelError(f"{server} redirects ({status}){leads}; no redirect is followed: set the URL that answers")
    busy = UnavailableError(f"{server} is busy ({status or 'it says so in its reply'}): {_shown(said)}")
    if passes(status, low):
        return busy
    if status != 413 and any(word in low for word in _OPERATORS):
        return ModelError(refuses + _hint(status, url, low))
    if status == 413 or _is_too_long(status, low):
        return TooLongError(f"is longer than the window of the model {model!r}")
    if status in _OF_THE_QUESTION or (400 <= status < 500 and any(word in low for word in _FILTERED)):
        return DeclinedError(refuses)
    if status in _NOT_NOW or status == 0 or (status >= 500 and status != 501):
        return busy
    return ModelError(refuses + _hint(status, url, low))


def passes(status: int, low: str) -> bool:
    """Whether words, in small letters, say that the same question is answered later.

    Args:
        status: Of HTTP; 0 where it is not known.
        low: The words.
    """
    if 401 <= status <= 407 or status == 413 or "request too large" in low or any(word in low for word in _FILTERED):
        return False
    return any(word in low for word in _PASSES)


def _is_too_long(status: int, low: str) -> bool:
    """Whether words say so; of who is busy only those that mean one request."""
    return any(word in low for word in (("request too large",) if status in _BUSY else _TOO_LONG))


def error_in(reply: Any, url: str, model: str) -> HeadraceError | None:
    """The error that stands in a reply of status 200 in the place of an answer; ``None`` where none is named.

    Args:
        reply: The body, parsed.
        url: The server's.
        model: As the server calls it.
    """
    if not isinstance(reply, dict):
        return None
    choices = reply.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    message = first.get("message") if isinstance(first, dict) else None
    inner = [place.get("error") for place in (first, message) if isinstance(place, dict)]
    error = reply.get("error") or next(filter(None, inner), None)
    if not error and first is not None:
        return None
    said = error or {key: value for key, value in reply.items() if key in _NAMED}
    if not said:
        return None
    text = said if isinstance(said, str) else json.dumps(said, ensure_ascii=False, default=str)
    return refusal(_status_in(said), text, url, model)


def _status_in(said: Any) -> int:
    """The status that an error names; 0 where it names none."""
    for key in ("code", "status", "status_code"):
        value = said.get(key) if isinstance(said, dict) else None
        if isinstance(value, str) and value.isdigit():
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and 400 <= value < 600:
            return value
    return 0


def _hint(status: int, url: str, said: str) -> str:
    """What may be wrong with the URL."""
    if status not in {404, 405} or "model" in said:
        return ""
    return without_version(url)


def without_version(url: str) -> str:
    """A hint for a URL that names no version of the interface; empty for one that does."""
    parts = urlsplit(url)
    if parts.scheme == "unix" or any(piece[:1] == "v" and piece[1:2].isdigit() for piece in parts.path.split("/")):
        return ""
    return f"; the URL names no version, did you mean {url.rstrip('/')}/v1?"


def _shown(said: str) -> str:
    return " ".join(said.split())[:SHOWN_CHARACTERS]


def _without_query(location: str) -> str:
    """Where a redirect leads, without what may hold a secret."""
    parts = urlsplit(location)
    return parts._replace(query="", fragment="", netloc=parts.netloc.rpartition("@")[2]).geturl()[:SHOWN_CHARACTERS]
