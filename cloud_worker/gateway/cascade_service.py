"""The Cascade service at the cloud: a query in, its record into the spool, the answer out.

Rules:
 * Before an answer leaves, its record is in the spool, or the answer says ``logged = false``.
 * The same id with the same question gets the answer that was given before, and joins it while it is being made;
   with another question it is refused.
 * Work that has begun ends, and is kept, even when its caller goes away.
 * What the fleet's limits forbid is refused before the reference is asked, with a time to come back.
 * Bad input, an unknown task and a conflict leave no trace in the log.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cloud_worker.gateway.draws import Draws, Verified
from cloud_worker.gateway.feedback_taker import FeedbackTaker
from cloud_worker.gateway.metrics import GatewayMetrics
from cloud_worker.log.rows import why_unfit
from cloud_worker.log.spool import MOST_PATIENCE_SECONDS, Entry, Spool, StoredAnswer
from cloud_worker.pool.exchange import Asked, Outcome, answer_of, question_of, record_of
from cloud_worker.pool.tiered_pool import TieredPool
from cloud_worker.state.fleet_quota import FleetLimits
from cloud_worker.teachers.base import Question
from router.core.domain.believed_times import with_believed_time
from router.core.domain.limits import MAX_ANSWER_BYTES, MAX_LABEL_BYTES
from router.core.domain.query import Consent, Query, Route, check_query
from router.core.domain.task import Kind, Task
from router.core.errors import (
    BadInputError,
    ConflictingQueryError,
    DeadlineError,
    NotPossibleError,
    TooLargeError,
    UnavailableError,
    no_such_task,
)
from router.transport import telemetry_names
from router.transport.feedback_wire import feedback_from_proto
from router.transport.server import caller_of
from router.transport.trace_context import extract, inject
from router.transport.wire import answer_to_proto, query_from_proto
from router.v1 import cascade_pb2, cascade_pb2_grpc

log = logging.getLogger(__name__)

DEFAULT_DEADLINE_SECONDS = 30.0
_SHARE_FOR_THE_SPOOL = 0.8  # of what is left of the deadline


@dataclass(frozen=True, slots=True)
class CascadeParts:
    """What the service works with.

    Attributes:
        node: Opaque name of this gateway.
        insecure: Callers are who they say they are.
        tasks: By name.
        pool: Asks their teachers.
        spool: Keeps records and answers.
        draws: Tells what was drawn.
        metrics: Counts what happens.
        spool_max_bytes: Above it, answers go out unlogged.
        feedback: Takes what callers think of their answers.
        limits: Of the fleet.
    """

    node: str
    insecure: bool
    tasks: Mapping[str, Task]
    pool: TieredPool
    spool: Spool
    draws: Draws
    metrics: GatewayMetrics
    spool_max_bytes: int
    feedback: FeedbackTaker
    limits: FleetLimits


@dataclass(frozen=True, slots=True)
class _Work:
    """An answer in the making, and the digest of its question."""

    digest: str
    task: asyncio.Task[cascade_pb2.AnswerResponse]


class CascadeServicer(cascade_pb2_grpc.CascadeServicer):
    """Serves every task of a cluster."""

    def __init__(self, parts: CascadeParts) -> None:
        """Serve with ``parts``."""
        self._parts = parts
        self._in_work: dict[tuple[str, str], _Work] = {}

    async def Answer(self, request: Any, context: Any) -> cascade_pb2.AnswerResponse:  # noqa: N802 - the contract's name
        """Answer one query."""
        caller = caller_of(context, self._parts.insecure)
        seconds = context.time_remaining()
        trace = extract(context.invocation_metadata())
        with self._parts.metrics.answering(request.task, trace) as span:
            query = self._checked(query_from_proto(request))
            span.set_attributes({telemetry_names.QUERY_ID: query.id, telemetry_names.DEVICE: caller})
            return await self._answer(query, caller, DEFAULT_DEADLINE_SECONDS if seconds is None else seconds)

    async def AnswerStream(  # noqa: N802
        self, request: Any, context: Any
    ) -> AsyncIterator[cascade_pb2.AnswerChunk]:
        """Answer one query in one chunk: teachers here answer whole."""
        response = await self.Answer(request, context)
        yield cascade_pb2.AnswerChunk(delta=response.answer, response=response)

    async def Feedback(self, request: Any, context: Any) -> cascade_pb2.FeedbackResponse:  # noqa: N802
        """Take what a caller thinks of its answer."""
        caller = caller_of(context, self._parts.insecure)
        feedback = feedback_from_proto(request)
        if feedback.attempt is not None and not await self._parts.draws.knows(caller):
            feedback = replace(feedback, attempt=None)  # only a device answers in our place
        await self._parts.feedback.take(feedback, caller)
        return cascade_pb2.FeedbackResponse()

    def _checked(self, query: Query) -> Query:
        task = self._task_of(query)
        query = check_query(query, task.max_text_bytes)
        if query.messages and task.kind is Kind.LABEL:
            raise BadInputError("chat", f"is not taken by task {task.name!r}, which labels one text; send text")
        _check_attempt(query, task)
        if task.local_only or query.route is Route.LOCAL_ONLY:
            raise NotPossibleError("this query may not leave its device, and this is the cloud")
        return query if query.id else replace(query, id=uuid.uuid4().hex)

    def _task_of(self, query: Query) -> Task:
        if not query.task:
            raise BadInputError("task", f"is empty; tasks here: {', '.join(sorted(self._parts.tasks))}")
        task = self._parts.tasks.get(query.task)
        if task is None:
            raise no_such_task(query.task, self._parts.tasks)
        return task

    async def _answer(self, query: Query, caller: str, seconds: float) -> cascade_pb2.AnswerResponse:
        deadline = time.monotonic() + seconds
        digest = query.digest()
        stored = self._parts.spool.find(caller, query.id, time.time())
        if stored is not None:
            _check_same(query, digest, stored.digest)
            return cascade_pb2.AnswerResponse.FromString(stored.response)
        while True:
            work = self._in_work.get((caller, query.id))
            mine = work is None
            if work is None:
                work = self._begin(query, caller, digest, deadline)
            _check_same(query, digest, work.digest)
            try:
                async with asyncio.timeout(deadline - time.monotonic()):
                    return await asyncio.shield(work.task)
            except TimeoutError as error:
                raise DeadlineError("the deadline passed before an answer was there") from error
            except DeadlineError:
                if mine:
                    raise  # else it was the deadline of whoever asked first: there may be time left here

    def _begin(self, query: Query, caller: str, digest: str, deadline: float) -> _Work:
        key = (caller, query.id)
        work = _Work(digest, asyncio.create_task(self._work(query, caller, digest, deadline)))
        self._in_work[key] = work
        work.task.add_done_callback(lambda done: self._ended(key, done))
        return work

    def _ended(self, key: tuple[str, str], done: asyncio.Task[cascade_pb2.AnswerResponse]) -> None:
        del self._in_work[key]
        if not done.cancelled():
            done.exception()  # whoever waits hears of it; nobody may wait any more

    async def _work(self, query: Query, caller: str, digest: str, deadline: float) -> cascade_pb2.AnswerResponse:
        parts = self._parts
        received_at, began = time.time(), time.perf_counter()
        task = parts.tasks[query.task]
        believed = with_believed_time(query, received_at)
        if believed.attempt != query.attempt and believed.attempt is not None and not believed.attempt.asked_at:
            parts.metrics.false_time(query.task, caller)
        verified = await self._verified(believed, caller, received_at)
        asked = Asked(verified.query, caller, task, received_at, verified.explored)
        trace = tuple(inject().items())
        question = question_of(asked, trace)
        outcome = await self._ask(asked, question, deadline)
        _check_answer(outcome)
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


def _check_attempt(query: Query, task: Task) -> None:
    answer = query.attempt.answer if query.attempt is not None else None
    if task.kind is Kind.LABEL and answer is not None and len(answer.encode()) > MAX_LABEL_BYTES:
        problem = f"has {len(answer.encode())} bytes; a label has {MAX_LABEL_BYTES} at most"
        raise BadInputError("attempt.answer", problem)


def _check_answer(outcome: Outcome) -> None:
    for name, text in (("answer", outcome.answer.text), ("rationale", outcome.answer.rationale)):
        if len(text) > MAX_ANSWER_BYTES // 4 and len(text.encode(errors="replace")) > MAX_ANSWER_BYTES:
            problem = f"the {name} has more than {MAX_ANSWER_BYTES:,} bytes, which no message takes"
            raise TooLargeError(f"{problem}; ask for fewer tokens (limits.max_tokens)")


def _patience(deadline: float) -> float:
    """Seconds that the spool may take; all it wants once nobody waits for the answer any more."""
    left = deadline - time.monotonic()
    return min(MOST_PATIENCE_SECONDS, _SHARE_FOR_THE_SPOOL * left) if left > 0 else MOST_PATIENCE_SECONDS


def _check_same(query: Query, digest: str, before: str) -> None:
    if digest != before:
        raise ConflictingQueryError(
            f"query id {query.id!r} came with another question within the last ten minutes; use a new id"
        )
