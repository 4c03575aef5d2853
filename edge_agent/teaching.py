"""Ask the reference what waits in the outbox: explored queries that were kept, and degraded ones.

Rules:
 * Never in a user's way: a bounded number at once, in the background.
 * A query leaves the outbox when the next tier has answered it, or will never take it.
 * What a limit of its task does not let go now waits, and holds up no other task.
 * After a failure it waits, longer each time and never in step with other devices; pushback and breaker are obeyed.
"""

from __future__ import annotations

import asyncio
import logging
import random

from edge_agent.outbox import Outbox, Waiting
from edge_agent.purse import Permit
from edge_agent.tasks import Tasks
from edge_agent.telemetry import EdgeTelemetry
from edge_agent.upstream import Upstream
from router.errors import CallerError, HeadraceError, OverloadedError, ServiceError, SpentError
from router.query import Answer, Query
from router.task import agree

log = logging.getLogger(__name__)

BATCH = 64
SECONDS_EACH = 30.0
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds, before jitter
MOST_FAILURES = 5  # of one query, on a tier that answers others; then it is dropped


class Teaching:
    """Drains the outbox."""

    def __init__(
        self, outbox: Outbox, upstream: Upstream, tasks: Tasks, telemetry: EdgeTelemetry, concurrency: int
    ) -> None:
        """Send at most ``concurrency`` queries at once."""
        self._outbox = outbox
        self._upstream = upstream
        self._tasks = tasks
        self._telemetry = telemetry
        self._lanes = asyncio.Semaphore(concurrency)
        self._failures: dict[str, int] = {}

    async def run(self) -> None:
        """Drain the outbox whenever something waits, until cancelled."""
        pause = FIRST_PAUSE
        while True:
            await self._outbox.wait()
            error = await self.drain_once()
            if error is None:
                pause = FIRST_PAUSE
                continue
            told = error.retry_after if isinstance(error, OverloadedError) else None
            await asyncio.sleep((pause if told is None else told) * random.uniform(1.0, 2.0))
            pause = min(2 * pause, LONGEST_PAUSE)

    async def drain_once(self) -> HeadraceError | None:
        """Ask for the head of the line; the last failure, if there was one."""
        waits = {
            hosted.name: hosted.purse.wait()
            for hosted in self._tasks
            if hosted.serving and hosted.serving.manifest.number
        }
        over = {name: seconds for name, seconds in waits.items() if seconds > 0}
        head = await self._outbox.head(BATCH, frozenset(over))
        if not head and over:
            soon = min(*over.values(), LONGEST_PAUSE)  # orders may change the limits
            return OverloadedError("what waits is held back by the limits of its task", soon)
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(self._teach(waiting)) for waiting in head]
        outcomes = [call.result() for call in calls]
        done = [waiting.place for waiting, error in zip(head, outcomes, strict=True) if error is None]
        if done and not await self._outbox.remove(done):
            return ServiceError("the outbox's disk is full")
        return next((error for error in reversed(outcomes) if error is not None), None)

    async def _teach(self, waiting: Waiting) -> HeadraceError | None:
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
                    hosted.purse.shut()
                return error
            except CallerError as error:
                log.warning("query %s is not taken by the next tier, and leaves the outbox: %s", query.id, error)
                return None
            except ServiceError as error:
                return None if self._is_hopeless(query, error) else error
        self._failures.pop(query.id, None)
        self._count(query, answer)
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
        return True

    def _count(self, query: Query, answer: Answer) -> None:
        attempt = query.attempt
        hosted = self._tasks.get(query.task)
        if attempt is None or attempt.degraded or not attempt.explored or hosted is None or hosted.serving is None:
            return
        agreed = agree(hosted.serving.manifest.task.judge, attempt.answer or "", answer.text)
        hosted.counters.count_taught(agreed)
        if not agreed:
            self._telemetry.count_disagreement(query.task)
