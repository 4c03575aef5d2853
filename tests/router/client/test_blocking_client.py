import asyncio
import concurrent.futures
import socket
import subprocess
import sys
import threading
import time

import pytest
from grpc import aio
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from router.client.async_client import AsyncClient
from router.client.blocking_client import Client
from router.core.domain.query import Message, Query, Route, Tier
from router.core.errors import (
    BadInputError,
    ConfigError,
    DeadlineError,
    NotPossibleError,
    OverloadedError,
    ServiceError,
    UnavailableError,
    UnknownTaskError,
)
from router.transport import telemetry_names


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def test_an_async_question_gets_its_answer_with_its_provenance(door):
    async with AsyncClient(door.target, insecure=True) as client:
        answer = await client.ask("lights on", "home", top_k=2, rationale=True, route=Route.CLOUD_ONLY)
    assert answer.text == "LIGHTS ON"
    assert answer.provenance.tier is Tier.DEVICE
    assert answer.provenance.release == 7
    assert answer.distribution.top[0] == ("yes", -0.1)
    assert answer.rationale == "because"
    assert door.servicer.seen[0].route is Route.CLOUD_ONLY


def test_a_question_without_event_loop_gets_its_answer(tier):
    with Client(tier.target, insecure=True) as client:
        assert client.ask("lights on", "home").text == "LIGHTS ON"


def test_threads_share_a_client(tier):
    texts = [f"light {number}" for number in range(40)]
    with Client(tier.target, insecure=True) as client, concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda text: client.ask(text, "home").text, texts))
    assert answers == [text.upper() for text in texts]


async def test_one_channel_serves_many_questions_at_a_time(door, monkeypatch):
    opened, make = [], aio.insecure_channel
    monkeypatch.setattr(aio, "insecure_channel", lambda *given, **more: opened.append(given) or make(*given, **more))
    async with AsyncClient(door.target, insecure=True) as client:
        await asyncio.gather(*(client.ask(f"light {number}", "home") for number in range(100)))
        assert len(opened) == 1
    assert len({query.id for query in door.servicer.seen}) == 100


async def test_an_id_is_made_only_where_none_is_given(door):
    async with AsyncClient(door.target, insecure=True) as client:
        made = await client.ask("lights on", "home")
        given = await client.ask("lights on", "home", query_id="mine")
    assert len(made.query_id) == 32
    assert given.query_id == "mine"


async def test_a_whole_query_may_hold_a_conversation(door):
    async with AsyncClient(door.target, insecure=True) as client:
        await client.answer(Query(id="", task="home", messages=(Message("user", "lights on"),)))
    assert door.servicer.seen[0].messages[0].content == "lights on"


async def test_who_asks_is_said_with_every_question(door):
    async with AsyncClient(door.target, insecure=True, device="kitchen") as client:
        answer = await client.ask("lights on", "home")
    assert answer.provenance.node == "kitchen"


async def test_the_trace_goes_on_at_the_target(door):
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    async with AsyncClient(door.target, insecure=True, tracer=provider.get_tracer("test")) as client:
        await client.ask("lights on", "home", query_id="q1")
    (span,) = spans.get_finished_spans()
    assert span.name == telemetry_names.SPAN_CLIENT
    assert span.attributes[telemetry_names.QUERY_ID] == "q1"
    assert span.attributes[telemetry_names.RELEASE] == 7
    assert format(span.context.trace_id, "032x") in door.servicer.metadata[0]["traceparent"]


@pytest.mark.parametrize(
    ("text", "task", "error", "says"),
    [
        ("bad", "home", BadInputError, "text is bad; say something else"),
        ("lights", "unknown", UnknownTaskError, "no task 'unknown' here"),
        ("broken", "home", ServiceError, "internal error"),
        ("misconfigured", "home", NotPossibleError, "not set up"),
        ("busy for an hour", "home", OverloadedError, "busy"),
        ("impossible", "home", ServiceError, "the answer can't be read: confidence is 2"),
    ],
)
def test_an_error_of_the_target_comes_out_as_one_of_ours(tier, text, task, error, says):
    with Client(tier.target, insecure=True, deadline=10) as client, pytest.raises(error, match=says) as caught:
        client.ask(text, task)
    assert "private" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "task", "options", "field"),
    [
        (" ", "home", {}, "input"),
        ("lights", "", {}, "task"),
        ("lights", "home", {"query_id": "x" * 65}, "query_id"),
        ("lights", "home", {"top_k": -1}, "wanted.top_k"),
        ("lights \ud800", "home", {}, "text"),
        ("lights", "home", {"deadline": 0}, "deadline"),
        ("lights", "home", {"deadline": float("inf")}, "deadline"),
        ("x" * 300_000, "home", {}, "input"),
    ],
)
def test_a_wrong_question_is_refused_before_anything_is_sent(text, task, options, field):
    with Client("127.0.0.1:1", insecure=True) as client, pytest.raises(BadInputError) as caught:
        client.ask(text, task, **options)
    assert caught.value.field == field


