"""Whoever answers at the cloud's address and is none: an agent and a client say so, and live on."""

import asyncio

import grpc
import pytest

from router.client.async_client import AsyncClient
from router.core.errors import ServiceError


class Stranger(grpc.GenericRpcHandler):
    """Answers every call alike."""

    def __init__(self, answer):
        self._answer = answer
        self.calls = 0
        self._called = asyncio.Condition()

    def service(self, handler_call_details):
        async def say(request, context):
            async with self._called:
                self.calls += 1
                self._called.notify_all()
            if isinstance(self._answer, grpc.StatusCode):
                await context.abort(self._answer, "boom")
            return self._answer

        return grpc.unary_unary_rpc_method_handler(say)

    async def until(self, calls):
        async with asyncio.timeout(120), self._called:
            await self._called.wait_for(lambda: self.calls >= calls)


@pytest.fixture
async def at(request):
    stranger = Stranger(request.param)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((stranger,))
    stranger.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield stranger
    await server.stop(None)


ODD = [b"\xff\xff\xff", b"\x0a\xff\xff\xff\xff\x0f", grpc.StatusCode.INTERNAL, grpc.StatusCode.PERMISSION_DENIED]


@pytest.mark.parametrize("at", ODD, indirect=True)
async def test_an_agent_whose_cloud_is_a_stranger_says_so_with_its_address_and_goes_on(at, harness, caplog):
    await harness.start(target=at.target)
    await at.until(calls=2)
    assert f"could not sync with {at.target}: " in caplog.text
    assert not harness.running.done()


@pytest.mark.parametrize("at", ODD, indirect=True)
async def test_a_client_whose_target_is_a_stranger_hears_an_error(at):
    async with AsyncClient(at.target, insecure=True, deadline=5) as client:
        with pytest.raises(ServiceError):
            await client.ask("light", "home")


async def test_a_warm_agent_whose_cloud_becomes_a_stranger_keeps_answering(warm, cloud):
    port = int(cloud.target.rpartition(":")[2])
    await cloud.stop()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Stranger(b"\xff\xff\xff"),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        for text in ("light", "novel"):
            assert (await warm.ask(text, seconds=5)).text
    finally:
        await server.stop(None)
