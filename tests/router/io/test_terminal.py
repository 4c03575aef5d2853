"""Nothing that a device, a caller or a model wrote steers a terminal, wherever a command shows it."""

import io
import json
import logging
import re
from pathlib import Path

import pytest
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from router.core.visible_text import as_json_line, in_line, visible
from router.io.terminal import LogLines, Screen, say

ROOT = Path(__file__).parents[3]
STEERING = ["\x1b[31m", "\x1b]0;title\x07", "\x9b2J", "\r", "\b", "\x7f", "\u202e", "\u2066", "\u2028", "\0", "\ud800"]
HOSTILE = "".join(f"a{piece}" for piece in STEERING) + "[red]b[/red][link=http://x]c[/link]:smile:"
SAFE = re.compile(r"[^\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]*")


@pytest.mark.parametrize("piece", STEERING)
def test_what_steers_is_spelt_out(piece):
    assert SAFE.fullmatch(visible(f"a{piece}b"))
    assert visible(f"a{piece}b") != "ab"


def test_letters_of_every_script_and_joined_emoji_stay():
    text = "Grüße, 你好, שלום, \U0001f469\u200d\U0001f4bb\n\tx"
    assert visible(text) == text
    assert in_line("a\nb\tc") == "a\\nb\\tc"
    assert in_line("x" * 300, 10) == "xxxxxxxxxx... (300 characters)"


@pytest.mark.parametrize("size", ["²", "٢٠", "0", "-5", "", "9" * 30, "80x"])
def test_a_size_of_the_environment_that_is_none_is_passed_over(monkeypatch, size):
    for name in ("COLUMNS", "LINES", "JUPYTER_COLUMNS"):
        monkeypatch.setenv(name, size)
    screen = Screen(file=io.StringIO())
    screen.print("x" * 500)
    assert "x" * 500 in screen.file.getvalue()


def test_json_says_the_same_without_steering():
    said = {"answer": HOSTILE.replace("\ud800", ""), "two": "lines\nand\ttabs"}
    assert json.loads(as_json_line(said)) == said
    assert SAFE.fullmatch(as_json_line(said))
    assert "\n" not in as_json_line(said)


def test_a_line_that_is_said_steers_nothing(capsys):
    say(HOSTILE)
    say(HOSTILE, err=True)
    out, err = capsys.readouterr()
    assert SAFE.fullmatch(out)
    assert SAFE.fullmatch(err)
    assert "[red]b[/red]" in out


@pytest.mark.parametrize("shown", [HOSTILE, Text(HOSTILE), escape(HOSTILE)], ids=["words", "text", "escaped"])
@pytest.mark.parametrize("in_table", [True, False])
def test_a_screen_shows_what_was_written_and_obeys_none_of_it(shown, in_table):
    screen = Screen(width=400, record=True, file=io.StringIO())
    table = Table("device", title=HOSTILE)
    table.add_row(shown)
    screen.print(table if in_table else shown, markup=isinstance(shown, str) and "\\[red]" in shown)
    exported = screen.export_text()
    assert SAFE.fullmatch(exported)
    assert "smile" in exported
    assert "[link=http://x]" in exported


def test_a_log_line_is_one_line_and_steers_nothing():
    logger = logging.getLogger("test_terminal")
    record = logger.makeRecord("x", logging.INFO, "f", 1, "device %s", (f"{HOSTILE}\nINFO forged",), None)
    line = LogLines("%(levelname)s %(message)s").format(record)
    assert SAFE.fullmatch(line)
    assert "\n" not in line
    try:
        raise ValueError(HOSTILE)
    except ValueError as error:
        failed = logger.makeRecord("x", logging.INFO, "f", 1, "m", (), (ValueError, error, error.__traceback__))
    assert SAFE.fullmatch(LogLines("%(message)s").format(failed))


def test_no_command_writes_to_a_terminal_another_way():
    others = re.compile(
        r"typer\.echo\(|typer\.secho\(|\bConsole\(|^\s*print\(|logging\.Formatter\(\"|basicConfig\(format"
    )
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for package in ("router", "edge_agent", "cloud_worker")
        for path in (ROOT / package).rglob("*.py")
        if path.name not in ("terminal.py", "extras.py")  # the latter runs before anything can be imported
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if others.search(line) and "client.ask(" not in line
    ]
    assert found == []
