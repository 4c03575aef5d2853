"""A TCP line between a device and its cloud that can be cut, stalled, slowed, reset or lossy, for tests.

What a line loses TCP sends again: a lossy line delays what it carries by the time of that, here drawn with a seed.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import Coroutine
from enum import StrEnum
from types import TracebackType
from typing import Any, Self

DELAY_SECONDS = 0.4  # of each piece on a slow line
AGAIN_SECONDS = (0.2, 0.6)  # until a lost piece is sent again
LOST_SHARE = 0.3
PIECE_BYTES = 4096
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: a close is a reset


class Line(StrEnum):
    """What a line does."""

    GOOD = "good"
    CUT = "cut"  # nobody listens, and what was connected is closed
    STALLED = "stalled"  # half-open: connections stay, and nothing comes through
    SLOW = "slow"
    RESET = "reset"  # each connection is reset at its first byte
    LOSSY = "lossy"


class BadLine:
    """Carries connections to one address, as well as its ``state`` says."""

    def __init__(self, target: str, seed: int = 0) -> None:
        """Lead to ``target``, as ``host:port``."""
        self._host, _, port = target.rpartition(":")
        self._to, self._draw = int(port), random.Random(seed)
        self._port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._state, self._changed = Line.GOOD, asyncio.Event()

    @property
    def target(self) -> str:
        """Where it is dialled."""
        return f"127.0.0.1:{self._port}"

    async def be(self, state: Line) -> None:
        """Do so from now on; what is connected hears of it."""
        self._state = state
        self._changed.set()
        self._changed = asyncio.Event()
        if state in {Line.CUT, Line.RESET}:
            self._end(reset=state is Line.RESET)
        if state is Line.CUT:
            self._close()
        elif self._server is None:
            await self._listen()

    async def __aenter__(self) -> Self:
        """Listen."""
        await self._listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close everything."""
        self._close()
        self._end(reset=False)
        for task in self._tasks:
            task.cancel()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _end(self, *, reset: bool) -> None:
        for writer in self._writers:
            if reset:
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort() if reset else writer.close()
        self._writers.clear()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._host, self._to)
        self._writers |= {writer, back}
        self._spawn(self._carry(reader, back))
        self._spawn(self._carry(there, writer))

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(PIECE_BYTES):
                await self._hold()
                writer.write(data)
                await writer.drain()
        writer.close()

    async def _hold(self) -> None:
        """Keep a piece back as the state says."""
        while self._state is Line.STALLED:
            await self._changed.wait()
        if self._state is Line.RESET:
            self._end(reset=True)
        elif self._state is Line.SLOW:
            await asyncio.sleep(DELAY_SECONDS)
        elif self._state is Line.LOSSY and self._draw.random() < LOST_SHARE:
            await asyncio.sleep(self._draw.uniform(*AGAIN_SECONDS))
