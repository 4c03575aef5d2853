"""What callers think of the answers that this device gave them.

Rules:
 * Only the caller that was answered is heard, for as long as the answer is remembered; a restart forgets.
 * What the cloud can't know of is told with the attempt: the release, and the answer that stayed here.
 * Of a query that may not leave the device, or may not be logged, nothing goes up; it is counted here alone.
 * Taken means kept: while the next tier can't be reached the caller hears so, and tries again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from router.core.domain.feedback import Allowance, Feedback, check_feedback, unknown_answer
from router.core.domain.query import Answer, Attempt, Query, Reason, Tier
from router.core.errors import OverloadedError

log = logging.getLogger(__name__)

REMEMBERED_SECONDS = 24 * 3600.0
MOST_REMEMBERED = 20_000

Send = Callable[[Feedback, float], Awaitable[None]]


Stayed = tuple[int, str, Reason]  # release, text and reason of an answer that the device gave itself


@dataclass(frozen=True, slots=True)
class Note:
    """An answer that was given: of which query and task, to whom, what of it stayed, and whether anything may go."""

    query_id: str
    task: str
    caller: str
    stayed: Stayed | None
    may_go: bool


@dataclass(frozen=True, slots=True)
class _Given:
    """An answer as it was given: to whom, of which task, until when it is remembered, and what goes up with it."""

    callers: frozenset[str]
    task: str
    until: float
    stayed: Stayed | None
    may_go: bool

    @property
    def attempt(self) -> Attempt | None:
        """What goes up beside an opinion: what the cloud can't know of."""
        if self.stayed is None:
            return None
        release, text, reason = self.stayed
        return Attempt(release=release, answer=text, reason=reason, kept=True)


def _stayed(answer: Answer) -> Stayed | None:
    source = answer.provenance
    return (source.release, answer.text, source.reason) if source.tier is Tier.DEVICE else None


class FeedbackRelay:
    """Remembers who was answered, and passes on what they think. Belongs to one event loop."""

    def __init__(self, send: Send, clock: Callable[[], float] = time.monotonic, most: int = MOST_REMEMBERED) -> None:
        """Pass feedback on by ``send``; remember at most ``most`` answers. ``clock`` never runs backwards."""
        self._send, self._clock, self._most = send, clock, most
        self._given: dict[str, _Given] = {}  # oldest first
        self._allowance = Allowance()
        self.kept_here = 0

    def note(self, query: Query, caller: str, answer: Answer, *, may_go: bool) -> None:
        """Remember an answer.

        Args:
            query: As it was asked, with its id.
            caller: Who asked.
            answer: What went back.
            may_go: Something of the query may leave the device.
        """
        self.remember(Note(query.id, query.task, caller, _stayed(answer), may_go))

    def remember(self, note: Note) -> None:
        """Remember an answer, whichever process gave it."""
        now = self._clock()
        while self._given and (len(self._given) >= self._most or next(iter(self._given.values())).until <= now):
            del self._given[next(iter(self._given))]
        before = self._given.pop(note.query_id, None)  # the same question of somebody else joined its answer
        joined = before is not None and before.task == note.task
        callers = before.callers | {note.caller} if before and joined else frozenset({note.caller})
        until = now + REMEMBERED_SECONDS
        self._given[note.query_id] = _Given(callers, note.task, until, note.stayed, note.may_go)

    async def take(self, feedback: Feedback, caller: str, seconds: float) -> None:
        """Take one caller's feedback, and pass it on within ``seconds``.

        Raises:
            BadInputError: A field is out of its range.
            OverloadedError: The caller says too much at a time.
            UnknownTaskError: It was given no such answer.
            ServiceError: The next tier can't be reached now.
        """
        check_feedback(feedback)
        now = self._clock()
        wait = self._allowance.wait(caller, now)
        if wait:
            raise OverloadedError("feedback comes faster than it is taken; wait a little", wait)
        given = self._given.get(feedback.query_id)
        if given is None or given.until <= now or caller not in given.callers or given.task != feedback.task:
            raise unknown_answer()
        if not given.may_go:
            self.kept_here += 1
            log.info("feedback on a query of task %s that may not leave: %s", given.task, feedback.opinion.value)
            return
        await self._send(replace(feedback, attempt=given.attempt), seconds)  # a caller's own claim goes no further
