"""The Cascade service at the cloud: takes queries in, each once, and gives out what ``answering.py`` makes of them.

Rules:
 * The same id with the same question gets the answer that was given before, and joins it while it is being made;
   with another question it is refused.
 * Work that nobody waits for any more is stopped, at the teacher too; an answer that is there already is kept.
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
from router.transport.wire import query_from_proto
from router.v1 import cascade_pb2, cascade_pb2_grpc

DEFAULT_DEADLINE_SECONDS = 30.0

_Key = tuple[str, str]  # caller and query id


@dataclass(slots=True, eq=False)
class _Work:
    """An answer in the making.

    Attributes:
        digest: Of its question.
        task: That makes it.
        waiting: How many calls wait for it.
        is_answered: A teacher has answered; what is left is to keep that.
    """

    digest: str
    task: asyncio.Task[cascade_pb2.AnswerResponse] | None = None
    waiting: int = 0
    is_answered: bool = False

    def answered(self) -> None:
        """Hear that a teacher has answered."""
        self.is_answered = True


class CascadeServicer(cascade_pb2_grpc.CascadeServicer):
    """Serves every task of a cluster."""

    def __init__(self, parts: CascadeParts) -> None:
        """Serve with ``parts``."""
        self._parts = parts
        self._answering = Answering(parts)
        self._in_work: dict[_Key, _Work] = {}

    async def Answer(self, request: Any, context: Any) -> cascade_pb2.AnswerResponse:  # noqa: N802 - the contract's name
        """Answer one query."""
        caller = caller_of(context, self._parts.insecure)
        seconds = context.time_remaining()
        with self._parts.metrics.answering(request.task, context.invocation_metadata()) as span:
            query = await redacted(checked(query_from_proto(request), self._parts.tasks), self._parts.tasks)
            if span.is_recording():
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
        key, digest = (caller, query.id), query.digest()
        while True:
            work = self._in_work.get(key)
            mine = work is None
            if work is None:
                work = self._begin(query, caller, digest, deadline)
            _check_same(query, digest, work.digest)
            try:
                return await self._wait(key, work, deadline)
            except DeadlineError:
                if mine or time.monotonic() >= deadline:
                    raise  # else it was the deadline of whoever asked first: there may be time left here

    async def _wait(self, key: _Key, work: _Work, deadline: float) -> cascade_pb2.AnswerResponse:
        assert work.task is not None
        work.waiting += 1
        try:
            done, _ = await asyncio.wait((work.task,), timeout=deadline - time.monotonic())
        finally:
            work.waiting -= 1
            if not work.waiting and not work.is_answered and not work.task.done():
                self._let_go(key, work)
                work.task.cancel()
        if not done:
            raise DeadlineError("the deadline passed before an answer was there")
        return work.task.result()

    def _begin(self, query: Query, caller: str, digest: str, deadline: float) -> _Work:
        key, work = (caller, query.id), _Work(digest)
        work.task = asyncio.create_task(self._work(query, caller, deadline, work))
        self._in_work[key] = work
        self._parts.under_way.count += 1
        work.task.add_done_callback(lambda done: self._ended(key, work, done))
        return work

    async def _work(self, query: Query, caller: str, deadline: float, work: _Work) -> cascade_pb2.AnswerResponse:
        stored = await self._parts.spool.find(caller, query.id, time.time())
        if stored is None:
            return await self._answering.work(query, caller, work.digest, deadline, work.answered)
        _check_same(query, work.digest, stored.digest)
        return cascade_pb2.AnswerResponse.FromString(stored.response)

    def _ended(self, key: _Key, work: _Work, done: asyncio.Task[cascade_pb2.AnswerResponse]) -> None:
        self._parts.under_way.count -= 1
        self._let_go(key, work)
        if not done.cancelled():
            done.exception()  # whoever waits hears of it; nobody may wait any more

    def _let_go(self, key: _Key, work: _Work) -> None:
        if self._in_work.get(key) is work:
            del self._in_work[key]


def _check_same(query: Query, digest: str, before: str) -> None:
    if digest != before:
        raise ConflictingQueryError(
            f"query id {query.id!r} came with another question within the last ten minutes; use a new id"
        )
