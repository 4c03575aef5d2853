"""When a model's server wants to be asked again, as it says beside a refusal. Nothing here reads a clock."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

MOST_WAIT_SECONDS = 60.0  # that a server is left alone for one word of its: what is absurd ends there
_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]+)?")


def wait_of(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds for which a server asks to be left alone, above 0 and at most ``MOST_WAIT_SECONDS``; ``None`` for none.

    Args:
        headers: Of its refusal: ``Retry-After`` (RFC 9110, 10.2.3) in seconds or as a moment, or ``retry-after-ms``,
            which some providers add.
        now: Unix time in seconds, where the server does not tell its own.
    """
    said = (headers.get("Retry-After") or "").strip()
    seconds = _number(headers.get("retry-after-ms") or "") / 1000 or _number(said.partition(",")[0])
    if not seconds and (moment := _moment(said)) is not None:
        seconds = moment - (_moment(headers.get("Date") or "") or now)
    return min(seconds, MOST_WAIT_SECONDS) if seconds > 0 else None


def _number(said: str) -> float:
    return float(said.strip()) if _SECONDS.fullmatch(said.strip()) else 0.0


def _moment(said: str) -> float | None:
    """A moment of HTTP as Unix time in seconds; ``None`` where it is none."""
    try:
        found = parsedate_to_datetime(said)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
