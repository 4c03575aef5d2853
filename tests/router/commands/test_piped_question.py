"""``headrace ask -``: standard input as one question."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from router.core.domain.query import MAX_TEXT_BYTES

HEADRACE = Path(sys.executable).with_name("headrace")


def call(target):
    return [HEADRACE, "ask", "--target", target, "--task", "home", "--insecure", "-"]


def ask(target, piped, *more):
    return subprocess.run([*call(target), *more], input=piped, capture_output=True, timeout=300, check=False)


@pytest.mark.parametrize(
    ("piped", "asked"),
    [
        (b"lights on\n", "LIGHTS ON"),
        (b"lights on", "LIGHTS ON"),
        (b"lights on\r\n\r\n", "LIGHTS ON"),
        (b"lights on\nand music\n", "LIGHTS ON\nAND MUSIC"),
        ("\ufefföffne ☃\n".encode(), "ÖFFNE ☃"),
    ],
    ids=["one line", "no line end", "line ends of Windows", "two lines", "a byte order mark"],
)
def test_what_is_piped_is_one_question(tier, piped, asked):
    done = ask(tier.target, piped, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["answer"]["text"] == asked


@pytest.mark.parametrize("piped", [b"", b"\n", b" \t\r\n\n", b"\xef\xbb\xbf\n"])
def test_an_empty_standard_input_is_refused(piped):
    done = ask("127.0.0.1:1", piped)
    assert (done.returncode, done.stdout) == (65, b"")
    assert b"headrace: standard input is empty" in done.stderr


def test_a_closed_standard_input_is_an_empty_one():
    line = " ".join(map(str, call("127.0.0.1:1")))
    done = subprocess.run(["bash", "-c", f"{line} <&-"], capture_output=True, timeout=300, check=False)
    assert done.returncode == 65
    assert b"standard input is empty" in done.stderr


@pytest.mark.parametrize(("piped", "line"), [(b"caf\xe9\n", 1), (b"one\ntwo\n\xff\xfe\n", 3), (b"torn \xc3", 1)])
def test_what_is_not_utf8_is_refused_with_its_line(piped, line):
    done = ask("127.0.0.1:1", piped)
    assert (done.returncode, done.stdout) == (82, b"")
    assert f"standard input:{line}: is not UTF-8".encode() in done.stderr
    assert b"Traceback" not in done.stderr


def test_an_input_without_an_end_is_refused():
    with subprocess.Popen(["yes", "lights"], stdout=subprocess.PIPE) as endless:
        done = subprocess.run(call("127.0.0.1:1"), stdin=endless.stdout, capture_output=True, timeout=300, check=False)
        endless.kill()
    assert done.returncode == 65
    assert f"longer than the {MAX_TEXT_BYTES} bytes".encode() in done.stderr


def test_at_a_terminal_it_says_how_to_end_the_question(tier):
    leader, follower = pty.openpty()
    running = subprocess.Popen(call(tier.target), stdin=follower, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    os.close(follower)
    said = running.stderr.readline()  # before anything is typed
    os.write(leader, b"lights on\n\x04")
    out, _ = running.communicate(timeout=120)
    os.close(leader)
    assert b"Ctrl-D" in said
    assert (running.returncode, out) == (0, b"LIGHTS ON\n")
