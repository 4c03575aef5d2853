"""A connection that is kept alive by pings alone lasts: the server takes no offence at them."""

import asyncio

import grpc
from grpc import aio

from router.transport.channel import open_channel
from router.transport.server import Door


def with_fast_pings(make, name, milliseconds):
    """Makes the same, but for the time between pings, so that one comes each second."""

    def made(*given, options, **more):
        assert name in dict(options)
        return make(*given, options=[(key, milliseconds if key == name else value) for key, value in options], **more)

    return made


async def test_an_idle_connection_outlives_many_pings(monkeypatch):
    theirs = with_fast_pings(aio.server, "grpc.http2.min_ping_interval_without_data_ms", 500)
    monkeypatch.setattr(aio, "server", theirs)
    monkeypatch.setattr(aio, "insecure_channel", with_fast_pings(aio.insecure_channel, "grpc.keepalive_time_ms", 1_000))
    door = Door("127.0.0.1:0", insecure=True)
    async with open_channel(f"127.0.0.1:{await door.start()}", insecure=True) as idle:
        await asyncio.wait_for(idle.channel_ready(), 120)
        await asyncio.sleep(6.0)  # five pings: a server that minds ends the connection at the third
        assert idle.get_state() is grpc.ChannelConnectivity.READY
    await door.stop(0)
