"""Gathers the questions that wait for one teacher into few calls of the pool.

Rules:
 * A few calls are in flight at a time; each takes everything that waits, up to ``max_batch``.
 * A reply goes out as soon as it is there, not when its call is done.
 * A question whose call broke, or whose teacher can't be asked now, is asked again while its caller waits, at most
   ``MOST_TRIES`` times. A call that reached no copy is not counted, so that a question waits for one that is replaced.
 * Of a teacher that is out of order its operator hears once; its questions are told at once to come again later.
 * Above ``max_waiting`` a question is shed at once, with the time after which coming back makes sense.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace

from cloud_worker.teachers.base import NoAnswer, NotNow, OutOfOrder, Question, Reply, TeacherAnswer
from router.core.errors import BadInputError, DeadlineError, NotPossibleError, OverloadedError, UnavailableError

log = logging.getLogger(__name__)

MOST_TRIES = 4

__all__ = ["MOST_TRIES", "Ask", "Gatherer", "NotReachedError", "Reply"]

Ask = Callable[[Sequence[Question]], AsyncIterator[Sequence[tuple[int, Reply | NotNow]]]]

_LONGEST_PAUSE_SECONDS = 0.5
_PAUSE_SECONDS = 0.1  # before a broken call's questions are asked again; doubles with each try
_OUT_OF_ORDER = "the teacher is out of order until its operator mends it; the operator's log says what"
_UNREACHABLE = "the teacher can't be reached now; try again"
_LEAST_RETRY_AFTER_SECONDS = 0.1
_MOST_RETRY_AFTER_SECONDS = 10.0


class NotReachedError(Exception):
    """No copy of the teacher was reached, so none has begun with the questions."""


@dataclass(slots=True)
class _Waiting:
    question: Question
    deadline: float  # by the loop's clock
    reply: asyncio.Future[Reply]
    tries: int = 0
    pauses: int = 0


class Gatherer:
    """The questions that wait for one teacher. Belongs to one event loop."""

    def __init__(self, teacher: str, ask: Ask, *, max_batch: int, max_calls: int, max_waiting: int) -> None:
        """Gather for ``teacher``.

        Args:
            teacher: Its name.
            ask: Sends a batch and yields replies, each with its place in the batch; raises ``UnavailableError`` alone,
                and ``NotReachedError`` where no copy was reached.
            max_batch: Most questions in a call.
            max_calls: Most calls in flight.
            max_waiting: Most questions that are here at once.
        """
        self._teacher = teacher
        self._ask = ask
        self._max_batch = max_batch
        self._max_calls = max_calls
        self._max_waiting = max_waiting
        self._queue: deque[_Waiting] = deque()
        self._calls: set[asyncio.Task[None]] = set()
        self._waiting = 0
        self._away = 0
        self._told = ""  # of a teacher that is out of order
        self._seconds_per_reply = 0.01

    @property
    def waiting(self) -> int:
        """How many questions are here."""
        return self._waiting

    async def ask(self, question: Question, seconds: float) -> TeacherAnswer:
        """The teacher's answer.

        Args:
            question: What is asked.
            seconds: Time that its caller waits.

        Raises:
            OverloadedError: Too much waits already.
            DeadlineError: No answer came in time.
            UnavailableError: The pool broke again and again.
            NotPossibleError: The teacher has no answer to this.
            BadInputError: The same, because of one field.
        """
        if self._waiting >= self._max_waiting:
            raise OverloadedError("too many queries wait for an answer; try again later", self._retry_after())
        loop = asyncio.get_running_loop()
        item = _Waiting(question, loop.time() + seconds, loop.create_future())
        self._waiting += 1
        try:
            self._queue.append(item)
            self._start_calls()
            async with asyncio.timeout_at(item.deadline):
                reply = await item.reply
        except TimeoutError as error:
            raise DeadlineError("the deadline passed before an answer was there") from error
        finally:
            self._waiting -= 1
            item.reply.cancel()
        if isinstance(reply, NoAnswer) and reply.field:
            raise BadInputError(reply.field, reply.problem)
        if isinstance(reply, NoAnswer):
            raise NotPossibleError(reply.problem)
        return reply

    async def close(self) -> None:
        """End the calls in flight."""
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)

    def _start_calls(self) -> None:
        while self._queue and len(self._calls) < self._max_calls:
            batch: list[_Waiting] = []
            while self._queue and len(batch) < self._max_batch:
                item = self._queue.popleft()
                if not item.reply.done():  # its caller still waits
                    batch.append(item)
            if batch:
                call = asyncio.create_task(self._call(batch))
                self._calls.add(call)
                call.add_done_callback(self._called)

    def _called(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        self._start_calls()

    async def _call(self, batch: list[_Waiting]) -> None:
        loop = asyncio.get_running_loop()
        began, counts = loop.time(), True
        questions = [replace(item.question, milliseconds=(item.deadline - began) * 1000) for item in batch]
        try:
            async with asyncio.timeout_at(max(item.deadline for item in batch)):
                async for replies in self._ask(questions):
                    self._deliver(batch, replies)
        except NotReachedError as error:
            counts = False
            log.info("teacher %s was not reached: %s", self._teacher, error)
        except TimeoutError:
            log.warning("a call of teacher %s with %d questions ran past every deadline", self._teacher, len(batch))
        except UnavailableError as error:
            log.warning("a call of teacher %s with %d questions broke: %s", self._teacher, len(batch), error)
        else:
            self._seconds_per_reply += 0.2 * ((loop.time() - began) / len(batch) - self._seconds_per_reply)
        self._retry([item for item in batch if not item.reply.done()], counts=counts)

    def _deliver(self, batch: Sequence[_Waiting], replies: Sequence[tuple[int, Reply | NotNow]]) -> None:
        for place, reply in replies:
            if isinstance(reply, NotNow):
                self._count_away(reply)
                if isinstance(reply, OutOfOrder) and not batch[place].reply.done():
                    batch[place].reply.set_exception(UnavailableError(_OUT_OF_ORDER))
                continue
            self._away, self._told = 0, ""
            if not batch[place].reply.done():
                batch[place].reply.set_result(reply)

    def _count_away(self, reply: NotNow) -> None:
        self._away += 1
        if isinstance(reply, OutOfOrder):
            if reply.problem != self._told:
                log.error("teacher %s answers nothing: %s", self._teacher, reply.problem)
            self._told = reply.problem
        elif self._away.bit_count() == 1:  # the 1st, 2nd, 4th, 8th, ...: a server may be away for hours
            log.warning("teacher %s can't be asked now, %d times: %s", self._teacher, self._away, reply.problem)

    def _retry(self, unanswered: Sequence[_Waiting], *, counts: bool) -> None:
        for item in unanswered:
            item.pauses += 1
            item.tries += counts
            if item.tries >= MOST_TRIES:
                item.reply.set_exception(UnavailableError(_UNREACHABLE))
        again = [item for item in unanswered if not item.reply.done()]
        if again:
            pause = _PAUSE_SECONDS * 2 ** min(item.pauses - 1 for item in again)
            asyncio.get_running_loop().call_later(min(pause, _LONGEST_PAUSE_SECONDS), self._requeue, again)

    def _requeue(self, items: Sequence[_Waiting]) -> None:
        self._queue.extendleft(reversed(items))  # they have waited longest
        self._start_calls()

    def _retry_after(self) -> float:
        """Time in seconds in which about half of what waits will be gone."""
        seconds = self._waiting * self._seconds_per_reply / 2
        return min(max(seconds, _LEAST_RETRY_AFTER_SECONDS), _MOST_RETRY_AFTER_SECONDS)
