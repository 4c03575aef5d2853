"""Ask from inside an event loop: as ``blocking_client.py`` does, by the same rules.

async with AsyncClient("127.0.0.1:7701", insecure=True) as client:
print((await client.ask("turn the heating down", "home")).text)
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NoReturn, Self, Unpack

import grpc
from grpc import aio
from opentelemetry.trace import Tracer

from router.client.failover import Wait
from router.client.identity import ClientIdentity
from router.client.lifetime import Lifetime
from router.client.request import DEFAULT_DEADLINE_SECONDS, AskOptions, caller, first_to_tell, opinion_of, query_of
from router.core.domain.feedback import Feedback
from router.core.domain.query import Answer, Query
from router.core.errors import HeadraceError, NotPossibleError
from router.transport.channel import call_error
from router.v1 import cascade_pb2_grpc

_log = logging.getLogger(__name__)


class AsyncClient:
    """A client like ``Client``, inside an event loop, for as many questions at a time as wanted.

    Belongs to one loop at a time: a loop that has ended, as ``asyncio.run`` ends its own, makes room for the next.
    """

    def __init__(
        self,
        targets: str | Sequence[str],
        *,
        insecure: bool = False,
        identity: str | Path | None = None,
        device: str = "",
        deadline: float = DEFAULT_DEADLINE_SECONDS,
        tracer: Tracer | None = None,
    ) -> None:
        self._identity = ClientIdentity(identity)
        self._caller = caller(targets, insecure, device, deadline, tracer, self._identity.is_there)
        self._life = Lifetime("AsyncClient")
        self._insecure = insecure
        self._loop: asyncio.AbstractEventLoop | None = None
        self._channels: list[Any] = []
        self._stubs: list[cascade_pb2_grpc.CascadeAsyncStub] = []

    async def ask(self, text: str, task: str, **options: Unpack[AskOptions]) -> Answer:
        """Ask one question, as ``Client.ask`` does.

        Args:
            text: The question.
            task: The task that it belongs to.
            **options: See ``AskOptions``.

        Raises:
            TypeError: An option that there is not.
            CallerError: The question is not one that can be answered, or the client is closed; says what to change.
            ServiceError: No target answered before the deadline; asking again may help.
        """
        return await self.answer(query_of(text, task, options), options.get("deadline"))

    async def answer(self, query: Query, deadline: float | None = None) -> Answer:
        """Ask a whole ``Query``, as ``Client.answer`` does.

        Args:
            query: What is asked.
            deadline: Seconds; the client's own if left out.

        Raises:
            CallerError: As in ``ask``.
            ServiceError: As in ``ask``.
        """
        with self._alive(), self._caller.asking(query, deadline) as asked:
            step = next(asked.steps)
            while True:
                if isinstance(step, Wait):
                    await self._wait(step)
                    step = asked.steps.send(None)
                    continue
                try:
                    response = await self._stubs[step.target].Answer(
                        asked.request, timeout=step.seconds, metadata=asked.metadata
                    )
                except grpc.RpcError as error:
                    self._life.check()
                    self._identity.failed(self._channels[step.target], error)
                    step = asked.steps.send(call_error(error, self._caller.targets[step.target]))
                else:
                    return asked.done(response)

    async def feedback(
        self,
        query_id: str,
        task: str,
        verdict: Literal["right", "wrong"],
        *,
        correction: str = "",
        comment: str = "",
        deadline: float | None = None,
    ) -> None:
        """Say what you think of an answer, as ``Client.feedback`` does.

        Args:
            query_id: Of the answer.
            task: Of the question.
            verdict: ``right`` or ``wrong``.
            correction: What would have been right.
            comment: For the operator.
            deadline: Seconds; the client's own if left out.

        Raises:
            CallerError: No target gave this caller that answer, or a field is out of its range.
            ServiceError: A target could not be asked; trying again may help.
        """
        said = Feedback(query_id, task, opinion_of(verdict), correction, comment)
        giving = self._caller.giving(said, deadline)
        failure: HeadraceError | None = None
        with self._alive():
            for stub, target in zip(self._stubs, self._caller.targets, strict=True):
                try:
                    await stub.Feedback(giving.request, timeout=giving.seconds, metadata=giving.metadata)
                    return
                except grpc.RpcError as error:
                    self._life.check()
                    failure = first_to_tell(failure, call_error(error, target))
        assert failure is not None
        raise failure

    @contextlib.contextmanager
    def _alive(self) -> Iterator[None]:
        """Open the channels at a loop's first question, and say so when the client is closed meanwhile."""
        self._life.check()
        self._enter_loop()
        if not self._channels:
            open_one = self._identity.open
            self._channels = [open_one(target, insecure=self._insecure) for target in self._caller.targets]
            self._stubs = [cascade_pb2_grpc.CascadeStub(channel) for channel in self._channels]
        self._identity.show_to(self._channels)
        try:
            yield
        except asyncio.CancelledError:  # what gRPC raises when the channel is closed, and asyncio when the task is
            task = asyncio.current_task()
            if self._life.closed and not (task and task.cancelling()):
                self._life.check()
            raise
        except aio.UsageError:  # what it raises on a closed channel
            self._life.check()
            raise

    def _enter_loop(self) -> None:
        running = asyncio.get_running_loop()
        if self._loop is running:
            return
        if self._loop is not None and not self._loop.is_closed():
            raise NotPossibleError(
                "another event loop uses this AsyncClient; make one AsyncClient for each loop, or share a Client"
            )
        self._loop, self._channels, self._stubs = running, [], []

    async def _wait(self, step: Wait) -> None:
        if step.reason:
            _log.info("%s", step.reason)
        await asyncio.sleep(step.pause)
        seconds = self._identity.wait_seconds(self._channels, step.seconds)
        watches = [asyncio.ensure_future(channel.channel_ready()) for channel in self._channels]
        try:
            await asyncio.wait(watches, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for watch in watches:
                watch.cancel()
            await asyncio.gather(*watches, return_exceptions=True)

    async def close(self) -> None:
        """Close the channels; calls in flight end. A second time does nothing, nor does it in a forked child.

        Raises:
            NotPossibleError: Another event loop uses the client.
        """
        if self._life.closed or self._life.is_elsewhere:
            return
        self._enter_loop()
        self._life.closed = True
        for channel in self._channels:
            await channel.close(None)

    def __reduce__(self) -> NoReturn:
        self._life.refuse_pickle()

    async def __aenter__(self) -> Self:
        self._life.check()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
