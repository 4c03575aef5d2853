"""A connection that is kept alive by pings alone lasts: the server takes no offence at them."""

import time
from concurrent import futures

import grpc

from router.transport import channel, server


def with_fast_pings(options, name, milliseconds):
    """The options as they are, but for the time between pings, so that many of them come in a second."""
    assert name in dict(options)
    return [(key, milliseconds if key == name else value) for key, value in options]


def test_an_idle_connection_outlives_many_pings():
    theirs = with_fast_pings(
        server._options(2**22, 2**22, server.INTAKE), "grpc.http2.min_ping_interval_without_data_ms", 100
    )
    ours = with_fast_pings(channel._options(2**22, 2**22, 1), "grpc.keepalive_time_ms", 200)
    one = grpc.server(futures.ThreadPoolExecutor(1), options=theirs)
    port = one.add_insecure_port("127.0.0.1:0")
    one.start()
    states = []
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=ours) as idle:
        idle.subscribe(states.append)
        grpc.channel_ready_future(idle).result(10)
        time.sleep(3.0)  # fifteen pings: a server that minds ends the connection at the third
        assert states[-1] is grpc.ChannelConnectivity.READY
    one.stop(0).wait()
