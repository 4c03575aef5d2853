"""Hosted models: litellm's own way to a provider, but to a server on this machine; over real HTTP, without network."""

import json
import logging
import os
import subprocess
import sys
import time

import pytest

from cloud_worker.config.teachers import HostedSettings
from cloud_worker.teachers import NoAnswer, NotNow, OutOfOrder, Question
from cloud_worker.teachers.litellm_teacher import HostedWriter, load_hosted_teacher
from router.core.domain.generation import Prompt
from router.core.domain.query import GenerationLimits, Message, Tool, Wanted
from router.core.errors import BadInputError, BusyError, HeadraceError, ModelError, UnavailableError
from router.io.extras import advice
from router.students.writers.testing import FakeChatServer

PRICED = "openai/gpt-4o-mini"  # a name whose price litellm knows


@pytest.fixture
def server():
    with FakeChatServer(lambda text: "it is four") as server:
        yield server


@pytest.fixture
def settings(server, monkeypatch):
    monkeypatch.setenv("BIG_KEY", "secret")
    return HostedSettings(name="big", model=PRICED, url=server.url, api_key_variable="BIG_KEY", seconds=5)


@pytest.fixture(autouse=True)
def quiet():
    logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)


def ask(settings, cache, text="two and two?", **fields):
    [reply] = load_hosted_teacher(settings, cache).answer([Question(text, **fields)])
    return reply


def test_it_is_asked_greedily_with_everything_and_says_its_price(settings, server, tmp_path):
    messages = (Message("system", "Be short."), Message("user", "two and two?"))
    tools = (Tool("add", "Adds.", '{"type": "object"}'),)
    limits = GenerationLimits(max_tokens=9, stop=("!",))
    reply = ask(settings, tmp_path, messages=messages, tools=tools, limits=limits)
    [asked] = server.requests
    assert [message["role"] for message in asked["messages"]] == ["system", "user"]
    assert (asked["model"], asked["temperature"], asked["max_tokens"], asked["stop"]) == ("gpt-4o-mini", 0, 9, ["!"])
    assert asked["tools"][0]["function"]["name"] == "add"
    assert "logprobs" not in asked
    assert (reply.text, reply.tokens_in, reply.tokens_out) == ("it is four", 7, 3)
    assert reply.usd == pytest.approx(7 * 0.15e-6 + 3 * 0.6e-6)


@pytest.mark.parametrize(("model", "told"), [("openai/a-model-of-ours", True), (PRICED, False)])
def test_a_price_that_is_not_known_is_told_before_a_limit_in_usd_counts_on_it(model, told, server, caplog):
    HostedWriter(model, key="secret", url=server.url)
    assert ("count its answers as free" in caplog.text and model in caplog.text) is told


def test_tokens_come_where_they_are_wanted_with_a_tail(settings, server, tmp_path):
    reply = ask(settings, tmp_path, wanted=Wanted(top_k=2))
    assert server.requests[0]["top_logprobs"] == 2
    assert [token.token for token in reply.tokens] == ["it", " is", " four"]
    assert reply.tokens[0].alternatives.tail is not None


def test_a_model_without_a_known_price_costs_nothing(server):
    written = HostedWriter("openai/never-heard-of", key="x", url=server.url).write(Prompt("it"))
    assert (written.text, written.usd) == ("it is four", 0.0)


def test_a_busy_or_absent_provider_is_asked_once_and_the_question_waits(settings, server, tmp_path):
    server.faults.status = 429
    assert isinstance(ask(settings, tmp_path), NotNow)
    assert len(server.requests) == 1
    away = settings.model_copy(update={"url": "http://127.0.0.1:9/v1"})
    assert isinstance(ask(away, tmp_path), NotNow)


def test_a_refusal_of_the_question_is_no_answer_and_its_words_are_the_operators(settings, server, tmp_path, caplog):
    server.faults.status, server.faults.said = 400, "can't read what ends in 1234"
    reply = ask(settings, tmp_path)
    assert isinstance(reply, NoAnswer)
    assert "1234" not in reply.problem
    assert "1234" in caplog.text


@pytest.mark.parametrize(("status", "kind"), [(401, OutOfOrder), (404, OutOfOrder), (500, NotNow), (529, NotNow)])
def test_what_is_no_fault_of_the_questions_gives_it_up_for_nobody(settings, server, tmp_path, caplog, status, kind):
    server.faults.status, server.faults.said = status, "no, says 1234"
    assert type(ask(settings, tmp_path)) is kind
    assert ("1234" in caplog.text) == (kind is OutOfOrder)


def test_a_redirect_is_not_followed(settings, server, tmp_path):
    with FakeChatServer(lambda text: "stolen") as elsewhere:
        server.faults.status, server.faults.location = 307, f"{elsewhere.url}/chat/completions"
        reply = ask(settings, tmp_path)
        assert isinstance(reply, OutOfOrder)
        assert f"redirects (307) to {elsewhere.url}" in reply.problem
        assert elsewhere.connections == 0


