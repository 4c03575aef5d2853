import asyncio
import signal
import socket
import time

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from router.core.errors import (
    BadInputError,
    BusyError,
    ConfigError,
    NotServedError,
    OverloadedError,
    SpentError,
    StartError,
    TooLargeError,
)
from router.transport import telemetry_names
from router.transport.channel import MAX_MESSAGE_BYTES, call_error, open_channel
from router.transport.server import Door, Intake
from router.v1 import cascade_pb2, cascade_pb2_grpc

SERVICE = "headrace.v1.Cascade"


@pytest.fixture
async def channel(door):
    opened = open_channel(door.target, insecure=True, attempts=1)
    yield opened
    await opened.close(None)


@pytest.fixture
def stub(channel):
    return cascade_pb2_grpc.CascadeStub(channel)


def request(text="lights", **more):
    return cascade_pb2.AnswerRequest(query_id="q", task="home", text=text, **more)


async def health(channel, service=""):
    check = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service))
    return health_pb2.HealthCheckResponse.ServingStatus.Name((await check).status)


async def test_an_error_of_ours_travels_with_its_status_and_public_message(stub):
    with pytest.raises(aio.AioRpcError) as caught:
        await stub.Answer(request("bad"))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "text is bad; say something else"
    assert call_error(caught.value).field == "text"


async def test_an_error_in_the_middle_of_a_stream_travels_too(stub):
    got = []
    with pytest.raises(aio.AioRpcError) as caught:
        async for chunk in stub.AnswerStream(request("bad")):
            got.append(chunk.delta)
    assert got == ["a"]
    assert isinstance(call_error(caught.value), BadInputError)


async def test_a_shed_query_says_when_to_come_back(stub):
    with pytest.raises(aio.AioRpcError) as caught:
        await stub.Answer(request("busy for an hour"))
    assert dict(caught.value.trailing_metadata())[telemetry_names.META_PUSHBACK] == "3600000"
    error = call_error(caught.value)
    assert isinstance(error, OverloadedError)
    assert error.retry_after == 3600


async def test_a_spent_limit_is_told_at_once_though_grpc_may_retry(door):
    async with open_channel(door.target, insecure=True) as channel:
        with pytest.raises(aio.AioRpcError) as caught:
            await cascade_pb2_grpc.CascadeStub(channel).Answer(request("spent"), timeout=60)
    assert isinstance(call_error(caught.value), SpentError)
    assert len(door.servicer.seen) == 1


async def test_a_teacher_that_is_left_alone_is_told_at_once_with_its_time_though_grpc_may_retry(door):
    async with open_channel(door.target, insecure=True) as channel:
        with pytest.raises(aio.AioRpcError) as caught:
            await cascade_pb2_grpc.CascadeStub(channel).Answer(request("busy teacher"), timeout=60)
    error = call_error(caught.value)
    assert isinstance(error, BusyError)
    assert error.retry_after == 20
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert len(door.servicer.seen) == 1


@pytest.mark.parametrize("text", ["broken", "misconfigured"])
async def test_what_is_private_stays_in_the_log(stub, caplog, text):
    caplog.set_level("DEBUG")  # words of other people's errors may quote anything, and are told there alone
    with pytest.raises(aio.AioRpcError) as caught:
        await stub.Answer(request(text))
    assert "private" not in f"{caught.value.details()}{caught.value.trailing_metadata()}"
    assert "private" in caplog.text
    assert "Traceback" in caplog.text


async def test_a_call_that_a_tier_does_not_serve_is_unimplemented(stub):
    with pytest.raises(aio.AioRpcError) as caught:
        await stub.Feedback(cascade_pb2.FeedbackRequest())
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert isinstance(call_error(caught.value), NotServedError)


async def test_an_oversized_message_is_refused(stub):
    with pytest.raises(aio.AioRpcError) as caught:
        await stub.Answer(request("x" * (MAX_MESSAGE_BYTES + 1)))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert isinstance(call_error(caught.value), TooLargeError)


