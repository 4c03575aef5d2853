import json
import socket
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor

import pytest

from router.errors import BadInputError, ConfigError, ModelError, UnavailableError
from router.query import FinishReason, GenerationLimits, Message, Tool, ToolCall
from router.writers.base import Prompt
from router.writers.served import ServedWriter, is_private, read_url
from router.writers.testing import FakeChatServer


@pytest.fixture
def server():
    with FakeChatServer(lambda text: f"you said {text}") as made:
        yield made


@pytest.fixture
def writer(server):
    made = ServedWriter(server.url, "tiny", seconds=5)
    yield made
    made.close()


def test_a_text_comes_with_its_tokens(writer):
    written = writer.write(Prompt("hello"), top_k=2)
    assert (written.text, written.finish_reason) == ("you said hello", FinishReason.STOP)
    assert [token.token for token in written.tokens] == ["you", " said", " hello"]
    assert written.tokens[0].log_probability == -0.1
    assert written.tokens[0].alternatives.top == (("you", -0.1), ("other", -5.1))
    assert written.tokens[0].alternatives.tail < -2
    assert (written.tokens_in, written.tokens_out) == (7, 3)


def test_everything_that_is_asked_is_sent(writer, server):
    limits = GenerationLimits(max_tokens=2, temperature=0.7, stop=("\n",), seed=5)
    tools = (Tool("dim", "Dims.", '{"type": "object"}'),)
    written = writer.write(Prompt("hello", tools=tools, response_schema='{"type": "string"}'), limits)
    assert written.finish_reason is FinishReason.LENGTH
    (asked,) = server.requests
    assert (asked["model"], asked["max_tokens"], asked["temperature"], asked["stop"], asked["seed"]) == (
        "tiny",
        2,
        0.7,
        ["\n"],
        5,
    )
    assert asked["tools"][0]["function"] == {"name": "dim", "description": "Dims.", "parameters": {"type": "object"}}
    assert asked["response_format"]["json_schema"]["schema"] == {"type": "string"}


def test_without_limits_it_is_greedy_and_bounded(writer, server):
    writer.write(Prompt("hello"))
    assert server.requests[0]["temperature"] == 0
    assert server.requests[0]["max_tokens"] > 0
    assert not {"stop", "seed", "tools", "response_format"} & set(server.requests[0])


def test_a_chat_is_sent_as_a_chat(writer, server):
    messages = (Message("system", "be brief"), Message("user", "hi"))
    assert writer.write(Prompt("flat", messages)).text == "you said hi"
    assert server.requests[0]["messages"] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "hi"},
    ]


def test_tool_calls_are_read():
    call = {"name": "dim", "arguments": '{"to": 3}'}
    with FakeChatServer(lambda text: [call]) as server:
        written = ServedWriter(server.url, "tiny").write(Prompt("dim it"))
    assert written.tool_calls == (ToolCall("dim", '{"to": 3}', "call-0"),)
    assert written.finish_reason is FinishReason.TOOL_CALLS


def test_a_server_without_probabilities_gives_no_tokens(writer, server):
    server.faults.no_probabilities = True
    written = writer.write(Prompt("hello"))
    assert written.text == "you said hello"
    assert written.tokens == ()
    assert written.tokens_out == 3


def test_a_server_that_refuses_probabilities_is_asked_without_them_from_then_on(writer, server):
    server.faults.refuse_probabilities = True
    assert writer.write(Prompt("one")).tokens == ()
    assert writer.write(Prompt("two")).text == "you said two"
    assert [bool(asked.get("logprobs")) for asked in server.requests] == [True, False, False]


def test_one_connection_serves_many_prompts(writer, server):
    for number in range(5):
        writer.write(Prompt(f"number {number}"))
    assert server.connections == 1


def test_threads_may_share_a_writer(writer):
    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(lambda number: writer.write(Prompt(str(number))).text, range(40)))
    assert said == [f"you said {number}" for number in range(40)]


def test_a_server_that_is_not_there_is_named_with_what_to_do():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with pytest.raises(UnavailableError, match=f"no server answers at {url}.*start it"):
            ServedWriter(url, "tiny").write(Prompt("hello"))


def test_a_server_that_hangs_is_given_up(server):
    server.faults.hang = True
    with pytest.raises(UnavailableError, match="did not answer in time"):
        ServedWriter(server.url, "tiny", seconds=0.2).write(Prompt("hello"))


