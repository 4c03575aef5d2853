"""Sizes at an agent: what is just within the limit goes through, and what is too large leaves the uplink alone."""

import pytest
from grpc import aio

from edge_agent.testing.cloud_simulator import CloudSimulator
from edge_agent.testing.tiny_releases import TASK, WORDS, tiny_release
from router.core.domain.query import Reason, Tier, Tool
from router.core.errors import BadInputError, NotPossibleError, TooLargeError
from router.core.release.reports import DeviceReport, TaskReport
from router.transport.channel import call_error
from router.transport.fleet_wire import report_to_proto
from router.v1 import cascade_pb2, cascade_pb2_grpc

HUGE = 5 * 1024 * 1024
KIB = 1024


@pytest.fixture
async def cloud():
    simulator = CloudSimulator(lambda text: "x" * {"huge": HUGE, "long": 600 * KIB}.get(text, 4))
    await simulator.start()
    yield simulator
    await simulator.stop()


async def refused(asking):
    with pytest.raises(aio.AioRpcError) as caught:
        await asking
    return call_error(caught.value)


async def test_an_answer_above_the_message_limit_is_asked_once_and_hinders_no_other_question(cold, cloud):
    error = await refused(cold.ask("huge"))
    assert type(error) is TooLargeError
    assert "answer" in str(error)
    assert [query.text for query in cloud.queries] == ["huge"]
    assert (await cold.ask("other")).provenance.tier is Tier.CLUSTER


async def test_an_answer_that_no_message_may_hold_is_not_asked_again_without_end(cold, cloud):
    assert type(await refused(cold.ask("long"))) is NotPossibleError
    assert [query.text for query in cloud.queries] == ["long"]


async def test_a_student_answers_where_the_cloud_s_answer_is_too_large_and_others_still_escalate(warm, cloud):
    answer = await warm.ask("huge")
    assert (answer.provenance.tier, answer.provenance.degraded) == (Tier.DEVICE, True)
    for number in range(5):
        other = await warm.ask(f"novel{number}")
        assert (other.provenance.tier, other.provenance.reason) == (Tier.CLUSTER, Reason.UNCONFIDENT)


async def test_the_outbox_does_not_stick_to_an_answer_that_is_too_large(warm, cloud):
    await warm.ask("huge")
    await cloud.until(lambda: [query.attempt.kept for query in cloud.queries if query.text == "huge"] == [False, True])
    await cloud.until(lambda: cloud.reports[-1].outbox_pending == 0)


@pytest.mark.parametrize("left", [0, 1, 20])
async def test_a_question_just_within_the_limit_goes_through_with_its_attempt(harness, cloud, left):
    cloud.publish(*tiny_release(TASK, 1, WORDS))
    await harness.start(door={"max_message_bytes": 64 * KIB})
    await cloud.until_active(1)
    request = cascade_pb2.AnswerRequest(query_id="q", task="home", text="novel")
    request.tools.add(name="t", parameters_schema="s" * (64 * KIB - 100))
    request.tools[0].parameters_schema += "s" * (64 * KIB - left - request.ByteSize())
    assert request.ByteSize() == 64 * KIB - left
    response = await cascade_pb2_grpc.CascadeStub(harness.channel).Answer(request, timeout=60)
    assert response.provenance.tier == cascade_pb2.TIER_CLUSTER
    assert cloud.queries[-1].attempt is not None


async def test_a_field_of_megabytes_is_refused_at_the_agents_door_by_name(warm, cloud):
    for fields, field in (
        ({"subject": "s" * 3_900_000}, "subject"),
        ({"tools": tuple(Tool("t") for _ in range(80_000))}, "tools"),
        ({"tenant": "\x1b[31m"}, "tenant"),
    ):
        error = await refused(warm.ask("novel", **fields))
        assert isinstance(error, BadInputError)
        assert error.field == field
    assert cloud.queries == []


async def test_what_a_device_reports_of_itself_fits_its_limits(warm):
    hosted = warm.daemon.tasks.get("home")
    hosted.refused.update(dict.fromkeys(range(2, 300), f"why\n{'x' * 10000}"))
    report = warm.daemon.report()
    assert isinstance(report, DeviceReport)
    (task,) = report.tasks
    assert isinstance(task, TaskReport)
    assert task.refused[-1][0] == 299
    assert report_to_proto(report).ByteSize() < 64 * KIB
