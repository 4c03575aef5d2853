"""Ask the reference what waits in the outbox: explored queries that were kept, and degraded ones.

Rules:
 * Never in a user's way: a bounded number at once, in the background.
 * A query leaves the outbox when the next tier has answered and logged it, or will never take it. What was answered and
   could not be logged stays, and its task is probed with one query at a time, less and less often.
 * What a limit of its task does not let go now waits, and holds up no other task.
 * After a failure it waits, longer each time and never in step with other devices; pushback and breaker are obeyed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from edge_agent.outbox.bounds import Why
from edge_agent.outbox.reading import Waiting
from edge_agent.outbox.store import Outbox
from edge_agent.tasks.all_tasks import Tasks, may_be_logged
from edge_agent.tasks.quota import Permit
from edge_agent.telemetry import EdgeTelemetry
from edge_agent.upstream.client import Upstream
from router.core.domain.query import Answer, Consent, Query
from router.core.domain.task import agree
from router.core.errors import BusyError, CallerError, HeadraceError, OverloadedError, ServiceError, SpentError
from router.core.release.manifest import Manifest

log = logging.getLogger(__name__)

BATCH = 64
SECONDS_EACH = 30.0
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds, before jitter
MOST_FAILURES = 5  # of one query, on a tier that answers others; then it is dropped
MOST_UNLOGGED = 24  # answers to one query that could not be logged, over some hours; then it is dropped
LONGEST_UNLOGGED_PAUSE = 600.0  # seconds; about as long as a gateway repeats a stored answer


@dataclass(slots=True)
class _Unlogged:
    """A task whose answers could not be logged lately: left alone until then, in monotonic seconds.

    Attributes:
        until: When one query of it may be sent again.
        pause: What led to it, in seconds.
        answers: By query id, how often it was answered in vain.
    """

    until: float = 0.0
    pause: float = FIRST_PAUSE / 2
    answers: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HeldBack:
    """Nothing may be sent for ``seconds`` of the tasks of which something waits; of others it may."""

    seconds: float


class OutboxSender:
    """Drains the outbox."""

    def __init__(
        self,
        outbox: Outbox,
        upstream: Upstream,
        tasks: Tasks,
        telemetry: EdgeTelemetry,
        concurrency: int,
        learn: Callable[[Query, Manifest, Answer], None] = lambda query, manifest, answer: None,
    ) -> None:
        """Send at most ``concurrency`` queries at once; ``learn`` hears what was answered."""
        self._learn = learn
        self._outbox = outbox
        self._upstream = upstream
        self._tasks = tasks
        self._telemetry = telemetry
        self._lanes = asyncio.Semaphore(concurrency)
        self._failures: dict[str, int] = {}
        self._unlogged: dict[str, _Unlogged] = {}  # by task
        self._rests: dict[str, float] = {}  # by task, until when its teacher is left alone, in monotonic seconds

    async def run(self) -> None:
        """Drain the outbox whenever something waits, until cancelled."""
        pause = FIRST_PAUSE
        while True:
            await self._outbox.wait()
            seen = self._outbox.arrivals
            error = await self.drain_once()
            if error is None:
                pause = FIRST_PAUSE
                continue
            if isinstance(error, HeldBack):  # of some tasks: what comes meanwhile may be another's
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(error.seconds):
                        await self._outbox.more(seen)
                        await asyncio.sleep(FIRST_PAUSE)
                continue
            told = error.retry_after if isinstance(error, OverloadedError) else None
            await asyncio.sleep((pause if told is None else told) * random.uniform(1.0, 2.0))
            pause = min(2 * pause, LONGEST_PAUSE)

    async def drain_once(self) -> HeadraceError | HeldBack | None:
        """Ask for the head of the queue; the last failure, or what holds a task back, if there was one."""
        over = self._held_back()
        head = self._probed(await self._outbox.head(BATCH, frozenset(over)))
        if not head and over:
            soon = min(*over.values(), LONGEST_PAUSE)  # orders may change the limits
            return HeldBack(soon * random.uniform(1.0, 2.0))
        if not head and self._outbox.is_hindered:
            return ServiceError("the outbox can't be used now")
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(self._teach(waiting)) for waiting in head]
        outcomes = [call.result() for call in calls]
        done = [waiting.position for waiting, error in zip(head, outcomes, strict=True) if error is None]
        if done:
            await self._outbox.remove(done)
        return next((error for error in reversed(outcomes) if error is not None), None)

    def _held_back(self) -> dict[str, float]:
        """Seconds by task, of those that must not be sent now."""
        now = time.monotonic()
        waits = {name: until - now for name, until in self._rests.items()}
        for name, unlogged in self._unlogged.items():
            waits[name] = max(waits.get(name, 0.0), unlogged.until - now)
        for hosted in self._tasks:
            if hosted.serving and hosted.serving.manifest.number:
                waits[hosted.name] = max(waits.get(hosted.name, 0.0), hosted.quota.wait())
        return {name: seconds for name, seconds in waits.items() if seconds > 0}

    def _probed(self, head: list[Waiting]) -> list[Waiting]:
        """The queries to send: of a task whose answers were not logged lately the first alone."""
        first: dict[str, int] = {}
        for waiting in head:
            first.setdefault(waiting.query.task, waiting.position)
        return [
            waiting
            for waiting in head
            if waiting.query.task not in self._unlogged or first[waiting.query.task] == waiting.position
        ]

    async def _teach(self, waiting: Waiting) -> HeadraceError | HeldBack | None:
        """Ask for one query; ``None`` when it may leave the outbox."""
        query = waiting.query
        async with self._lanes:
            permit = self._permit(query)
            if not permit.granted:
                return OverloadedError(f"the limits of task {query.task!r} are spent for now")
            permit.use()
            try:
                answer = await self._upstream.ask(query, SECONDS_EACH)
            except SpentError as error:
                hosted = self._tasks.get(query.task)
                if hosted is not None:
                    hosted.quota.shut()
                return error
            except CallerError as error:
                log.warning("query %s is not taken by the next tier, and leaves the outbox: %s", query.id, error)
                self._outbox.drops[Why.REFUSED] += 1
                return None
            except BusyError as error:
                seconds = max(error.retry_after or 0.0, FIRST_PAUSE)
                self._rests[query.task] = time.monotonic() + seconds
                return HeldBack(FIRST_PAUSE)
            except ServiceError as error:
                return None if self._is_hopeless(query, error) else error
        self._failures.pop(query.id, None)
        if not answer.provenance.logged and self._may_be_logged(query):
            return self._not_logged(query)
        self._unlogged.pop(query.task, None)
        self._count(query, answer)
        return None

    def _may_be_logged(self, query: Query) -> bool:
        """Whether logging is still wanted, by the query's caller or its task: else the answer is all that is due."""
        hosted = self._tasks.get(query.task)
        if hosted is None or hosted.serving is None:
            return query.consent is not Consent.REFUSED
        return may_be_logged(hosted.serving.manifest, query)

    def _not_logged(self, query: Query) -> HeadraceError | None:
        """Leave a task alone for a while; ``None`` when this query was answered in vain too often."""
        unlogged = self._unlogged.setdefault(query.task, _Unlogged())
        now = time.monotonic()
        if unlogged.until <= now:  # several that were on their way count as one
            unlogged.pause = min(2 * unlogged.pause, LONGEST_UNLOGGED_PAUSE)
            unlogged.until = now + unlogged.pause * random.uniform(1.0, 1.5)
        tries = unlogged.answers[query.id] = unlogged.answers.get(query.id, 0) + 1
        if tries == 1:
            log.warning("query %s was answered but could not be logged there; it stays, and is sent again", query.id)
        if tries < MOST_UNLOGGED:
            return OverloadedError(f"answers of task {query.task!r} are not logged now", unlogged.until - now)
        log.error("query %s could not be logged %d times, and leaves the outbox", query.id, MOST_UNLOGGED)
        del unlogged.answers[query.id]
        self._outbox.drops[Why.UNLOGGED] += 1
        return None

    def _permit(self, query: Query) -> Permit:
        hosted = self._tasks.get(query.task)
        return Permit() if hosted is None or hosted.serving is None else hosted.permit(hosted.serving)

    def _is_hopeless(self, query: Query, error: ServiceError) -> bool:
        """Whether the tier is there and fails on this very query, again and again."""
        if type(error) is not ServiceError:
            return False
        self._failures[query.id] = self._failures.get(query.id, 0) + 1
        if self._failures[query.id] < MOST_FAILURES:
            return False
        log.error("query %s failed %d times, and leaves the outbox: %s", query.id, MOST_FAILURES, error)
        del self._failures[query.id]
        self._outbox.drops[Why.FAILED] += 1
        return True

    def _count(self, query: Query, answer: Answer) -> None:
        attempt = query.attempt
        hosted = self._tasks.get(query.task)
        if hosted is not None and hosted.serving is not None:
            self._learn(query, hosted.serving.manifest, answer)
        if attempt is None or attempt.degraded or not attempt.explored or hosted is None or hosted.serving is None:
            return
        agreed = agree(hosted.serving.manifest.task.judge, attempt.answer or "", answer.text)
        hosted.counters.count_taught(agreed)
        if not agreed:
            self._telemetry.count_disagreement(query.task)
