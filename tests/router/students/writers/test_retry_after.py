"""A server that says when it wants to be asked again is left alone until then, within reason."""

import time
from email.utils import formatdate

import pytest

from router.core.domain.generation import Prompt
from router.core.errors import BusyError, DeclinedError, ModelError, UnavailableError
from router.students.writers.retry_after import MOST_WAIT_SECONDS, wait_of
from router.students.writers.server_writer import ServedWriter
from router.students.writers.testing import FakeChatServer

NOW = 1_800_000_000.0


@pytest.fixture
def server():
    with FakeChatServer(lambda text: "hi") as made:
        yield made


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("20", 20),
        (" 20 ", 20),
        ("1.5", 1.5),
        ("0", None),
        ("-5", None),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("1e3", None),
        ("\u0664", None),
        ("9" * 5000, MOST_WAIT_SECONDS),
        ("86400", MOST_WAIT_SECONDS),
        ("20, 30", 20),
        (formatdate(NOW + 30, usegmt=True), 30),
        ("Friday, 15-Jan-27 08:00:30 GMT", 30),
        ("Fri Jan 15 08:00:30 2027", 30),
        (formatdate(NOW - 30, usegmt=True), None),
        (formatdate(NOW + 1e8, usegmt=True), MOST_WAIT_SECONDS),
        ("Fri, 31 Dec 9999 23:59:59 GMT", MOST_WAIT_SECONDS),
        ("Fri, 99 Foo 2027 08:00:30 GMT", None),
        ("Fri, 15 Jan 99999999999 08:00:30 GMT", None),
    ],
)
def test_every_form_is_read_and_bounded(said, seconds):
    assert wait_of({"Retry-After": said}, NOW) == (None if seconds is None else pytest.approx(seconds, abs=0.01))


def test_a_moment_is_told_by_the_servers_own_clock():
    hour_behind = {"Date": formatdate(NOW - 3600, usegmt=True), "Retry-After": formatdate(NOW - 3590, usegmt=True)}
    assert wait_of(hour_behind, NOW) == pytest.approx(10)
    assert wait_of({**hour_behind, "Date": "yesterday"}, NOW) is None


def test_milliseconds_of_the_same_go_first():
    assert wait_of({"retry-after-ms": "1500", "Retry-After": "2"}, NOW) == 1.5
    assert wait_of({"retry-after-ms": "x", "Retry-After": "2"}, NOW) == 2


@pytest.mark.parametrize("status", [429, 503, 529, 408])
def test_a_busy_server_is_not_asked_before_the_time_that_it_names(server, status):
    server.faults.status, server.faults.headers = status, {"Retry-After": "20"}
    writer = ServedWriter(server.url, "tiny", seconds=5)
    for _ in range(3):
        with pytest.raises(BusyError, match="be left alone") as caught:
            writer.write(Prompt("x"))
        assert 15 < caught.value.retry_after <= 20
    assert len(server.requests) == 1


def test_after_that_time_it_is_asked_again(server):
    server.faults.status, server.faults.headers = 503, {"retry-after-ms": "50"}
    writer = ServedWriter(server.url, "tiny", seconds=5)
    with pytest.raises(BusyError) as caught:
        writer.write(Prompt("x"))
    server.faults.status = 0
    until = time.monotonic() + caught.value.retry_after
    while time.monotonic() < until:
        time.sleep(0.01)
    assert writer.write(Prompt("x")).text == "hi"


def test_one_that_names_no_time_is_asked_again_at_once(server):
    server.faults.status = 503
    writer = ServedWriter(server.url, "tiny", seconds=5)
    for _ in range(2):
        with pytest.raises(UnavailableError) as caught:
            writer.write(Prompt("x"))
        assert not isinstance(caught.value, BusyError)
    assert len(server.requests) == 2


@pytest.mark.parametrize(("status", "error"), [(401, ModelError), (422, DeclinedError)])
def test_what_does_not_pass_is_no_reason_to_leave_others_alone(server, status, error):
    server.faults.status, server.faults.headers = status, {"Retry-After": "20"}
    writer = ServedWriter(server.url, "tiny", seconds=5)
    for _ in range(2):
        with pytest.raises(error):
            writer.write(Prompt("x"))
    assert len(server.requests) == 2