def test_a_deadline_is_kept_and_named(tier):
    with Client(tier.target, insecure=True) as client:
        started = time.monotonic()
        with pytest.raises(DeadlineError, match=tier.target):
            client.ask("hang", "home", deadline=0.3)
        assert time.monotonic() - started < 3


@pytest.mark.parametrize("text", ["lights", "away"])
def test_with_all_targets_away_the_error_names_them_and_what_to_check(tier, text):
    target = tier.target if text == "away" else f"127.0.0.1:{free_port()}"
    with Client(target, insecure=True, deadline=0.5) as client, pytest.raises(UnavailableError) as caught:
        client.ask(text, "home")
    assert target in str(caught.value)
    assert "headrace-edge" in str(caught.value)


async def test_with_all_targets_away_an_async_question_ends_at_its_deadline():
    async with AsyncClient([f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"], insecure=True) as client:
        started = time.monotonic()
        with pytest.raises(UnavailableError, match="Connection refused"):
            await client.ask("lights", "home", deadline=0.5)
        assert 0.4 < time.monotonic() - started < 3


async def test_pushback_is_obeyed_within_the_deadline(door):
    async with AsyncClient(door.target, insecure=True) as client:
        answer = await client.ask("busy once", "home", query_id="same")
    assert answer.text == "BUSY ONCE"
    assert [query.id for query in door.servicer.seen] == ["same", "same"]


async def test_a_target_that_is_away_makes_room_for_the_next(door):
    async with AsyncClient([f"127.0.0.1:{free_port()}", door.target], insecure=True) as client:
        assert (await client.ask("lights on", "home")).text == "LIGHTS ON"


def test_a_target_killed_while_it_answers_makes_room_for_the_next_with_the_same_id(spawn, tier):
    first = spawn()
    with Client([first.target, tier.target], insecure=True) as client:
        client.ask("lights on", "home")
        killer = threading.Timer(0.3, first.kill)
        killer.start()
        with pytest.raises(DeadlineError, match=tier.target):  # the second hangs too: it was asked
            client.ask("hang", "home", deadline=2)
        killer.join()
        answer = client.ask("lights off", "home", query_id="q2")
    assert answer.provenance.model == "tiny on 0"
    assert answer.query_id == "q2"


def test_a_lone_target_killed_and_started_again_loses_no_question(spawn):
    first = spawn()
    with Client(first.target, insecure=True, deadline=30) as client, concurrent.futures.ThreadPoolExecutor(4) as pool:
        client.ask("lights on", "home")
        first.kill()
        asked = [pool.submit(client.ask, f"light {number}", "home") for number in range(4)]
        spawn(first.port)
        assert sorted(one.result(30).text for one in asked) == [f"LIGHT {number}" for number in range(4)]


async def test_a_lone_target_killed_and_started_again_loses_no_async_question(spawn):
    first = spawn()
    async with AsyncClient(first.target, insecure=True, deadline=30) as client:
        await client.ask("lights on", "home")
        first.kill()
        asked = [asyncio.create_task(client.ask(f"light {number}", "home")) for number in range(4)]
        await asyncio.sleep(0)
        await asyncio.to_thread(spawn, first.port)
        answers = await asyncio.gather(*asked)
    assert [answer.text for answer in answers] == [f"LIGHT {number}" for number in range(4)]


async def test_the_first_target_is_asked_again_once_it_is_back(spawn, tier):
    first = await asyncio.to_thread(spawn)
    async with AsyncClient([first.target, tier.target], insecure=True) as client:
        first.kill()
        assert (await client.ask("lights", "home")).provenance.model == "tiny on 0"
        back = await asyncio.to_thread(spawn, first.port)
        async with asyncio.timeout(120):
            while (await client.ask("lights", "home")).provenance.model != f"tiny on {back.port}":
                pass


def test_without_insecure_the_client_says_what_to_do():
    with pytest.raises(ConfigError, match=r"identity=FOLDER.*insecure=True"):
        Client("127.0.0.1:7600")


@pytest.mark.parametrize("target", ["", "7600", "somewhere", "127.0.0.1:", "127.0.0.1:70000", "::1:7600", "a b"])
def test_a_target_that_is_no_address_is_refused(target):
    with pytest.raises(ConfigError, match="HOST:PORT"):
        Client(target, insecure=True)


@pytest.mark.parametrize("target", ["10.0.0.1:7600", "example.com:7600", "0.0.0.0:7600"])
def test_insecure_is_for_this_machine_only(target):
    with pytest.raises(ConfigError, match="not on this machine"):
        Client(target, insecure=True)


@pytest.mark.parametrize("arguments", [{"targets": []}, {"deadline": 0}, {"deadline": -1}, {"device": "küche"}])
def test_a_client_made_wrongly_says_so(arguments):
    with pytest.raises(ConfigError):
        Client(**{"targets": "127.0.0.1:1", "insecure": True, **arguments})


def test_the_client_needs_neither_the_sdk_nor_pydantic():
    script = """
import sys
for name in ("opentelemetry.sdk", "pydantic", "grpc_health", "grpc_reflection", "torch", "ray", "onnxruntime"):
    sys.modules[name] = None
import router.client.blocking_client, router.cli, router.transport.channel, router.transport.wire
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=300)
