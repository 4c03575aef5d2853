"""What a device may count on, of the real gateway and of the ``CloudSimulator`` that tests of agents ask instead.

Each test runs against both, over gRPC.
"""

import asyncio

import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError

from cloud_worker.startup.in_process import serving
from cloud_worker.teachers.base import TeacherAnswer
from cloud_worker.testing import edge
from edge_agent.testing.cloud_simulator import CloudSimulator
from edge_agent.testing.tiny_releases import empty_release
from router.core.domain.feedback import Feedback, Opinion
from router.core.domain.limits import MAX_QUERY_ID_BYTES
from router.core.domain.query import Attempt, Consent, FinishReason, Query, Reason, Route, Tier
from router.core.domain.task import Mode, Privacy, Task
from router.core.errors import (
    BadInputError,
    ConflictingQueryError,
    NotPossibleError,
    UnknownTaskError,
)
from router.core.policy.exploration import SEED_BYTES
from router.core.release.manifest import MANIFEST_FILE, digest, read_manifest
from router.core.release.orders import CONTRACT
from router.transport.channel import call_error
from router.transport.feedback_wire import feedback_to_proto
from router.transport.telemetry_names import META_DEVICE
from router.transport.wire import query_to_proto
from router.v1 import cascade_pb2_grpc, release_pb2, release_pb2_grpc

HOME = Task("home", reference="simulated")
PRIVATE = Task("private", reference="simulated", local_only=True)
QUIET = Task("quiet", reference="simulated", privacy=Privacy(("mail",), ("acme",)))
TASKS = (HOME, PRIVATE, QUIET)


class Saying:
    """A teacher that says the text back."""

    name, version, threads = "simulated", "1", 1

    def answer(self, questions):
        for question in questions:
            yield TeacherAnswer(f"said of {question.text}", self.version)


@pytest.fixture(params=["gateway", "simulator"])
async def target(request, tmp_path):
    """Where a cloud listens that serves both tasks by release 0."""
    if request.param == "gateway":
        async with serving(tmp_path, [Saying()], TASKS) as address:
            yield address
        return
    simulator = CloudSimulator(lambda text: f"said of {text}")
    for task in TASKS:
        simulator.publish(empty_release(task), {}, exploration=1.0)
    await simulator.start()
    yield simulator.target
    await simulator.stop()


@pytest.fixture
async def device(target):
    async with edge(target, "kitchen") as device:
        await device.sync()
        yield device


async def fetched(device, file, offset=0, task="home", release=0):
    """The chunks of a file."""
    request = release_pb2.FetchRequest(task=task, release=release, file=file, offset=offset)
    stub = release_pb2_grpc.ReleasesStub(device.channel)
    return [chunk async for chunk in stub.Fetch(request, timeout=60)]


# Queries


async def test_what_was_escalated_is_answered_by_the_cluster_with_the_devices_reason(device):
    attempt = Attempt(release=0, reason=Reason.NO_STUDENT, exploration=1.0)
    answer = await device.escalate("lights", "home", attempt, "q1")
    said = answer.provenance
    assert (answer.query_id, answer.text, answer.finish_reason) == ("q1", "said of lights", FinishReason.STOP)
    assert (said.tier, said.model, said.model_version) == (Tier.CLUSTER, "simulated", "1")
    assert (said.reason, said.logged, said.degraded, said.covered, said.explored) == (
        *(Reason.NO_STUDENT, True, False),
        *(True, True),
    )
    assert said.node


async def test_what_is_asked_without_an_attempt_is_direct_and_counts_in_no_promise(device):
    said = (await device.ask(Query("q1", "home", "lights"))).provenance
    assert (said.reason, said.covered, said.explored) == (Reason.DIRECT, False, False)


async def test_what_was_kept_is_answered_too_so_that_it_teaches(device):
    attempt = Attempt(answer="lights", score=0.9, kept=True, reason=Reason.CONFIDENT, exploration=1.0)
    answer = await device.escalate("lights", "home", attempt)
    assert (answer.text, answer.provenance.reason) == ("said of lights", Reason.CONFIDENT)


async def test_an_empty_id_is_filled_in(device):
    one, other = [await device.ask(Query("", "home", "lights")) for _ in range(2)]
    assert one.query_id and other.query_id and one.query_id != other.query_id


async def test_the_same_id_with_the_same_question_gets_the_same_answer_and_with_another_none(device):
    first = await device.ask(Query("q1", "home", "lights"))
    assert await device.ask(Query("q1", "home", "lights")) == first
    with pytest.raises(ConflictingQueryError, match="q1"):
        await device.ask(Query("q1", "home", "music"))


async def test_the_same_id_of_another_device_is_another_question(target, device):
    await device.ask(Query("q1", "home", "lights"))
    async with edge(target, "cellar") as other:
        assert (await other.ask(Query("q1", "home", "music"))).text == "said of music"


async def test_what_its_caller_keeps_to_itself_is_answered_and_not_logged(device):
    answer = await device.ask(Query("q1", "home", "lights", consent=Consent.REFUSED))
    assert (answer.text, answer.provenance.logged) == ("said of lights", False)


async def test_a_task_that_hides_is_answered_by_its_redacted_text_and_not_for_a_tenant_of_whom_nothing_leaves(device):
    answer = await device.ask(Query("q1", "quiet", "write to ada@mail.example"))
    assert answer.text == "said of write to <mail>"
    assert await device.ask(Query("q1", "quiet", "write to bob@mail.example")) == answer  # the same, as far as is known
    with pytest.raises(NotPossibleError):
        await device.ask(Query("q2", "quiet", "lights", tenant="acme"))


