"""Is the clock of this device right? By the certificate that a gateway shows, or by what the cloud says.

Rules:
 * A gateway's certificate is a few days old at most: a clock that is outside of it is wrong, either way.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum

from router.core.errors import WrongClockError
from router.identity.certificates import Certificate

TOLERATED_SECONDS = 60.0  # as the cloud has it when it believes the times of queries


class Clock(StrEnum):
    """How a clock goes."""

    RIGHT = "ok"
    AHEAD = "clock_ahead"
    BEHIND = "clock_behind"


def by_certificate(shown: Certificate, now: float) -> Clock:
    """How a clock that says ``now``, in Unix seconds, goes beside a gateway's certificate."""
    if now < shown.starts:
        return Clock.BEHIND
    return Clock.AHEAD if now > shown.ends else Clock.RIGHT


def by_offset(seconds: float) -> Clock:
    """How a clock goes that is ``seconds`` ahead of the cloud's."""
    if abs(seconds) <= TOLERATED_SECONDS:
        return Clock.RIGHT
    return Clock.AHEAD if seconds > 0 else Clock.BEHIND


def check_clock(shown: Certificate, now: float) -> None:
    """Check a clock that says ``now``, in Unix seconds, by a gateway's certificate.

    Raises:
        WrongClockError: It is wrong.
    """
    clock = by_certificate(shown, now)
    if clock is not Clock.RIGHT:
        is_ahead = clock is Clock.AHEAD
        said, right = _said(now), _said((shown.starts + shown.ends) / 2)
        raise WrongClockError(
            f"the clock of this device is {'ahead' if is_ahead else 'behind'}: it says {said}, the cloud about {right};"
            " set it by NTP",
            is_ahead=is_ahead,
        )


def _said(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
