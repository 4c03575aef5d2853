"""A worker's way to the owner, over a socket that their user alone may open."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
from grpc import aio

from edge_agent.answering.feedback_relay import Note
from edge_agent.workers.snapshot import Snapshot
from router.core.domain.limits import MAX_ATTEMPT_BYTES
from router.core.errors import UnavailableError
from router.transport.channel import open_channel
from router.transport.telemetry_names import META_ERROR, META_PUSHBACK, META_RETRY_AFTER
from router.transport.trace_context import call_metadata
from router.v1 import cascade_pb2, cascade_pb2_grpc

WATCH, APPLIED, TELL = "Watch", "Applied", "Tell"
SERVICE = "headrace.agent.Workers"  # between processes of one agent; no part of the contract
TELL_SECONDS = 0.05
_TOLD = {META_ERROR, META_PUSHBACK, META_RETRY_AFTER}
_MOST_NOTES = 2000  # that wait; a feedback on what was dropped hears that the answer is unknown
_RESTARTS = "this agent is starting again; try again"
_Context = aio.ServicerContext[Any, Any]


class OwnerLink:
    """The link of one worker to its owner."""

    def __init__(self, target: str, worker: int, max_message_bytes: int) -> None:
        """Prepare; within the running event loop."""
        self._channel = open_channel(
            target,
            insecure=True,
            max_message_bytes=max_message_bytes,
            extra_attempt_bytes=MAX_ATTEMPT_BYTES,
            attempts=1,
        )
        self._stub = cascade_pb2_grpc.CascadeStub(self._channel)
        self._worker = worker
        self._notes: list[Note] = []

    async def answer(self, request: cascade_pb2.AnswerRequest, caller: str, context: _Context) -> Any:
        """The owner's answer; or ends the call as the owner did."""
        return await self._passed_on(self._stub.Answer, request, caller, context)

    async def feed_back(self, request: cascade_pb2.FeedbackRequest, caller: str, context: _Context) -> Any:
        """Pass feedback on, after what it may be about."""
        await self._tell()
        return await self._passed_on(self._stub.Feedback, request, caller, context)

    async def _passed_on(self, call: Any, request: Any, caller: str, context: _Context) -> Any:
        try:
            return await call(request, timeout=context.time_remaining(), metadata=call_metadata(caller))
        except aio.AioRpcError as error:
            said: Iterable[Any] = error.trailing_metadata() or ()
            trailing = tuple((key, value) for key, value in said if key in _TOLD)
            if not trailing and error.code() is grpc.StatusCode.UNAVAILABLE:
                raise UnavailableError(_RESTARTS) from error
            await context.abort(error.code(), error.details() or "", trailing)

    async def snapshots(self) -> AsyncIterator[Snapshot]:
        """What the owner tells, whenever something has changed; ends with the owner."""
        async for told in self._channel.unary_stream(f"/{SERVICE}/{WATCH}", bytes, bytes)(pickle.dumps(self._worker)):
            yield pickle.loads(told)

    async def applied(self, epoch: int) -> None:
        """Say that everything of an epoch is known here."""
        await self._channel.unary_unary(f"/{SERVICE}/{APPLIED}", bytes, bytes)(pickle.dumps((self._worker, epoch)))

    def note(self, note: Note) -> None:
        """Let the owner know of an answer, soon."""
        if len(self._notes) < _MOST_NOTES:
            self._notes.append(note)

    async def tell_notes(self) -> None:
        """Tell the owner of answers, many at once, until cancelled."""
        while True:
            await asyncio.sleep(TELL_SECONDS)
            await self._tell()

    async def _tell(self) -> None:
        if self._notes:
            notes, self._notes = self._notes, []
            await self._channel.unary_unary(f"/{SERVICE}/{TELL}", bytes, bytes)(pickle.dumps(notes))

    async def close(self) -> None:
        """Tell the rest, and hang up."""
        with contextlib.suppress(aio.AioRpcError):  # the owner is gone, and with it whoever would ask
            await self._tell()
        await self._channel.close(None)
