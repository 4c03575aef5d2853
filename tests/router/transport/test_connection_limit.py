"""Many idle connections at a door, and callers who want to get through."""

import asyncio
import contextlib
import resource
import socket
import sys
import time

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from router.transport.channel import open_channel

DOOR = """
import asyncio, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
from router.transport.server import Door
async def main():
    door = Door("127.0.0.1:0", insecure=True)
    print(await door.start(), flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"


@pytest.fixture
async def small_door():
    """A door in a process that has 256 descriptors."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", DOOR), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    yield int(await asyncio.wait_for(process.stdout.readline(), 120))
    process.kill()
    await process.wait()


@pytest.mark.parametrize("first_words", [b"", PREFACE], ids=["silent", "greeting"])
async def test_idle_connections_keep_no_caller_out(small_door, first_words):
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with contextlib.ExitStack() as crowd:
        for _ in range(300):
            one = crowd.enter_context(socket.socket())
            one.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                one.connect(("127.0.0.1", small_door))
            await asyncio.sleep(0)
            if first_words:
                with contextlib.suppress(OSError):
                    one.send(first_words)
        took = []
        for _ in range(5):
            started = time.monotonic()
            channel = open_channel(f"127.0.0.1:{small_door}", insecure=True)
            stub = health_pb2_grpc.HealthStub(channel)
            await stub.Check(health_pb2.HealthCheckRequest(), timeout=60, wait_for_ready=True)
            took.append(time.monotonic() - started)
            await channel.close(None)
        assert max(took) < 5, took  # on a quiet machine under 1.5 s
