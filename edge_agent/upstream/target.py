"""One target of the next tier, and whether it can be asked.

Rules:
 * One channel, and one more connection for fetching releases, which gives way to queries. What went wrong comes out as
   an error of ``errors``, and nothing else.
 * ``ask`` fails fast. gRPC retries by its service config within that one call, and nothing here retries around it.
 * ``ask_patiently`` waits for the channel itself (``wait_for_ready``), and gRPC's retries carry it over a gateway that
   is killed and comes back.
 * An answer under another query's id is no answer.
 * Any reply, a refusal too, shows that the tier is alive and closes the breaker.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, TypeVar

import grpc

from edge_agent.upstream.circuit_breaker import Breaker, State
from edge_agent.upstream.giving_way import GivingWay
from edge_agent.upstream.reachability import Reach
from router.core.domain.feedback import Feedback
from router.core.domain.query import Answer, Query, Reason
from router.core.errors import (
    BadInputError,
    BusyError,
    CallerError,
    DeadlineError,
    DeniedError,
    OverloadedError,
    ServiceError,
    SpentError,
    UnavailableError,
)
from router.core.release.orders import Orders
from router.core.release.reports import DeviceReport
from router.transport.channel import call_error, found_nobody
from router.transport.feedback_wire import feedback_to_proto
from router.transport.fleet_wire import orders_from_proto, report_to_proto
from router.transport.limit_checks import check_message
from router.transport.tls.named_channel import HEALTH_CHECK, NamedChannel
from router.transport.trace_context import call_metadata
from router.transport.wire import answer_from_proto, query_to_proto
from router.v1 import cascade_pb2_grpc, fleet_pb2_grpc, release_pb2, release_pb2_grpc

T = TypeVar("T")
log = logging.getLogger(__name__)

DEFAULT_PUSHBACK_SECONDS = 1.0
SHORTEST_FAIR_CALL = 0.25  # seconds; a call that was given less says nothing about the tier when it runs out
SYNC_SECONDS = 5.0
WHY_SECONDS = 1.0
STALLED_SECONDS = 60.0  # without a byte, a fetch is given up


class Target:
    """Asks one target of the next tier, on one channel."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        device: str,
        clock: Callable[[], float] = time.monotonic,
        *,
        target: str = "",
        bulk: grpc.aio.Channel | None = None,
        way: GivingWay | None = None,
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            channel: For queries and reports.
            device: In whose name it asks.
            clock: Seconds that never run backwards.
            target: Where the channels lead.
            bulk: For releases.
            way: Shared with the other targets.
        """
        self._cascade = cascade_pb2_grpc.CascadeStub(channel)
        self._fleet = fleet_pb2_grpc.FleetStub(channel)
        self._releases = release_pb2_grpc.ReleasesStub(bulk or channel)
        self._health = channel.unary_unary(HEALTH_CHECK, bytes, bytes)
        self._device = device
        self._clock = clock
        self.breaker = Breaker()
        self.reach = Reach(target, clock)
        self.refusal: DeniedError | None = None  # what the tier said when it refused this device last
        self._way = way or GivingWay()
        self._named, self._named_bulk = (one if isinstance(one, NamedChannel) else None for one in (channel, bulk))
        self.name = target

    @property
    def is_named(self) -> bool:
        """Whether its host is a name, which is looked up again on another channel while nobody is found."""
        return self._named is not None

    def obstacle(self) -> Reason | None:
        """Why it can't be asked now, ``None`` when it can."""
        state = self.breaker.state(self._clock())
        if state is State.CLOSED:
            return None
        return Reason.UNREACHABLE if state is State.OPEN else Reason.REFUSED

    async def ask(self, query: Query, seconds: float) -> Answer:
        """The next tier's answer, or soon an error.

        Args:
            query: With the attempt of this tier.
            seconds: Most time to take.

        Raises:
            HeadraceError: What the tier said, or why there is no answer.
        """
        now = self._clock()
        if not self.breaker.admit(now):
            wait = self.breaker.next_admission(now)
            if self.obstacle() is Reason.REFUSED:
                raise OverloadedError("the next tier asked to be left alone", retry_after=wait)
            raise UnavailableError(f"the next tier did not answer lately; it is asked again in {wait:.1f} s")
        return await self._ask(query, seconds, patient=False)

    async def ask_patiently(self, query: Query, seconds: float) -> Answer:
        """Ask like ``ask``, but wait for a target that is away, and ask however it fared lately.

        Raises:
            HeadraceError: What the tier said, or why there is no answer.
        """
        return await self._ask(query, seconds, patient=True)

    async def feed_back(self, feedback: Feedback, seconds: float) -> None:
        """Pass on what a caller thinks, with the attempt of this tier.

        Args:
            feedback: Of a caller of this device.
            seconds: Most time to take.

        Raises:
            HeadraceError: What the tier said, or why it can't be reached.
        """
        call = self._cascade.Feedback(
            feedback_to_proto(feedback), timeout=seconds, metadata=call_metadata(self._device)
        )
        await self._result(call)

    async def sync(self, report: DeviceReport, *, patient: bool) -> Orders:
        """Report to the fleet, and hear what to run. ``patient``: waits a few seconds for a target that is away.

        Raises:
            HeadraceError: What the tier said, or why there is no answer.
        """
        call = self._fleet.Sync(
            report_to_proto(report), timeout=SYNC_SECONDS, metadata=call_metadata(self._device), wait_for_ready=patient
        )
        try:
            return orders_from_proto(await self._result(call))
        except DeadlineError:
            self._found_nobody(await self._why_nobody() or f"no reply within {SYNC_SECONDS:.0f} s")
            raise
        except BadInputError as error:
            raise ServiceError(f"the next tier's orders can't be read: {error}") from error

    async def fetch(self, task: str, release: int, file: str, offset: int) -> AsyncGenerator[bytes]:
        """The bytes of a release's file from ``offset`` on, as they come.

        Raises:
            HeadraceError: What the tier said, or why it ended early.
        """
        request = release_pb2.FetchRequest(task=task, release=release, file=file, offset=offset)
        call = self._releases.Fetch(request, metadata=call_metadata(self._device))
        try:
            while isinstance(chunk := await self._piece(call), release_pb2.FetchChunk):
                check_message(chunk)
                if chunk.offset != offset:
                    raise UnavailableError(f"{file} came from byte {chunk.offset} on, and {offset} was next")
                offset += len(chunk.data)
                yield chunk.data
        except grpc.aio.AioRpcError as error:
            if self._named_bulk is not None and found_nobody(error):
                self._named_bulk.lost()
            raise call_error(error) from error
        except BadInputError as error:
            raise ServiceError(f"{file} can't be read: {error}") from error
        except TimeoutError as error:
            raise UnavailableError(f"{file} did not move for {STALLED_SECONDS:.0f} s") from error
        finally:
            call.cancel()

    async def _piece(self, call: grpc.aio.UnaryStreamCall[Any, T]) -> T | Any:
        await self._way.quiet()
        async with asyncio.timeout(STALLED_SECONDS):  # wait_for would swallow a cancel that comes with the piece
            return await call.read()

    async def _ask(self, query: Query, seconds: float, *, patient: bool) -> Answer:
        call = self._cascade.Answer(
            query_to_proto(query), timeout=seconds, metadata=call_metadata(self._device), wait_for_ready=patient
        )
        try:
            with self._way.goes():
                response = await self._result(call)
        except (SpentError, BusyError):
            self.breaker.succeeded()  # it concerns one task or teacher; the others go on
            raise
        except OverloadedError as error:
            wait = DEFAULT_PUSHBACK_SECONDS if error.retry_after is None else error.retry_after
            self.breaker.pushed_back(self._clock(), wait)
            raise
        except DeadlineError:
            if seconds >= SHORTEST_FAIR_CALL:
                self.breaker.failed(self._clock())
            raise
        except (CallerError, DeniedError):
            self.breaker.succeeded()
            raise
        except ServiceError:
            self.breaker.failed(self._clock())
            raise
        self.breaker.succeeded()
        try:
            answer = answer_from_proto(response)
        except BadInputError as error:
            raise ServiceError(f"the next tier's answer can't be read: {error}") from error
        if answer.query_id != query.id:
            log.error("query %s got an answer to %r from the next tier; it is not used", query.id, answer.query_id)
            raise ServiceError("the next tier answered another query")
        return answer

    async def _result(self, call: Awaitable[T]) -> T:
        try:
            result = await call
        except grpc.aio.AioRpcError as error:
            self._note(error)
            meant = call_error(error)
            self.refusal = meant if isinstance(meant, DeniedError) else self.refusal
            raise meant from error
        self.reach.replied()
        self.refusal = None
        return result

    def _note(self, error: grpc.aio.AioRpcError) -> None:
        """What a failed call says of the way there. A deadline that passed on one query says nothing."""
        if found_nobody(error):
            self._found_nobody(error.details() or "")
        elif error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
            self.reach.replied()

    async def _why_nobody(self) -> str:
        """What gRPC says of a channel that was waited for in vain; empty where it says nothing."""
        try:
            await self._health(b"", timeout=WHY_SECONDS)
        except grpc.aio.AioRpcError as error:
            return (error.details() or "") if found_nobody(error) else ""
        return ""

    def _found_nobody(self, details: str) -> None:
        self.reach.failed(details)
        if self._named is not None:
            self._named.lost(self.reach.looked, self.reach.replied)
