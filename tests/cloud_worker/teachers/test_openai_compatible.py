"""Teachers elsewhere: an OpenAI-compatible server, asked over real HTTP."""

import json
import socket
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from cloud_worker.config.teachers import CompatibleSettings
from cloud_worker.pool.batcher import MOST_TRIES, Gatherer
from cloud_worker.pool.serve import Replica
from cloud_worker.teachers import NoAnswer, NotNow, OutOfOrder, Question
from cloud_worker.teachers.loader import load_teacher
from cloud_worker.teachers.prepare import prepare_teacher
from router.core.domain.query import FinishReason, GenerationLimits, Message, Tool, Wanted
from router.core.errors import ConfigError, StartError, UnavailableError
from router.students.writers.testing import FakeChatServer
from router.transport.telemetry import TelemetrySettings

REASON = Wanted(rationale=True)


@pytest.fixture
def server():
    with FakeChatServer(lambda text: f"said of {text}") as server:
        yield server


@pytest.fixture
def settings(server):
    return CompatibleSettings(name="big", url=server.url, model="large", seconds=5)


@pytest.fixture
def sent(monkeypatch):
    """The headers of every request that goes out."""
    headers, send = [], httpx.Client.send

    def noted(client, request, **how):
        headers.append(request.headers)
        return send(client, request, **how)

    monkeypatch.setattr(httpx.Client, "send", noted)
    return headers


class MendedBy(list):
    """Requests, the first of which still meets the fault."""

    def __init__(self, faults):
        super().__init__()
        self.faults = faults

    def append(self, request):
        super().append(request)
        if len(self) > 1:
            self.faults.status = 0


def ask(settings, cache, text="it", **fields):
    [reply] = load_teacher(settings, cache).answer([Question(text, **fields)])
    return reply


def test_a_question_goes_out_whole_and_greedily(settings, server, tmp_path):
    tools = (Tool("light", "Switches.", '{"type": "object"}'),)
    messages = (Message("system", "Be short."), Message("user", "it"))
    limits = GenerationLimits(max_tokens=7, stop=("!",))
    reply = ask(settings, tmp_path, "user: it", messages=messages, tools=tools, limits=limits)
    [asked] = server.requests
    assert [message["role"] for message in asked["messages"]] == ["system", "user"]
    assert (asked["model"], asked["temperature"], asked["max_tokens"], asked["stop"]) == ("large", 0.0, 7, ["!"])
    assert asked["tools"][0]["function"]["name"] == "light"
    assert (reply.text, reply.tokens_in, reply.finish_reason) == ("said of it", 7, FinishReason.STOP)


def test_its_template_stands_around_the_question(settings, server, tmp_path):
    ask(settings.model_copy(update={"prompt": "Question: {text} Answer:"}), tmp_path)
    assert server.requests[0]["messages"] == [{"role": "user", "content": "Question: it Answer:"}]


def test_a_reason_is_asked_for_and_read(settings, server, tmp_path):
    server.answer = lambda text: "It is dark. The answer is on." if "step by step" in text else "on"
    reply = ask(settings, tmp_path, wanted=REASON)
    assert (reply.text, reply.rationale, reply.problem) == ("on", "It is dark.", "")
    apart = ask(settings, tmp_path, wanted=REASON, reason_apart=True)
    assert (apart.text, apart.rationale) == ("on", "It is dark.")
    assert len(server.requests) == 3


def test_calls_come_apart_from_the_text_and_broken_ones_are_no_lesson(settings, server, tmp_path):
    server.answer = lambda text: [{"name": "light", "arguments": '{"on": true}' if text == "on" else "{on"}]
    good, broken = ask(settings, tmp_path, "on"), ask(settings, tmp_path, "off")
    assert (good.tool_calls[0].name, good.tool_calls[0].arguments, good.problem) == ("light", '{"on": true}', "")
    assert good.finish_reason is FinishReason.TOOL_CALLS
    assert "light" in broken.problem


def test_a_server_that_is_not_there_does_not_stop_the_start_and_is_asked_later(tmp_path, caplog):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}/v1"
        teacher = load_teacher(CompatibleSettings(name="big", url=url, model="large"), tmp_path)
        assert f"teacher big: no server answers at {url}" in caplog.text
        [reply] = teacher.answer([Question("it")])
        assert isinstance(reply, NotNow)
        assert url in reply.problem


