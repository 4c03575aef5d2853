import asyncio
import errno
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from router.cli import app

HEADRACE = Path(sys.executable).with_name("headrace")
SECONDS = 20
LONGEST_TO_THE_KEYS = 5  # seconds, where the system does not tell what a process waits for


@pytest.fixture
def pipe(tier):
    """Runs ``headrace chat`` with lines from a pipe."""

    def run(lines, *arguments, target=tier.target):
        flags = ["--target", target, "--task", "home", "--insecure"]
        return CliRunner().invoke(app, ["chat", *flags, *map(str, arguments)], input=lines)

    return run


class Terminal:
    """``headrace chat`` at a terminal of its own."""

    def __init__(self, target, *arguments):
        self._ours, theirs = pty.openpty()
        command = [HEADRACE, "chat", "--target", target, "--task", "home", "--insecure", *arguments]
        self.process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
        os.close(theirs)
        self.seen = ""

    def until(self, text):
        """Read until the terminal shows ``text``; what was shown before is forgotten."""
        end = time.monotonic() + SECONDS
        while text not in self.seen:
            ready, _, _ = select.select([self._ours], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"no {text!r} in {self.seen!r}"
            self.seen += self._read()
        before, _, self.seen = self.seen.partition(text)
        return before

    def type(self, text):
        os.write(self._ours, text.encode())

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)

    def interrupt_at_the_prompt(self):
        """Press Ctrl-C once it waits for keys: readline keeps a signal that comes before until the next key."""
        self.until("you> ")
        end, waits_for = time.monotonic() + LONGEST_TO_THE_KEYS, Path(f"/proc/{self.process.pid}/wchan")
        while waits_for.is_file() and "poll" not in waits_for.read_text() and time.monotonic() < end:
            os.sched_yield()
        self.interrupt()

    def leave(self):
        return self.process.wait(SECONDS)

    def close(self):
        self.process.kill()
        self.process.wait(SECONDS)
        os.close(self._ours)

    def _read(self):
        try:
            data = os.read(self._ours, 65536)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            data = b""
        assert data, f"the program ended; it said {self.seen!r}"
        return data.decode()


@pytest.fixture
def terminal(tier):
    opened = []

    def start(*arguments, target=tier.target):
        opened.append(Terminal(target, *arguments))
        opened[-1].until("you> ")
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def test_every_line_of_a_pipe_is_a_turn(pipe):
    result = pipe("hello\n\nand now?\n")
    assert (result.exit_code, result.stdout) == (0, "HELLO\nAND NOW?\n")
    assert result.stderr.count("device; tiny on 0; release 7; confident; confidence 0.90") == 2


def test_json_has_a_line_for_each_turn(pipe):
    lines = [json.loads(line) for line in pipe("hello\nbye\n", "--json").stdout.splitlines()]
    assert [(line["user"], line["answer"]["text"]) for line in lines] == [("hello", "HELLO"), ("bye", "BYE")]
    assert lines[0]["answer"]["tier"] == "device"


def test_an_error_ends_a_pipe_with_its_exit_code(pipe):
    result = pipe("hello\nbad\nbye\n", "--json")
    assert result.exit_code == 65
    assert len(result.stdout.splitlines()) == 2
    assert json.loads(result.stdout.splitlines()[1])["error"]["kind"] == "BadInputError"


def test_bytes_that_are_no_text_are_named(pipe):
    result = pipe(b"hello\n\xff\n")
    assert result.exit_code == 82
    assert "standard input:2: is not UTF-8" in result.stderr


def test_help_shows_examples():
    result = CliRunner().invoke(app, ["chat", "--help"])
    assert result.exit_code == 0
    assert "headrace chat --task helper --target" in result.stdout


async def test_every_turn_shows_the_query_id_that_feedback_takes(door):
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        HEADRACE, "chat", "--target", door.target, "--task", "home", "--insecure", stdin=pipe, stdout=pipe, stderr=pipe
    )
    out, err = await process.communicate(b"hello\nbye\n")
    shown = [line.removeprefix("query id: ") for line in err.decode().splitlines() if line.startswith("query id: ")]
    assert shown == [query.id for query in door.servicer.seen]
    assert len(set(shown)) == 2
    assert b"query id" not in out


async def test_every_turn_sends_the_whole_conversation(door):
    process = await _run(door.target, "--system", "be brief", "--max-tokens", "5", "--route", "local_only")
    for text in ("hello", "bye"):
        process.stdin.write(f"{text}\n".encode())
    process.stdin.close()
    await process.wait()
    first, second = door.servicer.seen
    assert [(m.role, m.content) for m in first.messages] == [("system", "be brief"), ("user", "hello")]
    assert [(m.role, m.content) for m in second.messages[1:]] == [
        ("user", "hello"),
        ("assistant", "HELLO"),
        ("user", "bye"),
    ]
    assert second.limits.max_tokens == 5
    assert second.route == "local_only"
    assert first.conversation == second.conversation != ""
    assert first.id != second.id


async def _run(target, *arguments):
    return await asyncio.create_subprocess_exec(
        HEADRACE, "chat", "--target", target, "--task", "home", "--insecure", *arguments,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip


def test_a_terminal_asks_shows_who_answered_and_leaves_at_ctrl_d(terminal):
    shown = terminal()
    shown.type("hello\n")
    shown.until("HELLO")
    shown.until("confidence 0.90")
    shown.until("you> ")
    shown.type("\x04")
    assert shown.leave() == 0


def test_a_turn_that_fails_is_taken_back_and_the_talk_goes_on(terminal):
    shown = terminal()
    shown.type("hello\n")
    shown.until("you> ")
    shown.type("bad\n")
    shown.until("headrace: text is bad")
    shown.until("taken back")
    shown.until("you> ")
    shown.type("bye\n")
    shown.until("BYE")


def test_slash_commands_help_reset_and_quit(terminal):
    shown = terminal()
    shown.type("/help\n")
    shown.until("forget the conversation")
    shown.until("you> ")
    shown.type("/reset\n")
    shown.until("Forgotten.")
    shown.until("you> ")
    shown.type("/quit\n")
    assert shown.leave() == 0


def test_ctrl_c_stops_a_question_under_way_and_twice_in_a_row_leaves(terminal, spawn):
    tier = spawn()
    shown = terminal(target=tier.target)
    shown.type("hang\n")
    assert tier.read_line() == "hanging"
    shown.interrupt()
    shown.until("Stopped")
    shown.interrupt_at_the_prompt()
    shown.until("Ctrl-C again")
    shown.interrupt_at_the_prompt()
    assert shown.leave() == 130
