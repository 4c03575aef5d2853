"""Whom to ask next: the calls and waits that carry one query to an answer, or to a clear error.

Nothing here reads a clock or opens a socket; ``client.py`` takes the steps, with and without an event loop.

Rules:
 * Targets are asked in the order given, every time: the first one is used again as soon as it is back.
 * A target that can't be reached or sheds the query makes room for the next one; any other error is final.
 * With all targets away, the query waits for one to come back until its deadline.
 * Between two rounds there is a pause that doubles, so that a target that is up and says "unavailable" is not hammered.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

from router.core.errors import BusyError, DeadlineError, HeadraceError, OverloadedError, UnavailableError

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Call:
    """Ask the target at this position, for at most ``seconds``. What goes wrong is sent back."""

    target: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Pause for ``pause`` seconds, then wait up to ``seconds`` more until any target can be reached.

    ``reason`` is for people, at the first wait of a query; empty afterwards.
    """

    pause: float
    seconds: float
    reason: str = ""


Steps = Generator[Call | Wait, HeadraceError | None, None]


def failover(
    targets: Sequence[str], seconds: float, clock: Callable[[], float], jitter: Callable[[], float] = lambda: 1.0
) -> Steps:
    """The steps of one query; ends by raising what its caller shall read.

    Args:
        targets: Who can be asked, in order of preference.
        seconds: Time until the deadline.
        clock: Seconds that only grow.
        jitter: A factor for each pause, about 0.5 to 1.5.

    Raises:
        HeadraceError: No target gave an answer.
    """
    until = clock() + seconds
    pause = FIRST_PAUSE_SECONDS
    failures: list[HeadraceError] = []
    while True:
        round_failures: list[HeadraceError] = []
        for position in range(len(targets)):
            error = yield Call(position, max(0.0, until - clock()))
            if isinstance(error, DeadlineError) and failures:
                raise _unreachable(targets, failures, seconds)
            if error is None:
                raise RuntimeError("a call that went well takes no further step")
            if not _is_passing(error):
                raise error
            round_failures.append(error)
        reason = "" if failures else f"waiting up to {seconds:g} s: {_said(targets, round_failures)}"
        failures = round_failures
        left = until - clock()
        wanted = max(pause * jitter(), _pushback(failures))
        if wanted >= left and _pushback(failures):
            raise failures[0]
        if left <= 0:
            raise _unreachable(targets, failures, seconds)
        yield Wait(min(wanted, left), max(0.0, left - wanted), reason)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        if clock() >= until:
            raise _unreachable(targets, failures, seconds)


def _is_passing(error: HeadraceError) -> bool:
    if isinstance(error, OverloadedError):
        return error.retry_after is not None
    return isinstance(error, UnavailableError)


def _pushback(failures: Sequence[HeadraceError]) -> float:
    """Seconds that every target asked for; 0 as soon as one of them did not."""
    told = (e.retry_after if isinstance(e, OverloadedError | BusyError) else None for e in failures)
    return min((seconds or 0.0 for seconds in told), default=0.0)


def _unreachable(targets: Sequence[str], failures: Sequence[HeadraceError], seconds: float) -> UnavailableError:
    return UnavailableError(
        f"no answer within {seconds:g} s: {_said(targets, failures)}. Check that the address is right"
        " and that headrace-edge or headrace-cloud runs there"
    )


def _said(targets: Sequence[str], failures: Sequence[HeadraceError]) -> str:
    pairs = zip(targets, failures, strict=True)
    return "; ".join(
        str(failure) if str(failure).startswith(target) else f"{target}: {failure}" for target, failure in pairs
    )
