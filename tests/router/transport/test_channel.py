import asyncio

import grpc
import pytest
from grpc import aio

from router.core.errors import (
    BadInputError,
    ConfigError,
    DeadlineError,
    DeniedError,
    NotServedError,
    OverloadedError,
    ServiceError,
    TooLargeError,
    UnavailableError,
    UnknownTaskError,
)
from router.transport import telemetry_names
from router.transport.channel import FULL_SECONDS, call_error, open_channel, open_sync_channel
from router.v1 import cascade_pb2, cascade_pb2_grpc

REFUSED = "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:7600: Connection refused"


def failure(code, details="", *trailing):
    return aio.AioRpcError(code, aio.Metadata(), aio.Metadata(*trailing), details=details)


def request(text):
    return cascade_pb2.AnswerRequest(query_id="q", task="home", text=text)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, UnavailableError),
        (grpc.StatusCode.CANCELLED, UnavailableError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, OverloadedError),
        (grpc.StatusCode.UNIMPLEMENTED, NotServedError),
        (grpc.StatusCode.NOT_FOUND, UnknownTaskError),
        (grpc.StatusCode.UNAUTHENTICATED, DeniedError),
        (grpc.StatusCode.INTERNAL, ServiceError),
        (grpc.StatusCode.DATA_LOSS, ServiceError),
    ],
)
def test_every_status_has_its_error_and_names_no_address_unasked(code, kind):
    error = call_error(failure(code, REFUSED))
    assert type(error) is kind
    assert "127.0.0.1" not in str(error)


def test_whoever_named_the_target_reads_its_name_and_the_reason():
    error = call_error(failure(grpc.StatusCode.UNAVAILABLE, REFUSED), "127.0.0.1:7600")
    assert str(error) == "127.0.0.1:7600 can't be reached (Connection refused)"


def test_a_public_message_of_ours_is_passed_on_as_it_is():
    said = failure(grpc.StatusCode.INVALID_ARGUMENT, "text is empty", (telemetry_names.META_ERROR, "BadInputError"))
    error = call_error(said, "127.0.0.1:7600")
    assert isinstance(error, BadInputError)
    assert error.field == "text"
    assert str(error) == "text is empty"


@pytest.mark.parametrize(("pushback", "seconds"), [("250", 0.25), ("0", 0.0), ("-1", None), ("soon", None)])
def test_pushback_is_read_in_milliseconds(pushback, seconds):
    error = call_error(failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy", (telemetry_names.META_PUSHBACK, pushback)))
    assert error.retry_after == seconds


def test_a_door_that_has_no_time_for_a_call_is_overloaded_and_one_that_stops_is_not():
    full = call_error(failure(grpc.StatusCode.CANCELLED, "CANCELLED"), "edge")
    assert (type(full), full.retry_after, str(full)) == (OverloadedError, FULL_SECONDS, "edge is overloaded")
    assert type(call_error(failure(grpc.StatusCode.CANCELLED, "Cancelling all calls"))) is UnavailableError


def test_a_failure_without_metadata_is_read_too():
    assert isinstance(call_error(aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, None, None)), UnavailableError)


@pytest.mark.parametrize(
    ("details", "said"),
    [
        ("CLIENT: Received message larger than max (4194320 vs. 4194304)", "the answer of edge is larger"),
        ("SERVER: Sent message larger than max (4194320 vs. 4194304)", "the answer of edge is larger"),
        ("CLIENT: Sent message larger than max (4194320 vs. 4194304)", "the question is larger"),
        ("SERVER: Received message larger than max (4194320 vs. 4194304)", "the question is larger"),
        ("received metadata size exceeds hard limit (value length 20000 vs. 16384)", "the name or the trace"),
    ],
)
def test_too_large_is_told_apart_from_overloaded_and_by_which_side(details, said):
    error = call_error(failure(grpc.StatusCode.RESOURCE_EXHAUSTED, details), "edge")
    assert type(error) is TooLargeError
    assert str(error).startswith(said)
    assert type(call_error(failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "shed"))) is OverloadedError


async def test_grpc_itself_retries_and_obeys_pushback(door):
    async with open_channel(door.target, insecure=True) as channel:
        answer = await cascade_pb2_grpc.CascadeStub(channel).Answer(request("busy once"), timeout=60)
    assert answer.answer == "BUSY ONCE"
    assert len(door.servicer.seen) == 2


async def test_one_attempt_means_that_grpc_never_retries(door):
    async with open_channel(door.target, insecure=True, attempts=1) as channel:
        with pytest.raises(aio.AioRpcError):
            await cascade_pb2_grpc.CascadeStub(channel).Answer(request("busy once"), timeout=60)
    assert len(door.servicer.seen) == 1


async def test_a_channel_finds_its_target_again_within_seconds(tiny):
    first, _ = tiny.tiny_door()
    port = await first.start()
    async with open_channel(f"127.0.0.1:{port}", insecure=True) as channel:
        stub = cascade_pb2_grpc.CascadeStub(channel)
        await stub.Answer(request("lights"))
        await first.stop(None)
        waiting = asyncio.ensure_future(stub.Answer(request("lights"), timeout=60, wait_for_ready=True))
        second, _ = tiny.tiny_door(port)
        await second.start()
        assert (await asyncio.wait_for(waiting, 5)).answer == "LIGHTS"
        await second.stop(None)


def test_a_synchronous_channel_speaks_to_the_same_door(tier):
    with open_sync_channel(tier.target, insecure=True) as channel:
        assert cascade_pb2_grpc.CascadeStub(channel).Answer(request("lights"), timeout=60).answer == "LIGHTS"


@pytest.mark.parametrize("opens", [open_channel, open_sync_channel])
async def test_no_channel_is_opened_to_elsewhere_or_without_asking(opens):
    with pytest.raises(ConfigError, match="needs an identity"):
        opens("127.0.0.1:7600", insecure=False)
    with pytest.raises(ConfigError, match="not on this machine"):
        opens("10.0.0.1:7600", insecure=True)
