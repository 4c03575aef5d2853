"""A channel whose certificate changes without a call that fails: a second one takes over while the first drains.

gRPC's Python clients can't show another certificate on a channel that is open.

Rules:
 * New calls go over the newest channel; those under way end on theirs, and the last of them closes it.
 * The newest takes over once it is connected. Where it can't connect and the one before is, that one goes on.
 * It stands in for a channel wherever a stub is made, and in nothing else.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import grpc
from grpc import aio

from router.core.errors import UnavailableError

CONNECT_SECONDS = 10.0


class Generation:
    """One channel, its calls under way, and its stubs' methods."""

    def __init__(self, channel: Any, close: Callable[[Any], None]) -> None:
        self.channel = channel
        self._close = close
        self._lock = threading.Lock()
        self._calls = 0
        self._is_old = False
        self._methods: dict[tuple[str, str], Any] = {}

    def method(self, kind: str, path: str, options: dict[str, Any]) -> Any:
        """A method of the channel, made once."""
        found = self._methods.get((kind, path))
        if found is None:
            found = self._methods[(kind, path)] = getattr(self.channel, kind)(path, **options)
        return found

    def begin(self) -> bool:
        """A call begins here, unless this has had its time."""
        with self._lock:
            self._calls += not self._is_old
            return not self._is_old

    def end(self, _: object = None) -> None:
        """A call has ended; the last one of an old channel closes it."""
        with self._lock:
            self._calls -= 1
            is_over = self._is_old and not self._calls
        if is_over:
            self._close(self.channel)

    def retire(self) -> None:
        """End its time: no call begins here any more."""
        with self._lock:
            was_old, self._is_old = self._is_old, True
            is_over = not was_old and not self._calls
        if is_over:
            self._close(self.channel)


class _Rotating:
    """What both kinds of channel share."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._newest = self._generation()

    def _generation(self) -> Generation:
        raise NotImplementedError

    def _take_over(self, newest: Generation) -> None:
        before, self._newest = self._newest, newest
        before.retire()

    def _begin(self) -> Generation:
        while True:
            newest = self._newest
            if newest.begin():
                return newest

    def unary_unary(self, path: str, *serialisers: Any, **options: Any) -> Any:
        """The call of the channel in use."""
        return self._method("unary_unary", path, serialisers, options)

    def unary_stream(self, path: str, *serialisers: Any, **options: Any) -> Any:
        """The call of the channel in use."""
        return self._method("unary_stream", path, serialisers, options)

    def stream_unary(self, path: str, *serialisers: Any, **options: Any) -> Any:
        """The call of the channel in use."""
        return self._method("stream_unary", path, serialisers, options)

    def stream_stream(self, path: str, *serialisers: Any, **options: Any) -> Any:
        """The call of the channel in use."""
        return self._method("stream_stream", path, serialisers, options)

    def _method(self, kind: str, path: str, serialisers: tuple[Any, ...], options: dict[str, Any]) -> Any:
        named = dict(zip(("request_serializer", "response_deserializer"), serialisers, strict=False))
        return self._late(kind, path, {**named, **options})

    def _late(self, kind: str, path: str, options: dict[str, Any]) -> Any:
        raise NotImplementedError


class RotatingChannel(_Rotating):
    """A channel for an event loop. Made inside the running one."""

    def __init__(self, make: Callable[[], aio.Channel]) -> None:
        """Begin with a channel that ``make`` opens."""
        self._closing: set[asyncio.Task[None]] = set()
        super().__init__(make)

    async def rotate(self) -> None:
        """Open another channel, and let it take over.

        Raises:
            HeadraceError: It can't be opened, or is not taken where the one before is; that one goes on.
        """
        newest = self._generation()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await newest.channel.channel_ready()
        except TimeoutError:  # else nobody is there now, for either of them
            if self._newest.channel.get_state() is grpc.ChannelConnectivity.READY:
                newest.retire()
                raise UnavailableError(
                    "what is to be shown from now on is not taken; what was shown before is"
                ) from None
        self._take_over(newest)

    async def channel_ready(self) -> None:
        """Return when it is connected."""
        await self._newest.channel.channel_ready()

    async def close(self, grace: float | None = None) -> None:
        """Close it; calls under way have ``grace`` seconds to end."""
        await self._newest.channel.close(grace)
        if self._closing:
            await asyncio.wait(self._closing, timeout=grace)

    def _generation(self) -> Generation:
        return Generation(self._make(), self._close)

    def _close(self, channel: aio.Channel) -> None:
        task = asyncio.ensure_future(channel.close(None))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _late(self, kind: str, path: str, options: dict[str, Any]) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            generation = self._begin()
            try:
                made = generation.method(kind, path, options)(*arguments, **named)
            except BaseException:
                generation.end()
                raise
            made.add_done_callback(generation.end)
            return made

        return call


class RotatingSyncChannel(_Rotating):
    """A channel for callers without an event loop; threads may share it."""

    def __init__(self, make: Callable[[], grpc.Channel]) -> None:
        """Begin with a channel that ``make`` opens."""
        super().__init__(make)

    def rotate(self) -> None:
        """Open another channel, and let it take over; it connects with its first call.

        Raises:
            HeadraceError: It can't be opened; the one before goes on.
        """
        newest = self._generation()
        self._take_over(newest)

    def close(self) -> None:
        """Close it; calls under way end."""
        self._newest.channel.close()

    def _generation(self) -> Generation:
        return Generation(self._make(), lambda channel: channel.close())

    def _late(self, kind: str, path: str, options: dict[str, Any]) -> Any:
        return _LateSync(self, kind, path, options)


class _LateSync:
    """One method of a channel that rotates."""

    def __init__(self, owner: RotatingSyncChannel, kind: str, path: str, options: dict[str, Any]) -> None:
        self._owner, self._kind, self._path, self._options = owner, kind, path, options

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        generation = self._owner._begin()
        try:
            made = generation.method(self._kind, self._path, self._options)(*arguments, **named)
        except BaseException:
            generation.end()
            raise
        if self._kind.endswith("_unary") or not made.add_callback(generation.end):
            generation.end()  # it is over
        return made

    def future(self, *arguments: Any, **named: Any) -> Any:
        generation = self._owner._begin()
        try:
            made = generation.method(self._kind, self._path, self._options).future(*arguments, **named)
        except BaseException:
            generation.end()
            raise
        made.add_done_callback(generation.end)
        return made
