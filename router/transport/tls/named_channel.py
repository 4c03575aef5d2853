"""A channel to a host that goes by a name: once nobody is found there, the name is looked up again within seconds.

gRPC asks again for a name that it could not resolve after two minutes at most, and can't be hurried from Python;
another channel asks at once.

Rules:
 * Looking begins with a call that found nobody. It ends when somebody replies over another channel, which takes over,
   or when the one before is connected again.
 * Any reply counts, a refusal too.
 * Where nobody replies the one before stays: it may know addresses of a name that can't be resolved now.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Callable
from typing import Final

import grpc
from grpc import aio

from router.core.errors import HeadraceError
from router.transport.tls.rotating_channel import Generation, RotatingChannel, RotatingSyncChannel

CHECK_SECONDS = 3.0  # between two checks, give or take half of it
REPLY_SECONDS = 8.0  # that one look is given
HEALTH_CHECK: Final = "/grpc.health.v1.Health/Check"
_NOBODY: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})


class NamedChannel(RotatingChannel):
    """A channel for an event loop. Made inside the running one."""

    def __init__(self, make: Callable[[], aio.Channel]) -> None:
        """Begin with a channel that ``make`` opens."""
        super().__init__(make)
        self._refreshing: asyncio.Task[None] | None = None

    def lost(
        self, told: Callable[[str], None] = lambda details: None, found: Callable[[], None] = lambda: None
    ) -> None:
        """A call found nobody: look for somebody, where that has not begun.

        Args:
            told: Hears what gRPC says of each look in vain.
            found: Called when somebody has replied.
        """
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.ensure_future(self._look(told, found))

    async def close(self, grace: float | None = None) -> None:
        """Close it; calls under way have ``grace`` seconds to end."""
        if self._refreshing is not None:
            self._refreshing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._refreshing
        await super().close(grace)

    async def _look(self, told: Callable[[str], None], found: Callable[[], None]) -> None:
        while True:
            await asyncio.sleep(CHECK_SECONDS * random.uniform(0.5, 1.5))
            if self._newest.channel.get_state() is grpc.ChannelConnectivity.READY:
                return
            before = self._newest
            try:
                other = self._generation()
            except HeadraceError as error:  # the identity can't be read now
                told(str(error))
                continue
            try:
                nobody = await _nobody_at(other.channel)
            except BaseException:
                other.retire()
                raise
            if nobody is None and self._newest is before:
                self._take_over(other)
                found()
                return
            other.retire()
            if nobody is not None:
                told(nobody)


class NamedSyncChannel(RotatingSyncChannel):
    """A channel for callers without an event loop; threads may share it.

    Each call that finds nobody begins one look.
    """

    def __init__(self, make: Callable[[], grpc.Channel]) -> None:
        """Begin with a channel that ``make`` opens."""
        super().__init__(make)
        self._looks = threading.Lock()  # one at a time
        self._is_closed = False

    def lost(self) -> None:
        """A call found nobody: look for somebody, unless that is being done.

        Raises:
            HeadraceError: No other channel can be opened.
        """
        if self._is_closed or not self._looks.acquire(blocking=False):
            return
        try:
            before, other = self._newest, self._generation()
            call = other.channel.unary_unary(HEALTH_CHECK, bytes, bytes).future(b"", timeout=REPLY_SECONDS)
        except BaseException:
            self._looks.release()
            raise
        call.add_done_callback(lambda done: self._looked(done.code() not in _NOBODY, before, other))

    def close(self) -> None:
        """Close it; calls under way end."""
        self._is_closed = True
        super().close()

    def _looked(self, is_found: bool, before: Generation, other: Generation) -> None:
        if is_found and self._newest is before and not self._is_closed:
            self._take_over(other)
        else:
            other.retire()
        self._looks.release()


async def _nobody_at(channel: aio.Channel) -> str | None:
    """What gRPC says of a channel over which nobody replies, ``None`` where somebody does."""
    try:
        await channel.unary_unary(HEALTH_CHECK, bytes, bytes)(b"", timeout=REPLY_SECONDS)
    except aio.AioRpcError as error:
        return (error.details() or error.code().name) if error.code() in _NOBODY else None
    return None
