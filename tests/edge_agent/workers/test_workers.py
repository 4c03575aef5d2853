"""An agent of several processes: what its callers, its cloud and its operator see."""

import asyncio
import contextlib
import os
import signal

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from edge_agent.config import load_config
from edge_agent.identity.condition import State
from edge_agent.identity.status_file import read_status
from edge_agent.testing.tiny_releases import TASK, WORDS, tiny_release
from router.core.domain.task import Mode
from router.core.errors import ConfigError, UnknownTaskError
from router.core.policy.budget import Budget
from router.core.privacy.erasure import Erasure
from router.transport.channel import call_error
from router.v1 import cascade_pb2, cascade_pb2_grpc

LONG = 60
REASON_BUDGET = cascade_pb2.REASON_BUDGET
RIGHT = cascade_pb2.FeedbackRequest.VERDICT_RIGHT


@pytest.fixture
async def several(harness, cloud, kept):
    """An agent with two workers, and a student that knows single words."""
    harness.workers = 3
    await harness.start_installed(tiny_release(TASK, 1, WORDS), kept / "words")
    await all_told(harness)
    return harness


@contextlib.asynccontextmanager
async def connections(agent, count=12):
    """Stubs with a connection each, so that the system spreads them over the processes."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(f"127.0.0.1:{agent.daemon.port}", options) for _ in range(count)]
    yield [cascade_pb2_grpc.CascadeStub(channel) for channel in channels]
    for channel in channels:
        await channel.close(None)


def request(text, number=0, **more):
    return cascade_pb2.AnswerRequest(query_id=f"{text}-{number}" if number else "", task="home", text=text, **more)


async def asked(stubs, text, times=3, first=1):
    calls = (
        stub.Answer(request(text, first + times * place + turn), timeout=LONG, wait_for_ready=True)
        for place, stub in enumerate(stubs)
        for turn in range(times)
    )
    return await asyncio.gather(*calls)


async def until(holds):
    async with asyncio.timeout(LONG):
        while not holds():  # noqa: ASYNC110 - bounded above
            await asyncio.sleep(0.02)


async def all_told(agent):
    """Return when each worker knows what holds now, so that it answers by itself."""
    workers = agent.daemon.workers
    await until(lambda: all(workers.service.applied.get(number, -1) == workers.board.epoch for number in range(2)))


async def test_all_answer_and_their_figures_are_the_agents(several, cloud):
    cloud.order("home", exploration=1e-9)
    await cloud.until(lambda: cloud.last_tasks()[0].exploration > 0)
    await all_told(several)
    async with connections(several) as stubs:
        answers = await asked(stubs, "light")
        await asked(stubs, "novel")
    assert {answer.answer for answer in answers} == {"lights"}
    assert {answer.provenance.tier for answer in answers} == {cascade_pb2.TIER_DEVICE}
    report = several.report()
    assert (report.answered, report.kept, report.escalated, report.covered, report.failed) == (72, 36, 36, 72, 0)
    assert report.p95_milliseconds > 0
    assert len(cloud.queries) == 36
    workers = several.daemon.workers
    elsewhere = several.daemon.tasks.get("home").elsewhere()
    assert 0 < elsewhere.kept <= 36  # the system spread them
    assert elsewhere.escalated == 0
    assert [one["ready"] for one in workers.described()] == [True, True]


@pytest.mark.slow
async def test_what_is_drawn_is_kept_by_the_owner_once(several, cloud):
    cloud.order("home", exploration=1.0)
    await cloud.until(lambda: cloud.last_tasks()[0].exploration == 1.0)
    async with connections(several) as stubs:
        answers = await asked(stubs, "light", times=1)
        again = await asked(stubs[:1], "light", times=1)
    assert all(answer.provenance.explored and answer.provenance.covered for answer in (*answers, *again))
    await cloud.until(lambda: cloud.last_tasks()[0].explored_kept == 12)
    assert len({query.attempt.sequence_number for query in cloud.queries}) == 12
    assert several.report().explored == 12


@pytest.mark.slow
async def test_from_an_order_on_no_worker_keeps_what_is_to_escalate(several, cloud):
    async with connections(several) as stubs:
        await asked(stubs, "light", times=1)
        cloud.order("home", mode=Mode.ESCALATE_ALL)
        await until(lambda: several.daemon.tasks.get("home").mode is Mode.ESCALATE_ALL)
        answers = await asked(stubs, "light", times=2, first=100)
    assert {answer.provenance.reason for answer in answers} == {cascade_pb2.REASON_OPERATOR}


@pytest.mark.slow
async def test_a_new_release_serves_in_all_at_once(several, cloud):
    async with connections(several) as stubs:
        await asked(stubs, "light", times=1)
        cloud.publish(*tiny_release(TASK, 2, {**WORDS, "light": "music"}))
        await until(lambda: several.daemon.tasks.get("home").serving.manifest.number == 2)
        answers = await asked(stubs, "light", times=2, first=100)
        assert {(answer.answer, answer.provenance.release) for answer in answers} == {("music", 2)}
        await until(lambda: several.report().healthy_answers >= 24)
        await until(lambda: not several.daemon.tasks.get("home").on_probation)


@pytest.mark.slow
async def test_a_worker_that_is_killed_is_started_again_and_the_figures_go_on(several):
    workers = several.daemon.workers
    async with connections(several) as stubs:
        await asked(stubs, "light")
    victim = workers.described()[0]["pid"]
    os.kill(victim, signal.SIGKILL)
    await until(lambda: workers.described()[0]["restarts"] == 1 and workers.described()[0]["ready"])
    assert workers.described()[0]["pid"] != victim
    assert several.report().answered == 36
    async with connections(several) as stubs:
        await asked(stubs, "light", first=100)
    assert several.report().answered == 72


@pytest.mark.slow
async def test_a_limit_of_the_device_holds_over_all(several, cloud):
    cloud.order("home", queries_per_day=3)
    await until(lambda: several.daemon.tasks.get("home").quota.budget == Budget(None, 3))
    await all_told(several)
    async with connections(several) as stubs:
        answers = await asked(stubs, "novel", times=2)
        await all_told(several)
        sure = await asked(stubs, "light", times=1)
    assert len(cloud.queries) == 3
    assert sum(answer.provenance.degraded for answer in answers) == 21
    assert {answer.provenance.reason for answer in answers if answer.provenance.degraded} == {REASON_BUDGET}
    assert not any(answer.provenance.covered or answer.provenance.degraded for answer in sure)
    report = several.report()
    assert (report.answered, report.escalated, report.degraded, report.kept) == (36, 3, 21, 12)


@pytest.mark.slow
async def test_while_the_cloud_is_away_all_go_on_and_what_is_to_be_taught_waits_once(several, cloud):
    cloud.faults.unavailable = True
    async with connections(several) as stubs:
        await asked(stubs, "novel", times=2)  # the breaker opens
        await until(lambda: several.daemon.status.states != (State.OK,))
        sure = await asked(stubs, "light", times=2)
    assert {answer.provenance.tier for answer in sure} == {cascade_pb2.TIER_DEVICE}
    assert several.daemon.report().outbox_pending == 24
    cloud.faults.unavailable = False
    await until(lambda: not several.daemon.report().outbox_pending)
    taught = [query for query in cloud.queries if query.attempt.kept]
    assert all(query.attempt.degraded for query in taught)
    assert len({query.id for query in taught}) == 24


@pytest.mark.slow
async def test_an_erasure_makes_all_forget_the_answers_of_the_last_minutes(several, cloud):
    async with connections(several) as stubs:
        await asked(stubs, "light", times=1)
        before = several.report().answered
        await asked(stubs, "light", times=1)  # the same ids on the same connections
        assert several.report().answered == before
        cloud.erasures = [Erasure(1)]
        await until(lambda: not cloud.erasures)
        await all_told(several)
        await asked(stubs, "light", times=1)
    assert several.report().answered == 2 * before


@pytest.mark.slow
async def test_feedback_on_an_answer_of_any_worker_is_heard_by_all(several, cloud):
    async with connections(several) as stubs:
        answers = await asked(stubs, "light", times=1)
        for stub, answer in zip(reversed(stubs), answers, strict=True):
            said = cascade_pb2.FeedbackRequest(query_id=answer.query_id, task="home", verdict=RIGHT)
            await said_by(stub, said)
    assert len(cloud.feedback) == len(answers)


async def said_by(stub, feedback):
    """What another worker answered is told within moments."""
    async with asyncio.timeout(LONG):
        while True:
            try:
                return await stub.Feedback(feedback, timeout=LONG)
            except grpc.aio.AioRpcError as error:
                assert isinstance(call_error(error), UnknownTaskError), error
            await asyncio.sleep(0.02)


@pytest.mark.slow
async def test_errors_of_the_owner_are_heard_as_they_are(several):
    async with connections(several, 6) as stubs:
        for stub in stubs:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Answer(cascade_pb2.AnswerRequest(task="car", text="light"), timeout=LONG)
            assert isinstance(call_error(caught.value), UnknownTaskError)


@pytest.mark.slow
async def test_health_says_serving_at_each(several):
    await until(lambda: all(one["ready"] for one in several.daemon.workers.described()))
    options = [("grpc.use_local_subchannel_pool", 1)]
    for _ in range(8):
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{several.daemon.port}", options)
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=LONG)
        async for response in watch:
            if response.status == health_pb2.HealthCheckResponse.SERVING:
                break
        await channel.close(None)


@pytest.fixture
def processes(edge):
    """An agent of three processes, as a process of its own."""
    edge.config.write_text("workers = 3\n" + edge.config.read_text())
    return edge


async def ready_workers(edge):
    """What the status tells of the workers, once all are ready."""
    while True:
        told = read_status(edge.data)
        if told and len(told.get("workers", ())) == 2 and all(one["ready"] for one in told["workers"]):
            return [one["pid"] for one in told["workers"]]
        await asyncio.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_workers_end_with_their_owner_and_come_back_with_it(processes, cloud, number):
    cloud.publish(*tiny_release(TASK, 1, WORDS))
    for _ in range(2):
        await processes.start()
        async with asyncio.timeout(LONG):
            pids = await ready_workers(processes)
            await cloud.until_active(1, LONG)
        assert (await processes.ask("light")).text == "lights"
        said = await processes.end(number)
        assert "Traceback" not in said
        await until(lambda pids=pids: not any(os.path.exists(f"/proc/{pid}") for pid in pids))  # noqa: PTH110


def test_workers_need_a_port_to_share(tmp_path):
    file = tmp_path / "agent.toml"
    lines = (
        'device = "d"',
        'data = "d"',
        "workers = 2",
        f'door.listen = "unix:{tmp_path}/s"',
        'upstream.target = "h:1"',
    )
    file.write_text("\n".join(lines))
    with pytest.raises(ConfigError, match="workers share a port"):
        load_config(file)
