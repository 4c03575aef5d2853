"""Agents whose students write."""

import asyncio
import json
import sys
import threading
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from edge_agent.answering import student_runner
from edge_agent.testing.tiny_releases import TASK, served_release, tiny_release, tiny_text_release
from router.core.domain.query import FinishReason, GenerationLimits, Message, Reason, Route, Tier, Wanted
from router.core.domain.task import Judge, Kind
from router.core.errors import BusyError
from router.students.writers.local_writer import LocalWriter
from router.students.writers.testing import FakeChatServer
from router.transport.channel import call_error

SAY = replace(TASK, kind=Kind.TEXT, judge=Judge.NORMALISED_TEXT)
WORDS = {"light": "lights on", "song": "music then stop"}


@pytest.fixture
async def teller(harness, kept):
    """An agent whose student knows what follows two words."""
    return await harness.start_installed(tiny_text_release(SAY, 1, WORDS), kept / "texts")


async def test_a_sure_text_stays_on_the_device(teller, cloud):
    answer = await teller.ask("the light", wanted=Wanted(top_k=2))
    assert (answer.text, answer.finish_reason) == ("lights on", FinishReason.STOP)
    assert (answer.provenance.tier, answer.provenance.reason) == (Tier.DEVICE, Reason.CONFIDENT)
    assert answer.confidence > 0.99
    assert [token.token for token in answer.tokens] == ["lights", "on", "<end>"]
    assert len(answer.tokens[0].alternatives.top) == 2
    assert (answer.usage.tokens_in, answer.usage.tokens_out) == (2, 3)
    assert cloud.queries == []


async def test_tokens_come_only_where_they_are_wanted(teller):
    assert (await teller.ask("the light")).tokens == ()


async def test_an_unsure_text_escalates_with_what_the_student_said(teller, cloud):
    answer = await teller.ask("odd zebra")
    assert (answer.text, answer.provenance.tier) == ("music", Tier.CLUSTER)
    assert answer.provenance.reason is Reason.UNCONFIDENT
    assert cloud.queries[0].attempt.answer == "hm"
    assert cloud.queries[0].attempt.score < 0.1


async def test_an_unsure_text_stays_degraded_while_the_cloud_is_away(teller, cloud):
    await cloud.stop()
    answer = await teller.ask("odd zebra")
    assert (answer.text, answer.provenance.degraded) == ("hm", True)


async def test_a_chat_is_answered_here_and_escalated_whole(teller, cloud):
    sure = (Message("system", "brief"), Message("user", "play a song"))
    answer = await teller.ask("", messages=sure)
    assert (answer.text, answer.provenance.tier) == ("music then stop", Tier.DEVICE)
    unsure = (Message("user", "odd"), Message("user", "zebra"))
    assert (await teller.ask("", messages=unsure)).provenance.tier is Tier.CLUSTER
    assert cloud.queries[0].messages == unsure


async def test_what_may_not_leave_is_written_here(teller, cloud):
    answer = await teller.ask("odd zebra", route=Route.LOCAL_ONLY)
    assert (answer.text, answer.provenance.tier) == ("hm", Tier.DEVICE)
    assert cloud.queries == []


async def test_headrace_chat_shows_whether_device_or_cloud_answered(teller, cloud):
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("headrace"), "chat", "--task", "home", "--insecure", "--json",
        "--target", f"127.0.0.1:{teller.daemon.port}",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, _ = await asyncio.wait_for(process.communicate(b"the light\nzebra\n"), 120)
    assert process.returncode == 0
    first, second = (json.loads(line)["answer"] for line in said.splitlines())
    assert (first["text"], first["tier"], first["degraded"]) == ("lights on", "device", False)
    assert (second["tier"], second["reason"]) == ("cluster", "unconfident")
    assert [message.content for message in cloud.queries[0].messages] == ["the light", "lights on", "zebra"]


async def test_a_querys_own_limits_hold(teller):
    answer = await teller.ask("a song", limits=GenerationLimits(max_tokens=1))
    assert (answer.text, answer.finish_reason) == ("music", FinishReason.LENGTH)
    answer = await teller.ask("a song", limits=GenerationLimits(stop=("stop",)))
    assert (answer.text, answer.finish_reason) == ("music then", FinishReason.STOP)


async def test_a_prompt_over_the_window_escalates_or_is_refused_by_name(teller, cloud):
    long = "novel " + "light " * 40
    provenance = (await teller.ask(long)).provenance
    assert (provenance.tier, provenance.reason) == (Tier.CLUSTER, Reason.INPUT_CUT)
    assert cloud.queries[0].attempt.reason is Reason.INPUT_CUT
    with pytest.raises(grpc.aio.AioRpcError, match="input has 41 tokens") as caught:
        await teller.ask(long, route=Route.LOCAL_ONLY)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_task_of_tools_gives_its_calls_apart(harness, cloud):
    call = '[{"name":"dim","arguments":{}}]'
    cloud.publish(*tiny_text_release(replace(SAY, judge=Judge.TOOL_CALL), 1, {"light": call}))
    await harness.start()
    await cloud.until_active(1, 60)
    answer = await harness.ask("the light")
    assert answer.text == call
    assert [(found.name, found.arguments) for found in answer.tool_calls] == [("dim", "{}")]
    assert answer.finish_reason is FinishReason.TOOL_CALLS