@pytest.mark.parametrize(
    ("status", "kind"), [(429, NotNow), (503, NotNow), (500, NotNow), (529, NotNow), (401, OutOfOrder), (400, NoAnswer)]
)
def test_a_busy_server_is_asked_again_by_whoever_waits_and_a_refusal_of_the_question_is_final(
    settings, server, tmp_path, status, kind, caplog
):
    server.faults.status, server.faults.said = status, "no, says http://inside:1"
    reply = ask(settings, tmp_path)
    assert type(reply) is kind
    assert len(server.requests) == 1
    if kind is NoAnswer:
        assert "http" not in reply.problem
        assert "http://inside:1" in caplog.text


def test_a_prompt_longer_than_its_window_is_the_callers_to_shorten(settings, server, tmp_path):
    server.faults.status, server.faults.said = 400, "maximum context length is 32 tokens"
    reply = ask(settings, tmp_path)
    assert (type(reply), reply.field) == (NoAnswer, "input")


@pytest.mark.parametrize("body", [b"garbage", b"{}", b'{"choices": [{"message": {"content": 3}}]}'])
def test_a_reply_that_can_not_be_read_is_for_the_operator_and_no_fault_of_the_questions(
    settings, server, tmp_path, body, caplog
):
    server.faults.body = body
    assert isinstance(ask(settings, tmp_path), OutOfOrder)
    assert "can't be read" in caplog.text


def said(content, finish="stop", **message):
    choice = {"message": {"content": content, **message}, "finish_reason": finish}
    return json.dumps({"choices": [choice]}).encode()


@pytest.mark.parametrize("finish", ["error", "abort", "cancelled", None, "whatever"])
def test_an_answer_that_broke_off_is_asked_for_again(settings, server, tmp_path, finish):
    server.faults.body = said("half an", finish)
    assert type(ask(settings, tmp_path)) is NotNow


@pytest.mark.parametrize(
    ("body", "finish"),
    [
        (said(None), FinishReason.STOP),
        (said("\n"), FinishReason.STOP),
        (said("half an", "length"), FinishReason.LENGTH),
        (said("", "content_filter"), FinishReason.FILTERED),
        (said(None, refusal="I can't"), FinishReason.FILTERED),
        (said("<think>the user"), FinishReason.LENGTH),
    ],
)
def test_what_is_no_whole_answer_goes_out_and_is_no_lesson(settings, server, tmp_path, body, finish):
    server.faults.body = body
    reply = ask(settings, tmp_path)
    assert reply.problem
    assert reply.finish_reason is finish


def test_an_answer_after_its_thinking_is_a_lesson_without_it(settings, server, tmp_path):
    server.faults.body = said("<think>the user</think>lights on")
    reply = ask(settings, tmp_path)
    assert (reply.text, reply.problem) == ("lights on", "")


def test_its_key_comes_from_the_environment_and_a_missing_one_is_named(settings, sent, tmp_path, monkeypatch):
    settings = settings.model_copy(update={"api_key_variable": "BIG_KEY"})
    monkeypatch.delenv("BIG_KEY", raising=False)
    with pytest.raises(ConfigError, match=r"teachers\.big: api_key_variable: names BIG_KEY, which is not set"):
        load_teacher(settings, tmp_path)
    monkeypatch.setenv("BIG_KEY", "secret")
    assert "secret" not in load_teacher(settings, tmp_path).version
    ask(settings, tmp_path)
    assert sent[-1]["Authorization"] == "Bearer secret"


@pytest.mark.parametrize("value", ["schlüssel-SECRET", "sk-SECRET\nand-more", "sk SECRET", "sk-SECRET\x07"])
def test_a_key_that_can_not_be_sent_is_refused_by_the_name_of_its_variable_and_never_shown(
    settings, tmp_path, monkeypatch, value
):
    monkeypatch.setenv("BIG_KEY", value)
    with pytest.raises(ConfigError, match=r"teachers\.big: api_key_variable: names BIG_KEY, whose") as caught:
        prepare_teacher(settings.model_copy(update={"api_key_variable": "BIG_KEY"}), tmp_path, lambda *word: None)
    assert "SECRET" not in "".join(traceback.format_exception(caught.value))


