"""The agent's door: what comes over gRPC, and what goes back.

Rules:
 * A value is checked here, once, and trusted further in.
 * The caller's gRPC deadline is the only one; who sets none has ``DEFAULT_SECONDS``.
 * A query counts once: a repeated id gets the stored answer and counts no more.
 * What a tier below did with a query is heard from the tiers listed alone. Of anybody else it is a claim, and refused:
   under this device's name it would speak of the promise.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Iterable
from copy import copy
from dataclasses import replace
from typing import Any

from grpc import aio

from edge_agent.answering.agent import DEFAULT_SECONDS, Agent
from edge_agent.answering.answer_cache import RecentAnswers
from edge_agent.answering.device_privacy import DevicePrivacy
from edge_agent.answering.feedback_relay import FeedbackRelay, Note
from edge_agent.answering.hand_over import HandOver
from edge_agent.answering.student_runner import stays
from edge_agent.tasks.all_tasks import Tasks, may_be_logged
from edge_agent.telemetry import EdgeTelemetry
from router.core.domain import query as flow
from router.core.domain.query import Query, check_query
from router.core.domain.task import Task
from router.core.errors import BadInputError
from router.transport import telemetry_names
from router.transport.feedback_wire import feedback_from_proto
from router.transport.server import caller_in, caller_of
from router.transport.wire import answer_to_proto, query_from_proto
from router.v1 import cascade_pb2, cascade_pb2_grpc

SERVICE = "headrace.v1.Cascade"

_Context = aio.ServicerContext[Any, Any]


class CascadeServicer(cascade_pb2_grpc.CascadeServicer):
    """Serves ``Cascade`` on a device."""

    def __init__(
        self,
        agent: Agent,
        tasks: Tasks,
        recent: RecentAnswers,
        telemetry: EdgeTelemetry,
        feedback: FeedbackRelay,
        privacy: DevicePrivacy,
        *,
        insecure: bool,
        tiers: Iterable[str] = (),
    ) -> None:
        """Answer by ``agent``; on an insecure door, callers are who they say they are. ``tiers`` are those below."""
        self._privacy = privacy
        self._tiers = frozenset(tiers)
        self._agent = agent
        self._feedback = feedback
        self._insecure = insecure
        self._tasks = tasks
        self._recent = recent
        self._telemetry = telemetry

    def for_workers(self) -> CascadeServicer:
        """The same service, for what workers hand over: who asked is whoever they say."""
        inner = copy(self)
        inner._insecure = True
        return inner

    def remember(self, note: Note) -> None:
        """A worker has given an answer."""
        self._feedback.remember(note)

    async def Answer(  # noqa: N802 - the contract's name
        self, request: cascade_pb2.AnswerRequest, context: _Context
    ) -> cascade_pb2.AnswerResponse:
        """Answer one query."""
        return answer_to_proto(await self._answer(request, context))

    async def AnswerStream(  # noqa: N802
        self, request: cascade_pb2.AnswerRequest, context: _Context
    ) -> AsyncIterator[cascade_pb2.AnswerChunk]:
        """Answer one query; a label comes in one piece."""
        answer = await self._answer(request, context)
        yield cascade_pb2.AnswerChunk(delta=answer.text, response=answer_to_proto(answer))

    async def Feedback(  # noqa: N802
        self, request: cascade_pb2.FeedbackRequest, context: _Context
    ) -> cascade_pb2.FeedbackResponse:
        """Take what a caller thinks of its answer."""
        self._check_attempt(request, context)
        left = context.time_remaining()
        seconds = DEFAULT_SECONDS if left is None else left
        feedback = self._privacy.of_feedback(feedback_from_proto(request), self._task(request.task))
        await self._feedback.take(feedback, caller_of(context, self._insecure), seconds)
        return cascade_pb2.FeedbackResponse()

    async def _answer(self, request: cascade_pb2.AnswerRequest, context: _Context) -> flow.Answer:
        self._check_attempt(request, context)
        query = self._privacy.restricted(query_from_proto(request))
        query = check_query(query if query.id else replace(query, id=uuid.uuid4().hex))
        left = context.time_remaining()
        seconds = DEFAULT_SECONDS if left is None else left
        metadata = context.invocation_metadata()
        with self._telemetry.first_span(telemetry_names.SPAN_AGENT, metadata) as span:
            if span.is_recording():
                span.set_attributes({telemetry_names.TASK: query.task, telemetry_names.QUERY_ID: query.id})
            answer = await self._recent.once(query, lambda: self._counted(query, seconds))
            self._note(query, answer, caller_in(metadata, self._insecure))
            if span.is_recording():
                span.set_attributes(_told_of(answer.provenance))
        return answer

    def _task(self, name: str) -> Task | None:
        """The task as the release in place has it, ``None`` without one."""
        hosted = self._tasks.get(name)
        return hosted.serving.manifest.task if hosted is not None and hosted.serving is not None else None

    def _check_attempt(
        self, request: cascade_pb2.AnswerRequest | cascade_pb2.FeedbackRequest, context: _Context
    ) -> None:
        """Refuse an attempt of a caller that is no tier below.

        Raises:
            BadInputError: Names the field.
        """
        if request.HasField("attempt") and caller_of(context, self._insecure) not in self._tiers:
            what = "is what a device did with a query, and this caller is none that asks through this agent"
            raise BadInputError("attempt", f"{what}; leave it out, or list the caller in door.tiers here")

    def _note(self, query: Query, answer: flow.Answer, caller: str) -> None:
        """Remember who was answered, for feedback."""
        hosted = self._tasks.get(query.task)
        manifest = hosted.serving.manifest if hosted is not None and hosted.serving is not None else None
        may_go = answer.provenance.logged  # of a task without a release here, the next tier alone knows
        if manifest is not None:
            may_go = may_be_logged(manifest, query) and not stays(manifest, query)
        self._feedback.note(query, caller, answer, may_go=may_go)

    async def _counted(self, query: Query, seconds: float) -> flow.Answer:
        started = time.perf_counter()
        try:
            answer = await self._agent.answer(query, seconds)
        except HandOver:
            raise
        except BaseException:
            hosted = self._tasks.get(query.task)
            if hosted is not None:
                hosted.counters.failed += 1
                self._telemetry.count_failure(query.task)
            raise
        milliseconds = 1000 * (time.perf_counter() - started)
        hosted = self._tasks.get(query.task)
        if hosted is not None:
            hosted.counters.count_answer(answer, milliseconds)
        self._telemetry.count_answer(query.task, answer, milliseconds)
        return answer


def _told_of(provenance: flow.Provenance) -> dict[str, str | int | bool]:
    """What a span tells of an answer."""
    return {
        telemetry_names.TIER: provenance.tier.value,
        telemetry_names.REASON: provenance.reason.value,
        telemetry_names.RELEASE: provenance.release,
        telemetry_names.DEGRADED: provenance.degraded,
        telemetry_names.EXPLORED: provenance.explored,
    }
