"""Answers one query of the cluster: verifies its draw, pays, asks the pool, and keeps what was said.

Rules:
 * Before an answer leaves, its record is in the spool, or the answer says ``logged = false``.
 * What the fleet's limits forbid is refused before the reference is asked, with a time to come back.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from opentelemetry.trace import get_current_span

from cloud_worker.gateway.cascade_parts import CascadeParts
from cloud_worker.gateway.draws import Verified
from cloud_worker.gateway.query_checks import check_answer
from cloud_worker.log.spool import MOST_PATIENCE_SECONDS, Entry, StoredAnswer
from cloud_worker.log.table_rows import why_unfit
from cloud_worker.pool.answer_records import Asked, Outcome, answer_of, question_of, record_of
from cloud_worker.teachers.base import Question
from router.core.domain.believed_times import with_believed_time
from router.core.domain.query import Consent, Query
from router.core.errors import (
    UnavailableError,
)
from router.transport.trace_context import inject
from router.transport.wire import answer_to_proto
from router.v1 import cascade_pb2

log = logging.getLogger(__name__)

_SHARE_FOR_THE_SPOOL = 0.8  # of what is left of the deadline


class Answering:
    """The work on queries that have been checked."""

    def __init__(self, parts: CascadeParts) -> None:
        """Work with ``parts``."""
        self._parts = parts

    async def work(
        self, query: Query, caller: str, digest: str, deadline: float, answered: Callable[[], None] = lambda: None
    ) -> cascade_pb2.AnswerResponse:
        """The response to a query, durable.

        Args:
            query: With its id.
            caller: Who asks.
            digest: Of the question.
            deadline: By ``time.monotonic``, in seconds.
            answered: Hears that a teacher has answered: what is left is to keep that.

        Raises:
            HeadraceError: It has no answer; says why.
        """
        parts = self._parts
        received_at, began = time.time(), time.perf_counter()
        task = parts.tasks[query.task]
        believed = with_believed_time(query, received_at)
        if believed.attempt != query.attempt and believed.attempt is not None and not believed.attempt.asked_at:
            parts.metrics.false_time(query.task, caller)
        verified = await self._verified(believed, caller, received_at)
        asked = Asked(verified.query, caller, task, received_at, verified.explored)
        trace = tuple(inject().items()) if get_current_span().get_span_context().is_valid else ()
        question = question_of(asked, trace)
        outcome = await self._ask(asked, question, deadline)
        answered()
        check_answer(outcome)
        logged = self._may_log(asked)
        stages = (("teacher", outcome.answer.milliseconds), ("gateway", (time.perf_counter() - began) * 1000))
        response = answer_to_proto(answer_of(asked, outcome, parts.node, logged, stages))
        return await self._keep(asked, outcome, digest, response, deadline)

    async def _ask(self, asked: Asked, question: Question, deadline: float) -> Outcome:
        """Pay, ask the task's teachers, and settle what it cost."""
        limits, task = self._parts.limits, asked.task
        payment = await asyncio.to_thread(limits.pay, task) if task.budget.of_fleet else None
        cost = 0.0
        try:
            outcome = await self._parts.pool.ask(asked, question, deadline)
            cost = outcome.usd
            return outcome
        finally:
            if payment is not None:
                await asyncio.to_thread(limits.settle, task, payment, cost)

    async def _verified(self, query: Query, caller: str, received_at: float) -> Verified:
        verified = await self._parts.draws.verify(query, caller, received_at)
        if verified.is_false_claim:
            self._parts.metrics.false_claim(query.task)
        return verified

    def _may_log(self, asked: Asked) -> bool:
        consent = asked.query.consent
        wanted = asked.task.log_by_default if consent is Consent.AS_TASK else consent is Consent.GRANTED
        return wanted and self._parts.spool.bytes_used < self._parts.spool_max_bytes

    async def _keep(
        self, asked: Asked, outcome: Outcome, digest: str, response: cascade_pb2.AnswerResponse, deadline: float
    ) -> cascade_pb2.AnswerResponse:
        """Make the record and the answer durable, and return the answer as it may go out, in time."""
        record = record_of(asked, outcome) if response.provenance.logged else None
        why_not = "" if record is None else why_unfit(record)
        if why_not:
            log.warning("a record of task %s can't be logged: %s", asked.task.name, why_not)
            record, response.provenance.logged = None, False
        answer = StoredAnswer(asked.caller, asked.query.id, digest, time.time(), response.SerializeToString())
        try:
            await self._parts.spool.append(Entry(answer, record), _patience(deadline))
        except UnavailableError:
            response.provenance.logged = False
            self._parts.metrics.logged(asked.task.name, False)
        else:
            self._parts.metrics.logged(asked.task.name, record is not None)
            if record is not None and record.problem:
                self._parts.metrics.no_lesson(asked.task.name, record.problem, record.answer)
        return response


def _patience(deadline: float) -> float:
    """Seconds that the spool may take; all it wants once nobody waits for the answer any more."""
    left = deadline - time.monotonic()
    return min(MOST_PATIENCE_SECONDS, _SHARE_FOR_THE_SPOOL * left) if left > 0 else MOST_PATIENCE_SECONDS
