"""The Cascade service of a worker: the agent's own, and what that can't do alone is handed over.

Rules:
 * An answer counts once: here if it was given here, at the owner if it was handed over.
 * No answer goes out by what was told before the last change: such a query is handed over too.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

from grpc import aio

from edge_agent.answering.agent import Agent
from edge_agent.answering.answer_cache import RecentAnswers
from edge_agent.answering.device_privacy import DevicePrivacy
from edge_agent.answering.feedback_relay import FeedbackRelay, Note
from edge_agent.answering.hand_over import HandOver
from edge_agent.answering.service import CascadeServicer
from edge_agent.telemetry import EdgeTelemetry
from edge_agent.workers.mirror import MirroredTasks
from edge_agent.workers.owner_link import OwnerLink
from router.core.domain import query as flow
from router.core.domain.feedback import Feedback
from router.core.domain.query import Query
from router.transport.server import caller_of
from router.transport.wire import answer_to_proto
from router.v1 import cascade_pb2

_Context = aio.ServicerContext[Any, Any]


class CurrentAgent(Agent):
    """An agent that answers by nothing that has changed meanwhile."""

    async def answer(self, query: Query, seconds: float) -> flow.Answer:
        """Answer one query, or hand it over.

        Raises:
            HandOver: It is the owner's to answer.
            HeadraceError: Why there is no answer.
        """
        self._check_current()
        answer = await super().answer(query, seconds)
        self._check_current()
        return answer

    def _check_current(self) -> None:
        if isinstance(self._tasks, MirroredTasks) and not self._tasks.is_current:
            raise HandOver


class Notes(FeedbackRelay):
    """Remembers nothing itself: the owner is told who was answered."""

    def __init__(self, owner: OwnerLink) -> None:
        """Tell ``owner``."""
        super().__init__(_never)
        self._owner = owner

    def remember(self, note: Note) -> None:
        """Tell the owner of an answer."""
        self._owner.note(note)


async def _never(feedback: Feedback, seconds: float) -> None:
    raise HandOver


class WorkerServicer(CascadeServicer):
    """Serves ``Cascade`` in a worker."""

    def __init__(
        self,
        agent: CurrentAgent,
        tasks: MirroredTasks,
        owner: OwnerLink,
        telemetry: EdgeTelemetry,
        privacy: DevicePrivacy,
        recent: RecentAnswers,
        *,
        insecure: bool,
        tiers: tuple[str, ...],
    ) -> None:
        """Answer by ``agent``, and hand over to ``owner``."""
        super().__init__(agent, tasks, recent, telemetry, Notes(owner), privacy, insecure=insecure, tiers=tiers)
        self._mirror, self._owner = tasks, owner

    async def Answer(  # noqa: N802 - the contract's name
        self, request: cascade_pb2.AnswerRequest, context: _Context
    ) -> cascade_pb2.AnswerResponse:
        """Answer one query, here or by the owner."""
        if not request.query_id:
            request.query_id = uuid.uuid4().hex  # here and there the same, and so the same draw
        try:
            return answer_to_proto(await self._answer(request, context))
        except HandOver:
            response: cascade_pb2.AnswerResponse = await self._owner.answer(
                request, caller_of(context, self._insecure), context
            )
            return response

    async def AnswerStream(  # noqa: N802
        self, request: cascade_pb2.AnswerRequest, context: _Context
    ) -> AsyncIterator[cascade_pb2.AnswerChunk]:
        """Answer one query; a label comes in one piece."""
        response = await self.Answer(request, context)
        yield cascade_pb2.AnswerChunk(delta=response.answer, response=response)

    async def Feedback(  # noqa: N802
        self, request: cascade_pb2.FeedbackRequest, context: _Context
    ) -> cascade_pb2.FeedbackResponse:
        """Pass on what a caller thinks of its answer."""
        caller = caller_of(context, self._insecure)
        response: cascade_pb2.FeedbackResponse = await self._owner.feed_back(request, caller, context)
        return response

    async def _counted(self, query: Query, seconds: float) -> flow.Answer:
        try:
            return await super()._counted(query, seconds)
        finally:
            self._mirror.publish(query.task)
