"""A teacher that can't be asked now: what its operator reads of it, and until when it is left alone.

Nothing here reads a clock.
"""

from __future__ import annotations

import logging

from cloud_worker.teachers.base import NotNow, OutOfOrder
from router.core.errors import BusyError, UnavailableError

log = logging.getLogger(__name__)

_OUT_OF_ORDER = "the teacher is out of order until its operator mends it; the operator's log says what"
_UNREACHABLE = "the teacher can't be reached now; try again"


class TeacherRest:
    """What one teacher said instead of answering, as a gateway remembers it."""

    def __init__(self, teacher: str) -> None:
        """Nothing was said; ``teacher`` is its name."""
        self._teacher = teacher
        self._times = 0
        self._told = ""  # of one that is out of order
        self._until = 0.0

    def answered(self) -> None:
        """It answers."""
        self._times, self._told = 0, ""

    def heard(self, reply: NotNow, now: float) -> UnavailableError | None:
        """It can't be asked now.

        Args:
            reply: What it said.
            now: In seconds that never run backwards.

        Returns:
            What the question's caller is told at once; ``None`` where it may be asked again.
        """
        self._times += 1
        if isinstance(reply, OutOfOrder):
            if reply.problem != self._told:
                log.error("teacher %s answers nothing: %s", self._teacher, reply.problem)
            self._told = reply.problem
            return UnavailableError(_OUT_OF_ORDER)
        if self._times.bit_count() == 1:  # the 1st, 2nd, 4th, 8th, ...: a server may be away for hours
            log.warning("teacher %s can't be asked now, %d times: %s", self._teacher, self._times, reply.problem)
        if reply.retry_after is not None:
            self._until = max(self._until, now + reply.retry_after)
        return None

    def seconds(self, now: float) -> float:
        """How long it is still left alone; 0 where it may be asked."""
        return max(0.0, self._until - now)

    def refusal(self, now: float) -> UnavailableError:
        """What a caller is told who can't wait any longer."""
        left = self.seconds(now)
        if not left:
            return UnavailableError(_UNREACHABLE)
        return BusyError(f"the teacher asked to be left alone; it is asked again in {left:.0f} s", left)
