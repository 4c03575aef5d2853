"""The Cascade service at the cloud: takes queries in, each once, and gives out what ``answering.py`` makes of them.

Rules:
 * The same id with the same question gets the answer that was given before, and joins it while it is being made;
   with another question it is refused.
 * Work that has begun ends, and is kept, even when its caller goes away.
 * Bad input, an unknown task and a conflict leave no trace in the log.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

from cloud_worker.gateway.answering import Answering
from cloud_worker.gateway.cascade_parts import CascadeParts
from cloud_worker.gateway.query_checks import checked, redacted
from router.core.domain.query import Query
from router.core.errors import (
    ConflictingQueryError,
    DeadlineError,
)
from router.transport import telemetry_names
from router.transport.feedback_wire import feedback_from_proto
from router.transport.server import caller_of
from router.transport.trace_context import extract
from router.transport.wire import query_from_proto
from router.v1 import cascade_pb2, cascade_pb2_grpc

DEFAULT_DEADLINE_SECONDS = 30.0


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
        self._answering = Answering(parts)
        self._in_work: dict[tuple[str, str], _Work] = {}

    async def Answer(self, request: Any, context: Any) -> cascade_pb2.AnswerResponse:  # noqa: N802 - the contract's name
        """Answer one query."""
        caller = caller_of(context, self._parts.insecure)
        seconds = context.time_remaining()
        trace = extract(context.invocation_metadata())
        with self._parts.metrics.answering(request.task, trace) as span:
            query = await redacted(checked(query_from_proto(request), self._parts.tasks), self._parts.tasks)
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
        work = _Work(digest, asyncio.create_task(self._answering.work(query, caller, digest, deadline)))
        self._in_work[key] = work
        work.task.add_done_callback(lambda done: self._ended(key, done))
        return work

    def _ended(self, key: tuple[str, str], done: asyncio.Task[cascade_pb2.AnswerResponse]) -> None:
        del self._in_work[key]
        if not done.cancelled():
            done.exception()  # whoever waits hears of it; nobody may wait any more


def _check_same(query: Query, digest: str, before: str) -> None:
    if digest != before:
        raise ConflictingQueryError(
            f"query id {query.id!r} came with another question within the last ten minutes; use a new id"
        )
