"""The next tier, and whether it can be asked.

Rules:
 * One channel to one target, and one more connection for fetching releases, which gives way: while a query is on its
   way the next piece waits, ``GIVE_WAY_SECONDS`` at most. What went wrong comes out as an error of ``errors``,
   and nothing else.
 * Who has a student asks once (``ask``): it fails fast, since a local answer stands behind it. gRPC retries by its
   service config within that one call, and nothing retries around it.
 * Who has none asks patiently (``ask_patiently``): waiting costs less than an error. The call waits for the channel
   itself (``wait_for_ready``), and gRPC's retries carry it over a gateway that is killed and comes back. Only when
   gRPC has given up (five attempts, or its throttle) another call starts, after a pause, with the same query id. So
   the two layers follow each other instead of multiplying: five sends and then a pause, until the time is over. The
   gateway answers a repeated id from its store.
 * An answer under another query's id is no answer.
 * Any reply, a refusal too, shows that the tier is alive and closes the breaker.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any, TypeVar

import grpc

from edge_agent.upstream.circuit_breaker import Breaker, State
from edge_agent.upstream.reachability import Reach
from router.core.domain.feedback import Feedback
from router.core.domain.query import Answer, Query, Reason
from router.core.errors import (
    BadInputError,
    CallerError,
    DeadlineError,
    DeniedError,
    NotPossibleError,
    OverloadedError,
    RevokedError,
    ServiceError,
    SpentError,
    UnavailableError,
)
from router.core.release.orders import DeviceReport, Orders
from router.transport.channel import call_error
from router.transport.feedback_wire import feedback_to_proto
from router.transport.fleet_wire import orders_from_proto, report_to_proto
from router.transport.limit_checks import check_message
from router.transport.telemetry_names import META_DEVICE, META_ERROR
from router.transport.trace_context import inject
from router.transport.wire import answer_from_proto, query_to_proto
from router.v1 import cascade_pb2_grpc, fleet_pb2_grpc, release_pb2, release_pb2_grpc

T = TypeVar("T")
log = logging.getLogger(__name__)

DEFAULT_PUSHBACK_SECONDS = 1.0
SHORTEST_FAIR_CALL = 0.25  # seconds; a call that was given less says nothing about the tier when it runs out
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 2.0  # seconds between the calls of a patient one
SYNC_SECONDS = 5.0
GIVE_WAY_SECONDS = 1.0  # that a piece of a release waits for queries
STALLED_SECONDS = 60.0  # without a byte, a fetch is given up


class Upstream:
    """Asks the next tier, on one channel."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        device: str,
        clock: Callable[[], float] = time.monotonic,
        *,
        target: str = "",
        bulk: grpc.aio.Channel | None = None,
    ) -> None:
        """Ask over ``channel``, which leads to ``target``, in the name of ``device``; fetch over ``bulk``."""
        self._cascade = cascade_pb2_grpc.CascadeStub(channel)
        self._fleet = fleet_pb2_grpc.FleetStub(channel)
        self._releases = release_pb2_grpc.ReleasesStub(bulk or channel)
        self._device = device
        self._clock = clock
        self.breaker = Breaker()
        self.reach = Reach(target, clock)
        self.refusal: DeniedError | None = None  # what the tier said when it refused this device last
        self._on_their_way = 0
        self._quiet = asyncio.Event()
        self._quiet.set()

    def obstacle(self) -> Reason | None:
        """Why it can't be asked now, ``None`` when it can."""
        by_state = {State.OPEN: Reason.UNREACHABLE, State.PUSHED_BACK: Reason.REFUSED}
        return by_state.get(self.breaker.state(self._clock()))

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
        """The next tier's answer, however long it is away within ``seconds``.

        Raises:
            UnavailableError: The time is over, or the tier takes this device no more.
            NotPossibleError: The answer can't be read.
            HeadraceError: What the tier said.
        """
        ends = self._clock() + seconds
        pause = FIRST_PAUSE
        while True:
            try:
                return await self._ask(query, max(0.001, ends - self._clock()), patient=True)
            except RevokedError as error:
                raise UnavailableError("the cloud refuses this device, whose certificate was revoked") from error
            except (CallerError, DeniedError, SpentError):
                raise
            except ServiceError as error:
                if isinstance(error.__cause__, BadInputError):
                    raise NotPossibleError(str(error)) from error  # it will be no better the next time
                told = error.retry_after if isinstance(error, OverloadedError) else None
                rest = (pause if told is None else told) * random.uniform(1.0, 1.5)
                if isinstance(error, DeadlineError) or rest >= ends - self._clock():
                    raise UnavailableError(f"no answer within {seconds:.1f} s: {error}") from error
            await asyncio.sleep(rest)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def feed_back(self, feedback: Feedback, seconds: float) -> None:
        """Pass on what a caller thinks, with the attempt of this tier.

        Args:
            feedback: Of a caller of this device.
            seconds: Most time to take.

        Raises:
            HeadraceError: What the tier said, or why it can't be reached.
        """
        call = self._cascade.Feedback(feedback_to_proto(feedback), timeout=seconds, metadata=self._metadata())
        await self._result(call)

    async def sync(self, report: DeviceReport) -> Orders:
        """Report to the fleet, and hear what to run. Waits a few seconds for a tier that is away.

        Raises:
            HeadraceError: What the tier said, or why there is no answer.
        """
        call = self._fleet.Sync(
            report_to_proto(report), timeout=SYNC_SECONDS, metadata=self._metadata(), wait_for_ready=True
        )
        try:
            return orders_from_proto(await self._result(call))
        except DeadlineError:
            self.reach.failed(f"no reply within {SYNC_SECONDS:.0f} s")
            raise
        except BadInputError as error:
            raise ServiceError(f"the next tier's orders can't be read: {error}") from error

    async def fetch(self, task: str, release: int, file: str, offset: int) -> AsyncIterator[bytes]:
        """The bytes of a release's file from ``offset`` on, as they come.

        Raises:
            HeadraceError: What the tier said, or why it ended early.
        """
        request = release_pb2.FetchRequest(task=task, release=release, file=file, offset=offset)
        call = self._releases.Fetch(request, metadata=self._metadata())
        try:
            while isinstance(chunk := await self._piece(call), release_pb2.FetchChunk):
                check_message(chunk)
                if chunk.offset != offset:
                    raise UnavailableError(f"{file} came from byte {chunk.offset} on, and {offset} was next")
                offset += len(chunk.data)
                yield chunk.data
        except grpc.aio.AioRpcError as error:
            raise call_error(error) from error
        except BadInputError as error:
            raise ServiceError(f"{file} can't be read: {error}") from error
        except TimeoutError as error:
            raise UnavailableError(f"{file} did not move for {STALLED_SECONDS:.0f} s") from error
        finally:
            call.cancel()

    async def _piece(self, call: grpc.aio.UnaryStreamCall[Any, T]) -> T | Any:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GIVE_WAY_SECONDS):
                await self._quiet.wait()
        async with asyncio.timeout(STALLED_SECONDS):  # wait_for would swallow a cancel that comes with the piece
            return await call.read()

    @contextlib.contextmanager
    def _goes(self) -> Iterator[None]:
        """Something that somebody waits for is on its way."""
        self._on_their_way += 1
        self._quiet.clear()
        try:
            yield
        finally:
            self._on_their_way -= 1
            if not self._on_their_way:
                self._quiet.set()

    async def _ask(self, query: Query, seconds: float, *, patient: bool) -> Answer:
        call = self._cascade.Answer(
            query_to_proto(query), timeout=seconds, metadata=self._metadata(), wait_for_ready=patient
        )
        try:
            with self._goes():
                response = await self._result(call)
        except SpentError:
            self.breaker.succeeded()  # it concerns one task; the others go on
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
        trailing: Iterable[Any] = error.trailing_metadata() or ()
        is_reply = any(key == META_ERROR for key, _ in trailing)
        if is_reply or error.code() is not grpc.StatusCode.UNAVAILABLE:
            if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                self.reach.replied()
            return
        self.reach.failed((error.details() or "no reply").rpartition(": ")[2])

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return ((META_DEVICE, self._device), *inject().items())