@pytest.mark.parametrize(
    ("status", "said", "error", "message"),
    [
        (503, "loading model", UnavailableError, "busy"),
        (429, "slow down", UnavailableError, "busy"),
        (404, "no model 'tiny'", ModelError, "refuses .404. for model 'tiny': .*no model"),
        (500, "boom", ModelError, "refuses .500."),
        (400, "This model's maximum context length is 64 tokens", BadInputError, "input is longer than the window"),
        (400, "the request exceeds the available context size", BadInputError, "input is longer"),
    ],
)
def test_every_refusal_is_said(writer, server, status, said, error, message):
    server.faults.status, server.faults.said = status, said
    with pytest.raises(error, match=message):
        writer.write(Prompt("hello"))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"choices": []}',
        b'{"choices": [{"message": {"content": 5}}]}',
        b'{"choices": [{"message": {"content": "x", "tool_calls": [{"name": "dim"}]}}]}',
        b'{"choices": [{"message": {"content": "x"}, "logprobs": {"content": [{"token": "x"}]}}]}',
        b'{"choices": [{"message": {"content": "x"}, "logprobs": {"content": [{"token": "x", "logprob": NaN}]}}]}',
        b"\xff",
        b"[" * 100_000,
        b'{"choices": ' + b'{"a": ' * 100_000,
        b'{"choices": [{"message": {"content": "\\ud800"}}]}',
        b'{"choices": [{"message": {"tool_calls": [{"function": {"name": "dim", "arguments": "\\udfff"}}]}}]}',
        b'{"choices": [{"message": {"tool_calls": [{"function": {"name": "\\udfff"}}]}}]}',
        b'{"choices": [{"message": {"content": "x"}, "logprobs": {"content": [{"token": "x", "logprob": -1%s}]}}]}'
        % (b"0" * 400),
    ],
)
def test_a_reply_that_can_not_be_read_is_a_clear_error(writer, server, body):
    server.faults.body = body
    with pytest.raises(ModelError, match="can't be read"):
        writer.write(Prompt("hello"))


def test_a_reply_that_does_not_unpack_is_a_clear_error(writer, server):
    server.faults.body, server.faults.encoding = b"no gzip", "gzip"
    with pytest.raises(ModelError, match="can't be read: DecodingError"):
        writer.write(Prompt("hello"))


def test_half_a_letter_in_a_token_and_a_count_beyond_reason_do_no_harm(writer, server):
    listed = [{"token": "\ud83d", "logprob": -1.0, "top_logprobs": [{"token": "\ud83d", "logprob": -1.0}]}]
    choice = {"message": {"content": "x"}, "finish_reason": "stop", "logprobs": {"content": listed}}
    server.faults.body = json.dumps({"choices": [choice], "usage": {"prompt_tokens": 2**40}}).encode()
    written = writer.write(Prompt("x"), top_k=1)
    assert (written.tokens[0].token, written.tokens[0].alternatives.top) == ("?", (("?", -1.0),))
    assert written.tokens_in == 0


def test_a_refusal_that_only_echoes_the_request_leaves_probabilities_asked_for(writer, server):
    server.faults.status, server.faults.said = 422, 'can not read {"logprobs": true}'
    with pytest.raises(ModelError, match=r"refuses \(422\)"):
        writer.write(Prompt("hello"))
    server.faults.status = 0
    assert writer.write(Prompt("hello")).tokens


def test_a_header_that_can_not_be_sent_is_named_and_never_shown(server):
    writer = ServedWriter(server.url, "tiny", headers={"Authorization": "Bearer sk-SECRET\n"})
    with pytest.raises(ModelError, match="can't be asked: LocalProtocolError") as caught:
        writer.write(Prompt("hello"))
    shown = "".join(traceback.format_exception(caught.value))
    assert "SECRET" not in shown


def test_a_log_probability_out_of_range_is_brought_into_it(writer, server):
    listed = [
        {"token": token, "logprob": value} for token, value in (("a", 1e-9), ("b", -9999.0), ("c", float("-inf")))
    ]
    choice = {"message": {"content": "a b c"}, "finish_reason": "stop", "logprobs": {"content": listed}}
    server.faults.body = json.dumps({"choices": [choice]}).encode()
    assert [token.log_probability for token in writer.write(Prompt("x")).tokens] == [0.0, -100.0, -100.0]


def test_proxies_of_the_environment_are_left_alone(server, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert ServedWriter(server.url, "tiny").write(Prompt("hello")).text == "you said hello"


def test_a_unix_socket_is_asked_too(tmp_path):
    reply = json.dumps({"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}).encode()
    path = tmp_path / "model.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve():
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(reply), reply))

        thread = threading.Thread(target=serve)
        thread.start()
        writer = ServedWriter(f"unix:{path}", "tiny", seconds=5)
        assert writer.write(Prompt("hello")).text == "hi"
        assert writer.is_private
        thread.join(5)


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8080", "ftp://127.0.0.1/v1", "http://", "unix:relative.sock", "http://[1", "http://a:x/"]
)
def test_what_is_no_url_is_refused(url):
    with pytest.raises(ConfigError, match="servers: url"):
        read_url(url)


@pytest.mark.parametrize(
    ("url", "private"),
    [
        ("http://127.0.0.1:8080/v1", True),
        ("http://localhost:8080/v1", True),
        ("http://[::1]:8080/v1", True),
        ("unix:/run/model.sock", True),
        ("http://10.0.0.5:8080/v1", False),
        ("https://example.org/v1", False),
        ("http://127.0.0.1.example.org/v1", False),
    ],
)
def test_only_what_stands_on_this_machine_is_private(url, private):
    assert is_private(url) is private
