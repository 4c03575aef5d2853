"""Gathers the questions that wait for one teacher into few calls of the pool.

Rules:
 * A few calls are in flight at a time; each takes everything that waits, up to ``max_batch``, and no more than can be
   answered before the tightest deadline in it.
 * Alone a question waits for nothing. Where more than ``FEW`` queries are under way, a call begins once
   ``SHARE_TOGETHER`` of them have gathered, or ``TOGETHER_SECONDS`` for each of them after the first came; so under
   load few calls carry many. Only those that were taken in are known: what waits inside gRPC is not.
 * Callers take turns: of one that floods, no more is taken than of the others, and it is shed first.
 * A reply goes out as soon as it is there, not when its call is done.
 * A question that nobody waits for any more is told to whoever works on it; a call of such alone is broken off.
 * A question whose call broke, or whose teacher can't be asked now, is asked again while its caller waits, at most
   ``MOST_TRIES`` times. A call that reached no replica is not counted: a question waits for one that is replaced.
 * A teacher that asked to be left alone is asked nothing until then: whose deadline comes before hears so at once.
 * Of a teacher that is out of order its operator hears once; its questions are told at once to come again later.
 * Above ``max_waiting`` a question is shed at once, with the time after which coming back makes sense. So is one whose
   turn would come after its deadline, at the pace of the last calls.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass

from cloud_worker.pool.fair_queue import FairQueue
from cloud_worker.pool.teacher_rest import TeacherRest
from cloud_worker.teachers.base import NoAnswer, NotNow, Question, Reply, TeacherAnswer
from router.core.errors import BadInputError, DeadlineError, NotPossibleError, OverloadedError, UnavailableError

log = logging.getLogger(__name__)

MOST_TRIES = 4
TOGETHER_SECONDS = 0.001  # for each query under way
MOST_TOGETHER_SECONDS = 0.030
SHARE_TOGETHER = 3 / 4
FEW = 2  # queries under way, of which none waits for others

Ask = Callable[[Sequence[Question]], AsyncIterator[Sequence[tuple[int, Reply | NotNow]]]]

_LONGEST_PAUSE_SECONDS = 0.5
_PAUSE_SECONDS = 0.1  # before a broken call's questions are asked again; doubles with each try
_TOO_LATE = "the deadline passed before an answer was there"
_TOO_MANY = "too many queries wait for an answer; try again later"
_LEAST_RETRY_AFTER_SECONDS = 0.1
_MOST_RETRY_AFTER_SECONDS = 10.0


class NotReachedError(Exception):
    """No replica of the teacher was reached, so none has begun with the questions."""


class Batch(list[Question]):
    """The questions of one call.

    Attributes:
        unwanted: Set by whoever asks them; hears the position of a question that nobody waits for any more.
    """

    def __init__(self, questions: Iterable[Question]) -> None:
        """Nobody hears yet."""
        super().__init__(questions)
        self.unwanted: Callable[[int], None] | None = None


@dataclass(slots=True, eq=False)
class UnderWay:
    """How many queries a gateway works on: asked, or kept once they are answered."""

    count: int = 0


@dataclass(slots=True, eq=False)
class _Waiting:
    question: Question
    caller: str
    deadline: float  # by the loop's clock
    reply: asyncio.Future[Reply]
    rests_until: float  # by the loop's clock: it waits no longer for a teacher that is left alone
    tries: int = 0
    pauses: int = 0
    call: _Call | None = None


@dataclass(slots=True, eq=False)
class _Call:
    items: list[_Waiting]
    questions: Batch
    task: asyncio.Task[None] | None = None


class Gatherer:
    """The questions that wait for one teacher. Belongs to one event loop."""

    def __init__(
        self,
        teacher: str,
        ask: Ask,
        *,
        max_batch: int,
        max_calls: int,
        max_waiting: int,
        under_way: UnderWay | None = None,
    ) -> None:
        """Gather for ``teacher``.

        Args:
            teacher: Its name.
            ask: Sends a batch and yields replies, each with its question's position; raises ``UnavailableError`` alone,
                and ``NotReachedError`` where no replica was reached.
            max_batch: Most questions in a call.
            max_calls: Most calls in flight.
            max_waiting: Most questions that are here at once.
            under_way: How many queries the gateway works on.
        """
        self._teacher = teacher
        self._ask = ask
        self._max_batch = max_batch
        self._max_calls = max_calls
        self._max_waiting = max_waiting
        self._under_way = under_way or UnderWay()
        self._queue: FairQueue[_Waiting] = FairQueue()
        self._here: Counter[str] = Counter()  # by caller
        self._calls: set[asyncio.Task[None]] = set()
        self._waiting = 0
        self._start: asyncio.Handle | None = None
        self._is_soon = False
        self._gathering_since = 0.0
        self._rest = TeacherRest(teacher)
        self._seconds_per_reply = 0.01
        self._seconds_per_call = 0.0

    @property
    def waiting(self) -> int:
        """The number of questions that wait or are being answered."""
        return self._waiting

    async def ask(
        self, question: Question, seconds: float, caller: str = "", *, rests: float = math.inf
    ) -> TeacherAnswer:
        """The teacher's answer.

        Args:
            question: What is asked.
            seconds: Time that its caller waits.
            caller: Who asks; callers take turns.
            rests: Seconds of them that it waits at most for a teacher that is left alone.

        Raises:
            OverloadedError: Too much waits already.
            DeadlineError: No answer came in time.
            UnavailableError: The pool broke again and again, or its teacher is left alone for longer than that.
            NotPossibleError: The teacher has no answer to this.
            BadInputError: The same, because of one field.
        """
        loop = asyncio.get_running_loop()
        now, rests = loop.time(), min(seconds, rests)
        self._admit(caller, seconds, rests, now)
        item = _Waiting(question, caller, now + seconds, loop.create_future(), now + rests)
        self._waiting += 1
        self._here[caller] += 1
        if not self._queue:
            self._gathering_since = loop.time()
        self._queue.push(item)
        self._start_soon(loop)
        late = loop.call_at(item.deadline, _end, item.reply, DeadlineError(_TOO_LATE))
        try:
            reply = await item.reply
        except BaseException:
            self._let_go(item)
            raise
        finally:
            late.cancel()
            self._leave(caller)
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

    def _admit(self, caller: str, seconds: float, rests: float, now: float) -> None:
        """Make room for one more: at the cost of a caller that has more here, or not at all."""
        if self._rest.seconds(now) > rests:
            raise self._rest.refusal(now)
        if self._turn_in(caller) > seconds:
            raise OverloadedError(_TOO_MANY, self._retry_after())
        if self._waiting < self._max_waiting:
            return
        shed = self._queue.drop_of_longest(self._here[caller] + 1)
        error = OverloadedError(_TOO_MANY, self._retry_after())
        if shed is None:
            raise error
        _end(shed.reply, error)

    def _turn_in(self, caller: str) -> float:
        """Time in seconds that one more of this caller's waits at least: callers take turns, and calls fill."""
        before = min(self._waiting, (self._here[caller] + 1) * len(self._here))
        return before // (self._max_batch * self._max_calls) * self._seconds_per_call

    def _leave(self, caller: str) -> None:
        self._waiting -= 1
        self._here[caller] -= 1
        if not self._here[caller]:
            del self._here[caller]

    def _let_go(self, item: _Waiting) -> None:
        """Nobody waits for a question any more: it is neither asked nor worked on."""
        item.reply.cancel()
        self._queue.drop(item)
        call = item.call
        if call is None or call.task is None or call.task.done():
            return
        if all(each.reply.done() for each in call.items):
            call.task.cancel()
        elif call.questions.unwanted is not None:
            call.questions.unwanted(call.items.index(item))

    def _start_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start calls once everything that came in this turn of the loop waits, or that comes a moment later."""
        if not self._queue or len(self._calls) >= self._max_calls:
            return
        count = self._under_way.count
        together = count * SHARE_TOGETHER if count > FEW else 1
        enough = len(self._queue) >= min(together, self._max_batch)
        if self._start is None:
            self._is_soon = enough
            at = self._gathering_since + min(count * TOGETHER_SECONDS, MOST_TOGETHER_SECONDS)
            self._start = loop.call_soon(self._start_calls) if enough else loop.call_at(at, self._start_calls)
        elif enough and not self._is_soon:
            self._is_soon = True
            self._start.cancel()
            self._start = loop.call_soon(self._start_calls)

    def _start_calls(self) -> None:
        if self._start is not None:
            self._start.cancel()
            self._start = None
        loop = asyncio.get_running_loop()
        if self._queue and (rest := self._rest.seconds(loop.time())):
            self._tell_who_can_not_wait(self._queue)
            self._start, self._is_soon = loop.call_later(rest, self._start_calls), True
            return
        while self._queue and len(self._calls) < self._max_calls:
            if items := self._next_items():
                call = _Call(items, Batch(each.question.within((each.deadline - loop.time()) * 1000) for each in items))
                for item in items:
                    item.call = call
                call.task = asyncio.create_task(self._call(call))
                self._calls.add(call.task)
                call.task.add_done_callback(self._called)

    def _next_items(self) -> list[_Waiting]:
        """The next questions, of each caller in turn: as many as the tightest of their deadlines allows, that first."""
        items: list[_Waiting] = []
        now, tightest = asyncio.get_running_loop().time(), float("inf")
        while self._queue and len(items) < self._max_batch:
            item = self._queue.take()
            if item.reply.done():  # its caller waits no more
                continue
            tightest = min(tightest, item.deadline)
            if items and (len(items) + 1) * self._seconds_per_reply > tightest - now:
                self._queue.push_front([item])
                break
            items.append(item)
        return sorted(items, key=lambda item: item.deadline)

    def _called(self, task: asyncio.Task[None]) -> None:
        self._calls.discard(task)
        self._start_soon(task.get_loop())

    async def _call(self, call: _Call) -> None:
        loop = asyncio.get_running_loop()
        began, counts, items = loop.time(), True, call.items
        try:
            async with asyncio.timeout_at(items[-1].deadline):
                async for replies in self._ask(call.questions):
                    self._deliver(items, replies)
        except NotReachedError as error:
            counts = False
            log.info("teacher %s was not reached: %s", self._teacher, error)
        except TimeoutError:
            log.warning("a call of teacher %s with %d questions ran past every deadline", self._teacher, len(items))
        except UnavailableError as error:
            log.warning("a call of teacher %s with %d questions broke: %s", self._teacher, len(items), error)
        else:
            took = loop.time() - began
            self._seconds_per_reply += 0.2 * (took / len(items) - self._seconds_per_reply)
            self._seconds_per_call += 0.2 * (took - self._seconds_per_call)
        self._retry([item for item in items if not item.reply.done()], counts=counts)

    def _deliver(self, items: Sequence[_Waiting], replies: Sequence[tuple[int, Reply | NotNow]]) -> None:
        for position, reply in replies:
            if isinstance(reply, NotNow):
                told = self._rest.heard(reply, asyncio.get_running_loop().time())
                if told is not None:
                    _end(items[position].reply, told)
                continue
            self._rest.answered()
            if not items[position].reply.done():
                items[position].reply.set_result(reply)

    def _retry(self, unanswered: Sequence[_Waiting], *, counts: bool) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for item in unanswered:
            item.call = None
            item.pauses += 1
            item.tries += counts
            if item.tries >= MOST_TRIES:
                _end(item.reply, self._rest.refusal(now))
        self._tell_who_can_not_wait((*unanswered, *self._queue))
        if again := [item for item in unanswered if not item.reply.done()]:
            pause = _PAUSE_SECONDS * 2 ** min(item.pauses - 1 for item in again)
            loop.call_later(max(self._rest.seconds(now), min(pause, _LONGEST_PAUSE_SECONDS)), self._requeue, again)

    def _tell_who_can_not_wait(self, items: Iterable[_Waiting]) -> None:
        now = asyncio.get_running_loop().time()
        rest = self._rest.seconds(now)
        for item in items if rest else ():
            if item.rests_until - now < rest:
                _end(item.reply, self._rest.refusal(now))

    def _requeue(self, items: Sequence[_Waiting]) -> None:
        self._queue.push_front([item for item in items if not item.reply.done()])
        self._start_calls()

    def _retry_after(self) -> float:
        """Time in seconds in which about half of what waits will be gone."""
        seconds = self._waiting * self._seconds_per_reply / 2
        return min(max(seconds, _LEAST_RETRY_AFTER_SECONDS), _MOST_RETRY_AFTER_SECONDS)


def _end(reply: asyncio.Future[Reply], error: Exception) -> None:
    if not reply.done():
        reply.set_exception(error)