def test_a_key_may_come_from_a_file_that_ends_its_line(settings, sent, tmp_path, monkeypatch):
    settings = settings.model_copy(update={"api_key_variable": "BIG_KEY"})
    monkeypatch.setenv("BIG_KEY", " secret\r\n")
    ask(settings, tmp_path)
    assert sent[-1]["Authorization"] == "Bearer secret"
    monkeypatch.setenv("BIG_KEY", "\n")
    with pytest.raises(ConfigError, match="BIG_KEY, which is not set"):
        load_teacher(settings, tmp_path)


def test_what_goes_wrong_while_a_teacher_is_loaded_is_told_by_its_kind(settings, tmp_path):
    broken = settings.model_copy(update={"api_key_variable": 5})  # a mistake of ours, past the settings' checks
    with pytest.raises(StartError, match="teacher 'big' can't be loaded: TypeError"):
        prepare_teacher(broken, tmp_path, lambda *word: None)


def test_canaries_make_its_version(settings, server, tmp_path):
    path = tmp_path / "canaries.jsonl"
    path.write_text(json.dumps({"text": "two and two?"}))
    plain = load_teacher(settings, tmp_path).version
    reply = ask(settings.model_copy(update={"canaries": str(path)}), tmp_path)
    assert reply.version.startswith(plain)
    assert reply.version != plain
    assert [request["messages"][-1]["content"] for request in server.requests] == ["two and two?", "it"]


async def test_a_copy_asks_several_at_a_time_and_never_more_than_it_may(settings, server, tmp_path):
    most, now, gate = [0], [0], threading.Lock()
    met = threading.Barrier(4, timeout=120)

    def answer(text):
        with gate:
            now[0] += 1
            most[0] = max(most[0], now[0])
        met.wait()
        with gate:
            now[0] -= 1
        return text

    server.answer = answer
    replica = Replica(settings.model_copy(update={"concurrency": 4}), tmp_path, TelemetrySettings())
    pieces = [piece async for piece in replica.answer([Question(f"t{position}") for position in range(12)])]
    replies = dict(pair for piece in pieces for pair in piece)
    assert [replies[position].text for position in range(12)] == [f"t{position}" for position in range(12)]
    assert most[0] == 4


async def test_a_slow_answer_keeps_no_other_one_back(settings, server, tmp_path):
    slow = threading.Event()

    def answer(text):
        if text == "slow":
            slow.wait(20)
        return text

    server.answer = answer
    replica = Replica(settings, tmp_path, TelemetrySettings())
    pieces = replica.answer([Question("slow"), Question("quick")])
    assert [(position, reply.text) for position, reply in await anext(pieces)] == [(1, "quick")]
    slow.set()
    assert [(position, reply.text) for position, reply in await anext(pieces)] == [(0, "slow")]
    await pieces.aclose()


async def test_a_server_that_is_away_makes_unavailable_after_a_few_tries_and_one_that_comes_back_answers(
    settings, server, tmp_path
):
    replica = Replica(settings, tmp_path, TelemetrySettings())
    gatherer = Gatherer("big", replica.answer, max_batch=8, max_calls=4, max_waiting=100)
    server.faults.status = 503
    with pytest.raises(UnavailableError, match="try again"):
        await gatherer.ask(Question("it"), 30)
    assert len(server.requests) == MOST_TRIES
    server.requests = MendedBy(server.faults)
    assert (await gatherer.ask(Question("it"), 30)).text == "said of it"
    assert len(server.requests) == 2
    await gatherer.close()


def test_a_server_that_is_away_does_not_keep_a_cluster_from_starting_even_with_canaries(settings, tmp_path):
    path = tmp_path / "canaries.jsonl"
    path.write_text(json.dumps({"text": "two and two?"}))
    away = settings.model_copy(update={"url": "http://127.0.0.1:9/v1", "canaries": str(path)})
    assert prepare_teacher(away, tmp_path, lambda stage, share: None) == ""


def test_more_questions_than_a_device_would_ask_go_out_at_once(settings, server, tmp_path):
    met = threading.Barrier(24, timeout=120)
    server.answer = lambda text: f"{met.wait() >= 0}"
    teacher = load_teacher(settings.model_copy(update={"concurrency": 24, "seconds": 60.0}), tmp_path)
    with ThreadPoolExecutor(teacher.threads) as threads:
        replies = list(threads.map(teacher.answer_one, [Question(f"t{position}") for position in range(24)]))
    assert {reply.text for reply in replies} == {"True"}