async def test_a_label_task_takes_no_chat(harness, cloud):
    cloud.publish(*tiny_release(TASK, 1, {"light": "lights"}))
    await harness.start()
    await cloud.until_active(1)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await harness.ask("", messages=(Message("user", "light"),), route=Route.LOCAL_ONLY)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_the_door_opens_before_the_model_is_loaded(teller, monkeypatch):
    await teller.stop()
    gate, load = threading.Event(), LocalWriter.load

    def slowly(folder):
        gate.wait(20)
        return load(folder)

    monkeypatch.setattr(LocalWriter, "load", slowly)
    await teller.start()
    assert (await teller.ask("novel light", seconds=2)).provenance.tier is Tier.CLUSTER
    gate.set()
    await teller.until_serving()
    assert (await teller.ask("the light")).provenance.tier is Tier.DEVICE


@pytest.fixture
def server():
    with FakeChatServer(lambda text: f"re {text}", log_probability=-1e-6) as made:
        yield made


@pytest.fixture
async def served(harness, kept, server):
    """An agent whose student is a model at a server beside it."""
    servers = [{"model": "tiny", "url": server.url}]
    return await harness.start_installed(served_release(SAY, 1, "tiny", {"hi": "re hi"}), kept / "served", servers)


async def test_a_served_student_answers(served, cloud):
    answer = await served.ask("", messages=(Message("user", "hello"),), route=Route.LOCAL_ONLY)
    assert (answer.text, answer.provenance.tier) == ("re hello", Tier.DEVICE)
    assert answer.provenance.model == "served"
    assert cloud.queries == []


async def test_a_server_without_probabilities_escalates(served, server):
    server.faults.no_probabilities = True
    answer = await served.ask("novel hello")
    assert (answer.text, answer.provenance.reason) == ("lights", Reason.UNCONFIDENT)
    kept = await served.ask("novel hello", route=Route.LOCAL_ONLY)
    assert (kept.text, kept.confidence) == ("re novel hello", None)


async def test_a_server_that_is_gone_escalates_and_is_never_named_to_callers(served, server):
    server.faults.status = 503
    assert (await served.ask("novel hello")).provenance.tier is Tier.CLUSTER
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.ask("hello", route=Route.LOCAL_ONLY)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "127.0.0.1" not in caught.value.details()


async def test_a_server_that_asks_to_be_left_alone_is_and_who_may_not_leave_hears_for_how_long(served, server):
    server.faults.status, server.faults.headers = 429, {"Retry-After": "20"}
    assert (await served.ask("novel hello")).provenance.tier is Tier.CLUSTER
    asked = len(server.requests)
    assert (await served.ask("novel hello")).provenance.tier is Tier.CLUSTER
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.ask("hello", route=Route.LOCAL_ONLY)
    error = call_error(caught.value)
    assert isinstance(error, BusyError)
    assert 10 < error.retry_after <= 20
    assert "127.0.0.1" not in caught.value.details()
    assert len(server.requests) == asked


async def test_a_server_whose_head_drips_leaves_time_to_ask_the_cloud(served, server):
    server.faults.drip = True
    answer = await served.ask("novel hello", seconds=2)
    assert answer.provenance.tier is Tier.CLUSTER


async def test_a_server_that_hangs_leaves_time_to_ask_the_cloud(served, server):
    server.faults.hang = True
    answer = await served.ask("novel hello", seconds=2)
    assert answer.provenance.tier is Tier.CLUSTER


async def test_a_slow_server_has_all_the_time_while_the_cloud_is_away(served, server, cloud):
    server.faults.no_probabilities = True
    await cloud.stop()
    await asyncio.gather(*(served.ask("novel hello", seconds=2) for _ in range(8)))  # so that the breaker is open
    server.answer = lambda text: (threading.Event().wait(1.2), f"late {text}")[1]
    answer = await served.ask("novel hello", seconds=2)  # half of it would not do
    assert (answer.text, answer.provenance.degraded) == ("late novel hello", True)


async def test_a_server_that_hangs_does_not_keep_the_agent_from_stopping(served, server):
    server.faults.hang = True
    assert (await served.ask("novel hello", seconds=1)).provenance.tier is Tier.CLUSTER
    waiting = [thread for thread in threading.enumerate() if thread.name == "served"]
    assert waiting
    assert all(thread.daemon for thread in waiting)


@pytest.fixture
def one_call(monkeypatch):
    """Servers are asked one query at a time."""
    monkeypatch.setattr(student_runner, "SERVED_CALLS", 1)


async def test_more_queries_than_a_server_is_asked_at_a_time_escalate(one_call, served, server):
    server.faults.hang, before = True, len(server.requests)
    first = asyncio.create_task(served.ask("novel one", seconds=4))
    async with asyncio.timeout(120):
        while len(server.requests) == before:  # noqa: ASYNC110 - another thread notes it
            await asyncio.sleep(0.01)
    second = await served.ask("novel two", seconds=4)
    assert second.provenance.tier is Tier.CLUSTER
    assert not first.done()
    assert (await first).provenance.tier is Tier.CLUSTER


async def test_queries_wait_for_a_server_side_by_side(served, server):
    gate = asyncio.Event()
    loop, waiting = asyncio.get_running_loop(), []

    def slow(text):
        waiting.append(text)
        if len(waiting) == 3:
            loop.call_soon_threadsafe(gate.set)
        asyncio.run_coroutine_threadsafe(gate.wait(), loop).result(10)
        return f"re {text}"

    server.answer = slow
    answers = await asyncio.gather(*(served.ask(f"hello {number}") for number in range(3)))
    assert sorted(answer.text for answer in answers) == ["re hello 0", "re hello 1", "re hello 2"]


async def test_an_agent_starts_while_its_server_is_away(served, server):
    await served.stop()
    server.faults.status = 503
    await served.start(servers=[{"model": "tiny", "url": server.url}])
    await served.until_serving()
    assert served.report().active_release == 1
    server.faults.status = 0
    assert (await served.ask("hello")).text == "re hello"
