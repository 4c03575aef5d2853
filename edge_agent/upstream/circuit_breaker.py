"""A circuit breaker: a tier that has just failed is not asked for a while.

Nothing here reads a clock: time is an argument, in seconds, and never runs backwards.

Rules:
 * Closed until ``TOLERATED`` calls in a row have failed; then open for ``wait`` seconds.
 * After the wait one call may probe. Its success closes the breaker; its failure doubles the wait, up to
   ``LONGEST_WAIT``. A probe that never reports back does not hold the breaker open for ever: the next one may go
   after another wait.
 * A tier that asks to be left alone for a while (pushback) is left alone for that while, open or closed.
"""

from __future__ import annotations

from enum import StrEnum

TOLERATED = 5
FIRST_WAIT = 0.5
LONGEST_WAIT = 15.0


class State(StrEnum):
    """What a caller would meet."""

    CLOSED = "closed"
    PUSHED_BACK = "pushed_back"
    OPEN = "open"


class Breaker:
    """Counts failures in a row and says whether a call may go."""

    def __init__(self) -> None:
        """Start closed."""
        self._failures = 0
        self._wait = FIRST_WAIT
        self._probing = False
        self._probe_at = 0.0  # open: no call before this time
        self._quiet_until = 0.0

    @property
    def is_open(self) -> bool:
        """Whether too many calls in a row have failed, and none has succeeded since."""
        return self._failures >= TOLERATED

    def state(self, now: float) -> State:
        """What a call at ``now`` would meet. A breaker that lets a probe through counts as closed."""
        if now < self._quiet_until:
            return State.PUSHED_BACK
        if self.is_open and now < self._probe_at:
            return State.OPEN
        return State.CLOSED

    def admit(self, now: float) -> bool:
        """Whether a call may go at ``now``. Of an open breaker, takes the probe."""
        if self.state(now) is not State.CLOSED:
            return False
        if self.is_open:
            self._probing = True
            self._probe_at = now + self._wait
        return True

    def next_admission(self, now: float) -> float:
        """Seconds from ``now`` until ``admit`` may say yes; 0 if it would now."""
        reopens = self._probe_at if self.is_open else 0.0
        return max(0.0, reopens - now, self._quiet_until - now)

    def succeeded(self) -> None:
        """The tier answered, whatever it answered."""
        self._failures = 0
        self._wait = FIRST_WAIT
        self._probing = False

    def failed(self, now: float) -> None:
        """The tier did not answer a call. Calls that were on their way when it opened don't prolong the wait."""
        self._failures += 1
        if self._probing:
            self._probing = False
            self._wait = min(2 * self._wait, LONGEST_WAIT)
            self._probe_at = now + self._wait
        elif self._failures == TOLERATED:
            self._probe_at = now + self._wait

    def pushed_back(self, now: float, seconds: float) -> None:
        """The tier is alive and asks to be left alone for ``seconds``."""
        self.succeeded()
        self._quiet_until = max(self._quiet_until, now + max(0.0, seconds))