async def test_an_answer_that_is_too_large_for_one_message_is_told_and_not_asked_again(tiny):
    door, servicer = tiny.tiny_door(max_message_bytes=2000)
    async with open_channel(f"127.0.0.1:{await door.start()}", insecure=True) as channel:
        with pytest.raises(aio.AioRpcError) as caught:
            await cascade_pb2_grpc.CascadeStub(channel).Answer(request("x" * 1980), timeout=60)
    await door.stop(0)
    error = call_error(caught.value)
    assert isinstance(error, TooLargeError)
    assert "bytes" in str(error)
    assert len(servicer.seen) == 1


async def test_a_callers_name_that_is_too_long_is_told_apart_from_overload(stub):
    for name, kind in (("d" * 65, BadInputError), ("d" * 20_000, TooLargeError)):
        with pytest.raises(aio.AioRpcError) as caught:
            await stub.Answer(request(), metadata=((telemetry_names.META_DEVICE, name),), timeout=60)
        assert type(call_error(caught.value)) is kind
        assert name not in caught.value.details()


async def test_an_answer_larger_than_its_caller_takes_is_no_overload(door):
    async with open_channel(door.target, insecure=True, max_message_bytes=2000) as channel:
        with pytest.raises(aio.AioRpcError) as caught:
            await cascade_pb2_grpc.CascadeStub(channel).Answer(request("x" * 1980), timeout=60)
    error = call_error(caught.value)
    assert isinstance(error, TooLargeError)
    assert str(error).startswith("the answer of the next tier is larger than a message may be (2,")
    assert len(door.servicer.seen) == 1


@pytest.mark.parametrize("piece", ["\U0001f600", "x", "\x1b[31m", "\u009b"])
async def test_what_a_message_repeats_of_a_request_fits_a_status_and_steers_no_terminal(stub, piece):
    with pytest.raises(aio.AioRpcError) as caught:
        await stub.Answer(request("repeat " + piece * 30_000))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert len(caught.value.details()) < 2000
    assert caught.value.details().isprintable()


async def test_garbage_is_refused_and_the_door_stays_open(channel, stub):
    with pytest.raises(aio.AioRpcError) as caught:
        await channel.unary_unary(f"/{SERVICE}/Answer")(b"\xff\xff\xff")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert call_error(caught.value).field == "request"
    assert (await stub.Answer(request())).answer == "LIGHTS"


async def test_the_caller_is_who_it_says_on_an_insecure_door(stub):
    said = await stub.Answer(request(), metadata=((telemetry_names.META_DEVICE, "kitchen"),))
    assert said.provenance.node == "kitchen"
    assert (await stub.Answer(request())).provenance.node == "anonymous"


async def test_health_is_served_until_the_stop_begins(tiny):
    door, servicer = tiny.tiny_door()
    async with open_channel(f"127.0.0.1:{await door.start()}", insecure=True, attempts=1) as channel:
        assert await health(channel) == await health(channel, SERVICE) == "SERVING"
        stub = cascade_pb2_grpc.CascadeStub(channel)
        hanging = asyncio.ensure_future(stub.Answer(request("hang"), timeout=60))
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=SERVICE))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        await asyncio.wait_for(servicer.hanging.get(), 120)
        stopping = asyncio.create_task(door.stop(0.3))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        await asyncio.wait_for(stopping, 120)
        with pytest.raises(aio.AioRpcError) as caught:
            await hanging
    assert call_error(caught.value).status == "UNAVAILABLE"


async def test_a_call_in_flight_finishes_within_the_grace(tiny):
    door, servicer = tiny.tiny_door()
    release = asyncio.Event()

    async def obey(query):
        servicer.hanging.put_nowait(query)
        await release.wait()

    servicer.obey = obey
    async with open_channel(f"127.0.0.1:{await door.start()}", insecure=True) as channel:
        asked = asyncio.ensure_future(cascade_pb2_grpc.CascadeStub(channel).Answer(request("late")))
        await asyncio.wait_for(servicer.hanging.get(), 120)
        stopping = asyncio.create_task(door.stop(20))
        release.set()
        assert (await asyncio.wait_for(asked, 120)).answer == "LATE"
        await asyncio.wait_for(stopping, 120)


