"""From the first second on: before a student, a release, an order is here, and while a student is being opened."""

import asyncio
import json
import os
import shutil
from dataclasses import replace

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from edge_agent.testing.tiny_releases import TASK, WORDS, empty_release, tiny_release
from router.core.domain.query import Attempt, Consent, Reason, Route, Tier
from router.core.domain.task import Task
from router.core.policy.exploration import is_explored
from router.core.release.manifest import File, digest
from router.transport.telemetry_names import META_DEVICE


async def status_of(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details()


async def health_of(agent):
    stub = health_pb2_grpc.HealthStub(agent.channel)
    response = await stub.Check(health_pb2.HealthCheckRequest(service="headrace.v1.Cascade"), timeout=60)
    return health_pb2.HealthCheckResponse.ServingStatus.Name(response.status)


@pytest.fixture
async def refusing(harness, cloud):
    """An agent whose first release is refused."""
    cloud.publish(*tiny_release(TASK, 1, WORDS), exploration=0.5)
    cloud.faults.corrupt = frozenset({"model.onnx"})
    await harness.start(door={"tiers": ("device-below",)})
    await cloud.until(lambda: any(task.refused for task in cloud.last_tasks()))
    return harness


async def test_while_its_first_release_is_refused_everything_escalates(refusing, cloud):
    names = [f"q-{number}" for number in range(10)]
    answers = [await refusing.ask("light", query_id=name) for name in names]
    assert {(answer.text, answer.provenance.tier) for answer in answers} == {("lights", Tier.CLUSTER)}
    assert {answer.provenance.reason for answer in answers} == {Reason.NO_STUDENT}
    drawn = [is_explored(cloud.book.seed, name, 0.5) for name in names]
    assert [answer.provenance.explored for answer in answers] == drawn
    assert [query.attempt.explored for query in cloud.queries] == drawn
    assert {(query.attempt.release, query.attempt.answer) for query in cloud.queries} == {(0, None)}
    assert refusing.report().escalated == 10


async def test_what_may_not_leave_hears_that_its_task_is_being_set_up(refusing, cloud):
    code, details = await status_of(refusing.ask("light", route=Route.LOCAL_ONLY))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert "task 'home' is being set up" in details
    assert not cloud.queries


async def test_a_query_that_its_caller_sends_up_goes_up_as_it_is(refusing, cloud):
    await refusing.ask("light", route=Route.CLOUD_ONLY)
    assert cloud.queries[0].attempt is None


async def test_who_refuses_to_be_logged_is_not_drawn_before_a_release_is_here(refusing, cloud):
    for number in range(8):
        await refusing.ask("light", query_id=f"q-{number}", consent=Consent.REFUSED)
    assert not any(query.attempt.explored for query in cloud.queries)


async def test_a_task_that_may_not_leave_is_not_asked_of_the_cloud_before_its_release_is_here(harness, cloud):
    cloud.publish(*tiny_release(Task("home", "simulated", local_only=True), 1, WORDS))
    cloud.faults.corrupt = frozenset({"model.onnx"})
    await harness.start()
    await cloud.until(lambda: any(task.refused for task in cloud.last_tasks()))
    for route in (Route.AUTO, Route.LOCAL_ONLY, Route.CLOUD_ONLY):
        code, details = await status_of(harness.ask("light", route=route))
        assert code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.FAILED_PRECONDITION)
        assert details.startswith("task 'home' is being set up")
    assert not cloud.queries


async def test_a_cloud_that_says_nothing_of_leaving_is_waited_for(harness, cloud):
    cloud.publish(*tiny_release(TASK, 1, WORDS))
    cloud.order("home", may_leave=False)
    cloud.faults.corrupt = frozenset({"model.onnx"})
    await harness.start()
    await cloud.until(lambda: any(task.refused for task in cloud.last_tasks()))
    code, details = await status_of(harness.ask("light"))
    assert code is grpc.StatusCode.UNAVAILABLE
    assert details.startswith("task 'home' is being set up (tampered file: model.onnx has the SHA-256")
    assert not cloud.queries


async def test_the_first_query_waits_for_the_first_orders_and_is_answered(harness, cloud):
    cloud.publish(*tiny_release(TASK, 1, WORDS))
    await cloud.stop()
    await harness.start()
    call = asyncio.create_task(harness.ask("light", seconds=20))
    await asyncio.sleep(0.3)
    assert not call.done()
    await cloud.start()
    assert (await call).text == "lights"


async def test_a_task_that_the_orders_do_not_name_is_refused_once_they_are_heard(harness, cloud):
    cloud.publish(*tiny_release(TASK, 1, WORDS))
    await harness.start()
    code, _ = await status_of(harness.ask("light", task="garden"))
    assert code is grpc.StatusCode.NOT_FOUND
    assert not cloud.queries


async def test_a_first_release_that_comes_slowly_holds_no_query_up(harness, cloud):
    cloud.faults.chunk_bytes, cloud.faults.chunk_delay = 1000, 0.2
    cloud.publish(*tiny_release(TASK, 1, WORDS, padding=100_000))
    await harness.start()
    answers = [await harness.ask("light", seconds=20) for _ in range(5)]
    assert {answer.provenance.tier for answer in answers} == {Tier.CLUSTER}
    assert harness.report().active_release == 0