@pytest.mark.parametrize("model", ["anthropic/claude-sonnet-4-5", "cohere_chat/command-r", "mistral/mistral-small"])
def test_a_key_of_another_form_follows_no_redirect(server, model):
    with FakeChatServer(lambda text: "stolen") as elsewhere:
        server.faults.status, server.faults.location = 307, f"{elsewhere.url}/chat/completions"
        with pytest.raises(HeadraceError):
            HostedWriter(model, key="x", url=server.url).write(Prompt("it"))
        assert elsewhere.connections == 0


def test_another_spelling_is_remembered(settings, server):
    server.faults.refuses = "max_tokens"
    writer = HostedWriter(PRICED, key="x", url=server.url)
    for _ in range(2):
        assert writer.write(Prompt("it"), GenerationLimits(max_tokens=3)).text
    assert len(server.requests) == 3
    assert server.requests[-1]["max_completion_tokens"] == 3


@pytest.mark.parametrize("finish", ["error", "abort", "whatever"])
def test_an_answer_that_broke_off_is_no_lesson(settings, server, tmp_path, finish):
    choice = {"index": 0, "message": {"role": "assistant", "content": "half an"}, "finish_reason": finish}
    server.faults.body = json.dumps({"id": "x", "object": "chat.completion", "choices": [choice]}).encode()
    reply = ask(settings, tmp_path)
    assert isinstance(reply, NotNow) or reply.problem


def test_a_prompt_longer_than_the_window_is_the_callers_to_shorten(server):
    server.faults.status = 400
    server.faults.said = "This model's maximum context length is 32 tokens. Please reduce the length of the messages."
    with pytest.raises(BadInputError, match="longer than the window"):
        HostedWriter(PRICED, key="x", url=server.url).write(Prompt("it"))


@pytest.mark.parametrize("status", [400, 429])
def test_a_limit_that_passes_is_no_long_question(server, status):
    server.faults.status, server.faults.said = status, "Too many tokens, please wait before trying again."
    with pytest.raises(UnavailableError):
        HostedWriter(PRICED, key="x", url=server.url).write(Prompt("it"))


def test_a_proxy_that_can_not_be_used_is_told(server, monkeypatch):
    code = f"from cloud_worker.teachers.litellm_teacher import HostedWriter\nHostedWriter({PRICED!r}, key='x')"
    given = {"ALL_PROXY": "socks5://127.0.0.1:9"}
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, env=os.environ | given
    )
    assert "ConfigError: environment: proxies: is a SOCKS proxy" in ended.stderr


@pytest.mark.parametrize("model", [PRICED, "anthropic/claude-sonnet-4-5", "cohere_chat/command-r"])
def test_a_provider_whose_reply_drips_is_given_up_in_time(server, model):
    server.faults.drip = True
    began = time.monotonic()
    url = server.url if model == PRICED else f"{server.url}/chat/completions"
    with pytest.raises(UnavailableError):
        HostedWriter(model, key="x", url=url, seconds=0.5).write(Prompt("it"))
    assert server.requests
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("model", [PRICED, "cohere_chat/command-r"])
def test_a_provider_that_asks_to_be_left_alone_is(server, model):
    server.faults.status, server.faults.headers = 429, {"Retry-After": "20"}
    writer = HostedWriter(model, key="x", url=f"{server.url}{'' if model == PRICED else '/chat/completions'}")
    for _ in range(2):
        with pytest.raises(BusyError) as caught:
            writer.write(Prompt("it"))
        assert 15 < caught.value.retry_after <= 20
    assert len(server.requests) == 1


def test_litellms_own_stand_in_is_read_like_a_provider(monkeypatch):
    writer = HostedWriter("anthropic/claude-3-5-haiku-20241022", key="x")
    litellm = sys.modules["litellm"]  # it takes seconds to import, and was by now
    completion = litellm.completion
    monkeypatch.setattr(litellm, "completion", lambda **asked: completion(**asked, mock_response="Paris"))
    assert writer.write(Prompt("capital of France?")).text == "Paris"


def test_a_name_without_provider_is_refused():
    with pytest.raises(ModelError, match="nonsense"):
        HostedWriter("nonsense")


def test_canaries_make_its_version_and_a_key_does_not(settings, tmp_path, monkeypatch):
    path = tmp_path / "canaries.jsonl"
    path.write_text(json.dumps({"text": "two and two?"}))
    with_canaries = settings.model_copy(update={"canaries": str(path)})
    reply = ask(with_canaries, tmp_path)
    plain = load_hosted_teacher(settings, tmp_path).version
    assert reply.version.startswith(f"{plain}-")
    monkeypatch.setenv("BIG_KEY", "another")
    assert load_hosted_teacher(settings, tmp_path).version == plain


def test_without_litellm_the_extra_is_named():
    code = (
        "import sys; sys.modules['litellm'] = None\n"
        "from cloud_worker.teachers.litellm_teacher import HostedWriter\n"
        "HostedWriter('openai/x')"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert advice("providers") in ended.stderr