async def test_reflection_names_the_services(channel):
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    async for response in stub.ServerReflectionInfo(iter([asked])):
        listed = {service.name for service in response.list_services_response.service}
    assert SERVICE in listed
    assert "grpc.health.v1.Health" in listed


async def test_a_port_in_use_is_named_at_once(door):
    started = time.monotonic()
    with pytest.raises(StartError, match=rf"127.0.0.1:{door.port}: Address already in use"):
        await Door(door.target, insecure=True).start()
    assert time.monotonic() - started < 1


async def test_a_port_in_use_by_anything_else_is_named_too():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=f"localhost|127.0.0.1:{port}"):
            await Door(f"localhost:{port}", insecure=True).start()


async def test_a_port_just_left_can_be_opened_again(tiny):
    first, _ = tiny.tiny_door()
    port = await first.start()
    async with open_channel(f"127.0.0.1:{port}", insecure=True) as channel:
        await cascade_pb2_grpc.CascadeStub(channel).Answer(request())
        await first.stop(None)
    second, _ = tiny.tiny_door(port)
    assert await second.start() == port
    await second.stop(None)


@pytest.mark.parametrize(("listen", "insecure"), [("127.0.0.1:0", False), ("0.0.0.0:0", True), ("no address", True)])
async def test_a_door_that_may_not_be_opened_says_why(listen, insecure):
    with pytest.raises(ConfigError, match="door: listen: "):
        Door(listen, insecure=insecure)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_stops_in_good_order(spawn, number):
    process = spawn()
    process.signal(number)
    assert process.wait() == 0


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_the_second_signal_ends_the_process_at_once(spawn, number, exit_code):
    process = await asyncio.to_thread(spawn, grace=60)
    async with open_channel(process.target, insecure=True, attempts=1) as channel:
        hanging = asyncio.ensure_future(cascade_pb2_grpc.CascadeStub(channel).Answer(request("hang"), timeout=60))
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=SERVICE))
        await watch.read()
        assert await asyncio.to_thread(process.read_line) == "hanging"
        process.signal(number)
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        process.signal(number)
        assert await asyncio.to_thread(process.wait) == exit_code
        with pytest.raises(aio.AioRpcError):
            await hanging


class Busy(cascade_pb2_grpc.CascadeServicer):
    """Answers on the event loop, which has no time for anybody else."""

    async def Answer(self, request, context):  # noqa: N802
        time.sleep(0.002)  # noqa: ASYNC251 - as a student that computes there
        return cascade_pb2.AnswerResponse(query_id=request.query_id)


async def test_more_calls_than_a_door_takes_in_are_refused_at_once_and_the_others_answered_soon():
    door = Door("127.0.0.1:0", insecure=True, intake=Intake(16))
    cascade_pb2_grpc.add_CascadeServicer_to_server(Busy(), door.server)
    target = f"127.0.0.1:{await door.start()}"
    channel = open_channel(target, insecure=True, attempts=1)
    stub = cascade_pb2_grpc.CascadeStub(channel)
    found = await asyncio.gather(*(stub.Answer(request(), timeout=60) for _ in range(300)), return_exceptions=True)
    errors = [call_error(one) for one in found if isinstance(one, Exception)]
    await channel.close(None)
    assert {type(error) for error in errors} == {OverloadedError}
    assert 16 <= 300 - len(errors) < 200
    patient = open_channel(target, insecure=True)  # gRPC's own retries carry a burst over
    stub = cascade_pb2_grpc.CascadeStub(patient)
    await asyncio.gather(*(stub.Answer(request(), timeout=60) for _ in range(40)))
    await patient.close(None)
    await door.stop(0)
