"""Servers that break the protocol, drip, lie about who they are, or say that they are busy in odd words."""

import gzip
import itertools
import json
import socket
import ssl
import subprocess
import threading
import time

import pytest

from router.core.domain.generation import Prompt
from router.core.errors import DeclinedError, HeadraceError, ModelError, TooLongError, UnavailableError
from router.students.writers import server_replies
from router.students.writers.server_refusals import refusal
from router.students.writers.server_writer import ServedWriter
from router.students.writers.testing import FakeChatServer

BODY = json.dumps({"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}).encode()


def head(status="200 OK", length=None, more=""):
    length = len(BODY) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{more}Content-Length: {length}\r\n\r\n".encode()


@pytest.fixture
def serve():
    """A server of one script; gives its port."""
    listeners = []

    def start(script, context=None):
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def run():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        def answer(connection):
            try:
                with context.wrap_socket(connection, server_side=True) if context else connection as wrapped:
                    wrapped.recv(65536)
                    script(wrapped)
                    connection.shutdown(socket.SHUT_WR)
                    while wrapped.recv(65536):  # closed with a part of the question unread, it would be a reset
                        pass
            except OSError:
                pass

        threading.Thread(target=run, daemon=True).start()
        return listener.getsockname()[1]

    yield start
    for listener in listeners:
        listener.close()


def ask(port, scheme="http", host="127.0.0.1", seconds=5.0):
    return ServedWriter(f"{scheme}://{host}:{port}/v1", "tiny", seconds=seconds).write(Prompt("x")).text


@pytest.mark.parametrize(
    "sent",
    [
        head() + BODY[:-5],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" + BODY,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n" + BODY[:5] + b"\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        b"",
        b"HTTP/1.1 abc X\r\n\r\n",
        b"HTTP/1.1 503 X\r\nContent-Type: text/html; charset=klingon\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 500 X\r\nContent-Length: 4\r\n\r\n\xff\xfe\x00\xd8",
    ],
)
def test_a_broken_protocol_is_no_answer_now(serve, sent):
    with pytest.raises(UnavailableError):
        ask(serve(lambda connection: connection.sendall(sent)))


@pytest.mark.parametrize(
    "sent",
    [
        b"HTTP/1.1 200 OK\r\n\r\n" + BODY,
        head(length=len(gzip.compress(BODY, mtime=0)), more="Content-Encoding: gzip\r\n")
        + gzip.compress(BODY, mtime=0),
        b"HTTP/1.1 100 Continue\r\n\r\n" + head() + BODY,
        b"HTTP/1.1 200 OK\r\nContent-Type: x; charset=klingon\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY),
    ],
)
def test_unusual_ways_to_say_an_answer_are_understood(serve, sent):
    assert ask(serve(lambda connection: connection.sendall(sent))) == "hi"


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
PACKED = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 10000\r\n\r\n"
EMPTY_BLOCKS = gzip.compress(b"", mtime=0)[:10] + b"\x00\x00\x00\xff\xff" * 20  # deflated blocks that hold nothing
DRIPS = {
    "status line": b"HTTP/1.1 200 " + b"O" * 80,
    "header": b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 80,
    "many headers": b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 20,
    "interim replies": b"HTTP/1.1 100 Continue\r\n\r\n" * 5,
    "body": head() + BODY,
    "size of a piece": CHUNKED + b"5;" + b"x" * 80,
    "trailers": CHUNKED + b"2\r\n{}\r\n0\r\nX: " + b"y" * 80,
    "packed nothing": PACKED + EMPTY_BLOCKS,
    "head of a refusal": b"HTTP/1.1 503 Busy\r\nX: " + b"z" * 80,
}


@pytest.mark.parametrize("sent", DRIPS.values(), ids=DRIPS)
@pytest.mark.parametrize("at_once", [0, 40])
def test_a_reply_that_drips_is_given_up_in_time(serve, sent, at_once):
    over = threading.Event()

    def drip(connection):
        connection.sendall(sent[:at_once])
        for byte in itertools.chain(sent[at_once:], itertools.repeat(sent[-1])):
            connection.sendall(bytes([byte]))
            if over.wait(0.05):
                return

    began = time.monotonic()
    with pytest.raises(UnavailableError, match="did not answer in time"):
        ask(serve(drip), seconds=0.5)
    assert time.monotonic() - began < 3
    over.set()


def test_a_tls_greeting_that_drips_is_given_up_in_time(serve):
    over = threading.Event()

    def drip(connection):
        connection.sendall(b"\x16\x03\x03\x40\x00")
        while not over.wait(0.05):
            connection.sendall(b"\x02")

    with pytest.raises(UnavailableError, match="did not answer in time"):
        ask(serve(drip), "https", seconds=0.5)
    over.set()


def test_a_server_that_reads_a_question_byte_by_byte_is_given_up_in_time(serve):
    over = threading.Event()

    def sip(connection):
        while not over.wait(0.01):
            connection.recv(100)

    port = serve(sip)
    began = time.monotonic()
    with pytest.raises(UnavailableError, match="did not answer in time"):
        ServedWriter(f"http://127.0.0.1:{port}/v1", "tiny", seconds=0.5).write(Prompt("x" * 20_000_000))
    assert time.monotonic() - began < 3
    over.set()


def test_all_forms_that_are_tried_share_one_time():
    with FakeChatServer(lambda text: "hi") as server:
        server.faults.refuses, server.faults.slow = "max_tokens", 0.3
        began = time.monotonic()
        with pytest.raises(HeadraceError):
            ServedWriter(server.url, "tiny", seconds=0.5).write(Prompt("x"))
        assert time.monotonic() - began < 3


def test_a_reply_larger_than_any_answer_is_not_read_to_its_end(serve, monkeypatch):
    monkeypatch.setattr(server_replies, "MOST_REPLY_BYTES", 100_000)
    packed = gzip.compress(b" " * 5_000_000)
    sent = head(length=len(packed), more="Content-Encoding: gzip\r\n") + packed
    with pytest.raises(ModelError, match="more than 100,000 bytes"):
        ask(serve(lambda connection: connection.sendall(sent)))


@pytest.fixture(scope="module")
def untrusted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    try:
        subprocess.run([*command, "-keyout", folder / "key", "-out", folder / "cert"], capture_output=True, check=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert", folder / "key")
    return context


def test_a_server_that_is_not_who_the_url_says_is_the_operator_s_to_mend(serve, untrusted):
    port = serve(lambda connection: connection.sendall(head() + BODY), untrusted)
    with pytest.raises(ModelError, match=r"not trusted: .*self-signed"):
        ask(port, "https", "localhost")


def test_a_server_without_tls_is_the_operator_s_to_mend(serve):
    with pytest.raises(ModelError, match="not trusted"):
        ask(serve(lambda connection: connection.sendall(head() + BODY)), "https")


@pytest.mark.parametrize(
    ("status", "said", "error"),
    [
        (429, "Too many tokens, please wait before trying again.", UnavailableError),
        (429, "Too many tokens per day, please wait before trying again.", UnavailableError),
        (400, "ThrottlingException: Too many tokens, please wait", UnavailableError),
        (503, "the context window service is overloaded", UnavailableError),
        (
            429,
            "Rate limit reached: Limit 3. Try again in 20s. Add a payment method at /account/billing.",
            UnavailableError,
        ),
        (429, "You exceeded your current quota, please check your plan and billing details", ModelError),
        (429, "Request too large on tokens per min (TPM): Limit 10000, Requested 20000", TooLongError),
        (400, "Server is overloaded, try again later", UnavailableError),
        (400, "the model is currently loading", UnavailableError),
        (400, "User location is not supported for the API use.", ModelError),
        (400, "filtered by the content management policy, try again later", DeclinedError),
        (401, "wrong key, try again later", ModelError),
        (400, "This model's maximum prompt length is 131072", TooLongError),
        (400, "`inputs` tokens + `max_new_tokens` must be <= 4096", TooLongError),
        *((status, "", UnavailableError) for status in (424, 449, 498, 499, 505, 507, 599, 999)),
        *((status, "", ModelError) for status in (418, 421, 426, 428, 431, 451)),
        (422, "", DeclinedError),
    ],
)
def test_odd_words_and_statuses_are_sorted_by_who_must_act(status, said, error):
    assert type(refusal(status, said, "http://h/v1", "m")) is error
