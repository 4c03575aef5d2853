"""Asking the next tier: what is cancelled ends, whatever comes in that very moment."""

import asyncio

import pytest

from edge_agent.upstream.target import Target
from router.v1 import release_pb2


class OneCall:
    """A stream whose next piece comes when the test says so."""

    def __init__(self):
        self.piece = asyncio.get_running_loop().create_future()
        self.asked = asyncio.Event()

    async def read(self):
        self.asked.set()
        return await self.piece

    def cancel(self):
        self.piece.cancel()


class OneChannel:
    """A channel of which only ``Fetch`` is used."""

    def __init__(self, call):
        self._call = call

    def unary_stream(self, *_, **__):
        return lambda *_, **__: self._call

    def unary_unary(self, *_, **__):
        return None

    stream_stream = stream_unary = unary_unary


async def test_a_fetch_that_is_cancelled_as_a_piece_comes_is_cancelled():
    call = OneCall()
    upstream = Target(OneChannel(call), "device-1")
    pieces = upstream.fetch("home", 1, "manifest.json", 0)
    waiting = asyncio.ensure_future(anext(pieces))
    await call.asked.wait()
    call.piece.set_result(release_pb2.FetchChunk(data=b"piece"))
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