@pytest.fixture
async def opening(harness, cloud):
    """An agent that has been started again, and whose student is being opened until ``finish`` is called."""
    manifest, files = tiny_release(TASK, 1, WORDS)
    files["last.bin"] = b""
    manifest = replace(manifest, files={**manifest.files, "last.bin": File(0, digest(b""))})
    cloud.publish(manifest, files, exploration=1.0)
    await harness.start()
    await cloud.until_active(1)
    await harness.stop()
    slot = json.loads((harness.folder / "tasks" / "home" / "active").read_text())["slot"]
    last = harness.folder / "tasks" / "home" / slot / "last.bin"
    last.unlink()
    os.mkfifo(last)  # whoever reads it waits until somebody has written
    cloud.reports.clear()

    harness.finish = lambda: asyncio.to_thread(lambda: last.open("wb").close())
    await harness.start()
    yield harness
    reader = os.open(last, os.O_RDONLY | os.O_NONBLOCK) if last.exists() and last.is_fifo() else None
    if reader is not None:
        writer = os.open(last, os.O_WRONLY | os.O_NONBLOCK)
        os.close(writer)
        os.close(reader)


async def test_the_door_is_open_and_health_says_not_serving_until_the_student_is(opening, cloud):
    assert await health_of(opening) == "NOT_SERVING"
    code, details = await status_of(opening.ask("light", route=Route.LOCAL_ONLY))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert "task 'home' is being set up" in details
    answer = await opening.ask("light", query_id="meanwhile")
    assert (answer.text, answer.provenance.tier, answer.provenance.reason) == (
        "lights",
        Tier.CLUSTER,
        Reason.NO_STUDENT,
    )
    assert not cloud.reports  # the committed release comes before all else
    await opening.finish()
    await cloud.until_active(1)
    assert await health_of(opening) == "SERVING"
    assert (await opening.ask("light", query_id="later")).provenance.tier is Tier.DEVICE
    assert (await opening.ask("lamp", route=Route.LOCAL_ONLY)).text == "lights"


async def test_without_a_cloud_a_query_waits_for_the_student_that_is_being_opened(opening, cloud):
    await cloud.stop()
    call = asyncio.create_task(opening.ask("light", seconds=20))
    await asyncio.sleep(0.3)
    assert not call.done()
    await opening.finish()
    assert (await call).provenance.tier is Tier.DEVICE


async def test_a_device_whose_limit_is_spent_waits_for_the_student_that_is_being_opened(opening, cloud):
    opening.daemon.tasks.get("home").quota.shut()
    call = asyncio.create_task(opening.ask("light", seconds=20))
    await asyncio.sleep(0.3)
    assert not call.done()
    await opening.finish()
    assert (await call).provenance.tier is Tier.DEVICE
    assert not cloud.queries


async def test_a_private_task_is_known_to_be_private_while_it_is_opened(harness, cloud):
    cloud.publish(*tiny_release(Task("home", "simulated", local_only=True), 1, WORDS))
    await harness.start()
    await cloud.until_active(1)
    await harness.stop()
    slot = json.loads((harness.folder / "tasks" / "home" / "active").read_text())["slot"]
    (harness.folder / "tasks" / "home" / slot / "model.onnx").write_bytes(b"rotten")
    cloud.faults.corrupt = frozenset({"model.onnx"})
    await harness.start()
    code, _ = await status_of(harness.ask("light", seconds=2))
    assert code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.FAILED_PRECONDITION)
    assert not cloud.queries


async def test_a_fresh_agent_is_ready_at_once(harness, cloud):
    cloud.publish(empty_release(TASK), {})
    await harness.start()
    async with asyncio.timeout(5):
        while await health_of(harness) != "SERVING":
            pass


async def test_strays_among_the_tasks_end_nothing(harness, cloud):
    cloud.publish(*tiny_release(TASK, 1, WORDS))
    tasks = harness.folder / "tasks"
    tasks.mkdir(parents=True)
    (tasks / ".DS_Store").write_bytes(b"\0" * 100)
    (tasks / "notes.txt").write_text("not a task")
    (tasks / "loop").symlink_to("loop")
    (tasks / "away").symlink_to("/nowhere")
    os.mkfifo(tasks / "pipe")
    (tasks / "New folder\n").mkdir()
    (tasks / os.fsdecode(b"\xff\xfe")).mkdir()
    (tasks / "empty").mkdir()
    (tasks / "shut").mkdir(mode=0)
    (tasks / "home").write_text("a file where a task's folder belongs")
    await harness.start()
    await cloud.until_active(1)
    assert (await harness.ask("light")).provenance.tier is Tier.DEVICE
    assert [task.task for task in cloud.last_tasks()] == ["home"]
    assert list(tasks.glob("home.damaged-*"))


FILES = ["lock", "standing.json", "spent.json", "outbox.sqlite", "run", "run/agent.json", "tasks", "tasks/home/parts"]
SLOT = ["tasks/home/active", "tasks/home/a", "tasks/home/b", "tasks/home"]


@pytest.mark.parametrize("name", [*FILES, *SLOT])
@pytest.mark.parametrize("kind", ["folder", "file", "garbage"])
async def test_whatever_stands_where_a_file_of_ours_belongs_the_agent_starts(warm, cloud, name, kind):
    await warm.stop()
    path = warm.folder / name
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "folder":
        (path / "within").mkdir(parents=True)
    else:
        path.write_bytes(b"" if kind == "file" else os.urandom(999))
    cloud.reports.clear()
    await warm.start()
    await cloud.until_active(1)
    assert (await warm.ask("light")).provenance.tier is Tier.DEVICE
    cloud.order("home", exploration=1.0)
    await cloud.until(lambda: cloud.last_tasks()[0].exploration == 1.0)
    await warm.ask("lamp")
    await cloud.until(lambda: cloud.last_tasks()[0].explored_kept == 1)


async def test_an_attempt_of_another_tier_is_left_as_it_is(refusing, cloud):
    attempt = Attempt(7, "lights", 0.25, Reason.UNCONFIDENT, True, 0.5)
    await refusing.ask("light", attempt=attempt, metadata=[(META_DEVICE, "device-below")])
    assert cloud.queries[0].attempt.release == 7