@pytest.mark.parametrize(
    ("query", "error", "named"),
    [
        (Query("q1", "garden", "lights"), UnknownTaskError, "garden"),
        (Query("q1", "home", ""), BadInputError, "text"),
        (Query("q1", "home", "x" * (HOME.max_text_bytes + 1)), BadInputError, "text"),
        (Query("q" * (MAX_QUERY_ID_BYTES + 1), "home", "lights"), BadInputError, "query_id"),
        (Query("q1", "", "lights"), BadInputError, "task"),
        (Query("q1", "private", "lights"), NotPossibleError, "device"),
        (Query("q1", "home", "lights", route=Route.LOCAL_ONLY), NotPossibleError, "device"),
    ],
)
async def test_what_cannot_be_answered_is_refused_by_name(device, query, error, named):
    with pytest.raises(error, match=named):
        await device.ask(query)


async def test_a_stream_holds_the_whole_answer_in_its_last_chunk(device):
    stub = cascade_pb2_grpc.CascadeStub(device.channel)
    chunks = [chunk async for chunk in stub.AnswerStream(query_to_proto(Query("q1", "home", "lights")), timeout=60)]
    assert "".join(chunk.delta for chunk in chunks) == chunks[-1].response.answer == "said of lights"
    assert chunks[-1].response.query_id == "q1"


# Feedback


async def test_feedback_to_an_answer_is_taken_and_to_none_refused(device):
    stub = cascade_pb2_grpc.CascadeStub(device.channel)
    who = ((META_DEVICE, device.device),)
    await device.ask(Query("q1", "home", "lights"))
    right = Feedback("q1", "home", Opinion.RIGHT)
    await stub.Feedback(feedback_to_proto(right), metadata=who, timeout=60)
    await stub.Feedback(feedback_to_proto(right), metadata=who, timeout=60)
    with pytest.raises(AioRpcError) as refused:
        await stub.Feedback(feedback_to_proto(Feedback("q2", "home", Opinion.RIGHT)), metadata=who, timeout=60)
    assert refused.value.code() is StatusCode.NOT_FOUND
    with pytest.raises(AioRpcError) as garden:
        await stub.Feedback(feedback_to_proto(Feedback("q1", "garden", Opinion.RIGHT)), metadata=who, timeout=60)
    assert isinstance(call_error(garden.value), UnknownTaskError)


# Orders


async def test_a_report_is_answered_with_what_every_task_is_to_run(device):
    orders = await device.sync()
    assert orders.interval_seconds > 0
    home, private, quiet = sorted(orders.tasks, key=lambda order: order.task)
    assert (home.task, home.release, home.mode, home.exploration, home.may_leave) == ("home", 0, Mode.SERVE, 1.0, True)
    assert (private.task, private.may_leave) == ("private", False)
    assert (quiet.task, quiet.may_leave) == ("quiet", False)  # its devices don't know yet what to hide


async def test_it_says_what_it_knows_of(device):
    assert device.orders.contract == CONTRACT


async def test_a_device_has_one_seed_for_life(target, device):
    seeds = {(await device.sync()).seed for _ in range(2)}
    [seed] = seeds
    assert len(seed) == SEED_BYTES


async def test_the_manifest_that_is_ordered_is_the_one_that_comes(device):
    [home] = [order for order in device.orders.tasks if order.task == "home"]
    data = await device.fetch("home", home.release, MANIFEST_FILE)
    assert digest(data) == home.manifest_sha256
    manifest = read_manifest(data)
    assert (manifest.task, manifest.number, manifest.student) == (HOME, 0, None)


# Releases


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
async def test_a_fetch_goes_on_from_where_it_broke(device, share):
    whole = await device.fetch("home", 0, MANIFEST_FILE)
    offset = int(share * len(whole))
    chunks = await fetched(device, MANIFEST_FILE, offset)
    assert b"".join(chunk.data for chunk in chunks) == whole[offset:]
    at = offset
    for chunk in chunks:
        assert (chunk.offset, chunk.total) == (at, len(whole))
        at += len(chunk.data)


@pytest.mark.parametrize(
    ("file", "task", "release", "code"),
    [
        ("other.bin", "home", 0, StatusCode.NOT_FOUND),
        (MANIFEST_FILE, "garden", 0, StatusCode.NOT_FOUND),
        (MANIFEST_FILE, "home", 7, StatusCode.NOT_FOUND),
        ("../fleet.sqlite", "home", 0, StatusCode.INVALID_ARGUMENT),
        (MANIFEST_FILE, "../home", 0, StatusCode.INVALID_ARGUMENT),
        ("", "home", 0, StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_a_file_that_there_is_not_is_refused(device, file, task, release, code):
    with pytest.raises(AioRpcError) as refused:
        await fetched(device, file, task=task, release=release)
    assert refused.value.code() is code


async def test_an_offset_beyond_the_end_is_refused(device):
    with pytest.raises(AioRpcError) as refused:
        await fetched(device, MANIFEST_FILE, 10**9)
    assert refused.value.code() is StatusCode.INVALID_ARGUMENT


# All at once


async def test_many_devices_are_answered_at_once_each_its_own(target):
    async def one(number):
        async with edge(target, f"device-{number}") as device:
            await device.sync()
            return (await device.escalate(f"text {number}", "home")).text

    assert await asyncio.gather(*map(one, range(20))) == [f"said of text {number}" for number in range(20)]
