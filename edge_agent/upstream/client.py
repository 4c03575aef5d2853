"""The next tier, which has one target or several: gateways of the same cloud, in the order in which they are wanted.

Rules:
 * Each target has a breaker of its own. A call goes to the first whose breaker lets it; so all come back to the first
   target as soon as a probe of it succeeds.
 * Where a target can't be reached, the same call goes on to the next one while there is time. That is safe: the cloud
   keeps one answer by caller, query id and teacher, whichever gateway takes the query. A call that was refused, shed or
   failed on is not carried to another, which would be no kinder; the breaker remembers it for the next call.
 * A probe is given half of the time while there is another target, so that one that swallows calls costs no answer.
 * Who has a student asks once (``ask``): it fails fast, since a local answer stands behind it.
 * Who has none asks patiently (``ask_patiently``): waiting costs less than an error. Where there is one target the call
   waits for its channel, unless that has a name: another channel may take over meanwhile. When gRPC has given up (five
   attempts, or its throttle), or all targets have failed, another call starts, after a pause, with the same query id,
   until the time is over.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import TypeVar

from edge_agent.upstream.circuit_breaker import Breaker
from edge_agent.upstream.target import Target
from router.core.domain.feedback import Feedback
from router.core.domain.query import Answer, Query, Reason
from router.core.errors import (
    BadInputError,
    BusyError,
    CallerError,
    DeadlineError,
    DeniedError,
    HeadraceError,
    NotPossibleError,
    OverloadedError,
    RevokedError,
    ServiceError,
    SpentError,
    UnavailableError,
)
from router.core.release.orders import Orders
from router.core.release.reports import DeviceReport
from router.transport.channel import FULL_SECONDS
from router.transport.connection_failures import ConnectionFailure

T = TypeVar("T")
log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 2.0  # seconds between the calls of a patient one
MOST_ASKED = 1000  # queries on their way at a time; one more is refused, and answered here where that can be
LEAST_SECONDS = 0.01  # with less, no other target is tried


class Upstream:
    """Asks the next tier."""

    def __init__(self, targets: Sequence[Target], clock: Callable[[], float] = time.monotonic) -> None:
        """Ask these, the first one first. ``clock`` gives seconds that never run backwards."""
        self._targets = tuple(targets)
        self._clock = clock
        self._in_use = self._targets[0]
        self._asked = 0

    @property
    def in_use(self) -> str:
        """The target that replied last; at first the first."""
        return self._in_use.name

    @property
    def breaker(self) -> Breaker:
        """The circuit breaker of the target in use."""
        return self._in_use.breaker

    @property
    def refusal(self) -> DeniedError | None:
        """What the target in use said when it refused this device last."""
        return self._in_use.refusal

    @property
    def is_away(self) -> bool:
        """Whether nothing has answered at any target since calls to each failed."""
        return all(target.reach.is_away for target in self._targets)

    @property
    def failures(self) -> tuple[tuple[str, ConnectionFailure | None], ...]:
        """Each target with why it is away, ``None`` where it is not."""
        return tuple((target.name, target.reach.failure) for target in self._targets)

    @property
    def _may_wait(self) -> bool:
        """Whether a call may wait for its channel: there is no other, and will be none."""
        return len(self._targets) == 1 and not self._in_use.is_named

    def obstacle(self) -> Reason | None:
        """Why none can be asked now, ``None`` when one can."""
        found = Reason.UNREACHABLE
        for target in self._targets:
            one = target.obstacle()
            if one is None:
                return None
            if one is Reason.REFUSED:
                found = one
        return found

    async def ask(self, query: Query, seconds: float) -> Answer:
        """The next tier's answer, or soon an error.

        Args:
            query: With the attempt of this tier.
            seconds: Most time to take.

        Raises:
            HeadraceError: What the tier said, or why there is no answer.
        """
        with self._under_way():
            return await self._ask(query, seconds, shares=False)

    async def ask_patiently(self, query: Query, seconds: float) -> Answer:
        """The next tier's answer, however long it is away within ``seconds``.

        Raises:
            UnavailableError: The time is over, or the tier takes this device no more.
            NotPossibleError: The answer can't be read.
            HeadraceError: What the tier said.
        """
        with self._under_way():
            return await self._ask_again_and_again(query, seconds)

    @contextmanager
    def _under_way(self) -> Iterator[None]:
        if self._asked >= MOST_ASKED:
            raise OverloadedError(f"{MOST_ASKED} queries are on their way from here already; try again", FULL_SECONDS)
        self._asked += 1
        try:
            yield
        finally:
            self._asked -= 1

    async def _ask_again_and_again(self, query: Query, seconds: float) -> Answer:
        ends = self._clock() + seconds
        pause = FIRST_PAUSE
        while True:
            left = max(0.001, ends - self._clock())
            try:
                if self._may_wait:
                    return await self._noted(self._in_use, self._in_use.ask_patiently(query, left))
                return await self._ask(query, left, shares=True)
            except RevokedError as error:
                raise UnavailableError("the cloud refuses this device, whose certificate was revoked") from error
            except (CallerError, DeniedError, SpentError):
                raise
            except ServiceError as error:
                if isinstance(error.__cause__, BadInputError):
                    raise NotPossibleError(str(error)) from error  # it will be no better the next time
                told = error.retry_after
                rest = (pause if told is None else told) * random.uniform(1.0, 1.5)
                if isinstance(error, BusyError) and rest >= ends - self._clock():
                    raise
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
        ends = self._clock() + seconds
        await self._first_that_replies(lambda target: target.feed_back(feedback, max(0.001, ends - self._clock())))

    async def sync(self, report: DeviceReport) -> Orders:
        """Report to the fleet, and hear what to run. Waits a few seconds for a tier that is away and has one target.

        Raises:
            HeadraceError: What the tier said, or why there is no answer.
        """
        return await self._first_that_replies(lambda target: target.sync(report, patient=self._may_wait))

    async def fetch(self, task: str, release: int, file: str, offset: int) -> AsyncGenerator[bytes]:
        """The bytes of a release's file from ``offset`` on, as they come; from one target, once something came.

        Raises:
            HeadraceError: What the tier said, or why it ended early.
        """
        *others, last = self._choice()
        for target in others:
            async with aclosing(target.fetch(task, release, file, offset)) as pieces:
                try:
                    first = await anext(pieces, None)
                except UnavailableError as error:
                    log.info("%s is fetched from another target than %s: %s", file, target.name, error)
                    continue
                if first is not None:
                    yield first
                async for piece in pieces:
                    yield piece
                return
        async with aclosing(last.fetch(task, release, file, offset)) as pieces:
            async for piece in pieces:
                yield piece

    def _choice(self) -> list[Target]:
        """Whom to ask now, in order: those that can be asked, or else the one that can be the soonest."""
        able = [target for target in self._targets if target.obstacle() is None]
        now = self._clock()
        return able or [min(self._targets, key=lambda target: target.breaker.next_admission(now))]

    async def _ask(self, query: Query, seconds: float, *, shares: bool) -> Answer:
        """Ask in order. ``shares``: each but the last is given half of what is left, not only a probe."""
        ends = self._clock() + seconds
        *others, last = self._choice()
        for target in others:
            left = ends - self._clock()
            share = left / 2 if shares or target.breaker.is_open else left
            try:
                return await self._noted(target, target.ask(query, share))
            except BusyError:
                raise
            except (UnavailableError, DeadlineError):
                if ends - self._clock() < LEAST_SECONDS:
                    raise
        return await self._noted(last, last.ask(query, max(0.001, ends - self._clock())))

    async def _first_that_replies(self, call: Callable[[Target], Awaitable[T]]) -> T:
        *others, last = self._choice()
        for target in others:
            try:
                return await self._noted(target, call(target))
            except (UnavailableError, DeadlineError) as error:
                log.debug("%s did not reply: %s", target.name, error)
        return await self._noted(last, call(last))

    async def _noted(self, target: Target, reply: Awaitable[T]) -> T:
        """Note who replied, a refusal too."""
        try:
            found = await reply
        except HeadraceError as error:
            if isinstance(error, BusyError) or not isinstance(error, UnavailableError | DeadlineError):
                self._uses(target)
            raise
        self._uses(target)
        return found

    def _uses(self, target: Target) -> None:
        if target is not self._in_use:
            log.warning("the next tier is asked at %s from now on, and no more at %s", target.name, self._in_use.name)
            self._in_use = target
