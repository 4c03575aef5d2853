"""What a demo says at its end, to a person and to a program."""

import io
import json
import os
import pty
import sys
from pathlib import Path

import pytest
import typer.main
from rich.console import Console

from demo import ending
from demo.__main__ import app
from demo.ending import PRINTED
from demo.measure import figures
from demo.setting import Setting
from router.core.errors import ConfigError, OperatorError

COMMAND = typer.main.get_command(app)


def parsed(*words):
    return COMMAND.make_context("demo", list(words)).params["json_to"]


@pytest.mark.parametrize(
    ("words", "goes_to"),
    [
        ((), None),
        (("--json",), PRINTED),
        (("--json", "--no-ui"), PRINTED),
        (("--no-ui", "--json"), PRINTED),
        (("--json", "-"), PRINTED),
        (("--json", "a.json"), Path("a.json")),
        (("--json=a.json", "--no-ui"), Path("a.json")),
        (("--json", "a.json", "--limit", "300"), Path("a.json")),
    ],
)
def test_json_goes_to_standard_output_or_to_a_file(words, goes_to):
    assert parsed(*words) == goes_to


class Terminal:
    """A terminal as standard output, and what was written there."""

    def __init__(self, patch):
        self._ours, theirs = pty.openpty()
        self._stream = os.fdopen(theirs, "w", encoding="utf-8")
        self._patch = patch

    def tell(self, *told, **how):
        with self._patch.context() as patch:  # only now: what captures output puts its own in between
            patch.setattr(sys, "stdout", self._stream)
            ending.tell(*told, **how)

    def said(self):
        self._stream.write("end\n")
        self._stream.flush()
        said = b""
        while b"end" not in said:
            said += os.read(self._ours, 65536)
        return said.decode().replace("\r\n", "\n").removesuffix("end\n")

    def close(self):
        self._stream.close()
        os.close(self._ours)


@pytest.fixture
def terminal(monkeypatch):
    one = Terminal(monkeypatch)
    yield one
    one.close()


MADE = {"queries": 3, "said": "größer"}


@pytest.mark.parametrize(
    ("json_to", "always", "printed"), [(None, False, False), (None, True, True), (PRINTED, False, True)]
)
def test_a_terminal_gets_json_only_where_it_is_wanted(terminal, json_to, always, printed):
    terminal.tell(MADE, json_to, always=always)
    said = terminal.said()
    assert (json.loads(said) == MADE) if printed else (said == "")


@pytest.mark.parametrize("json_to", [None, PRINTED])
def test_a_pipe_gets_one_last_line_of_json(capsys, json_to):
    ending.tell(MADE, json_to, always=False)
    [line] = capsys.readouterr().out.splitlines()
    assert json.loads(line) == MADE


def test_a_file_is_written_beside_what_a_pipe_gets(capsys, tmp_path):
    ending.tell(MADE, tmp_path / "figures.json", always=False)
    assert json.loads((tmp_path / "figures.json").read_text()) == MADE
    assert json.loads(capsys.readouterr().out) == MADE


def test_a_file_on_a_terminal_leaves_the_terminal_alone(terminal, tmp_path):
    terminal.tell(MADE, tmp_path / "figures.json", always=False)
    assert terminal.said() == ""
    assert json.loads((tmp_path / "figures.json").read_text()) == MADE


def test_figures_that_can_not_be_written_after_all_are_printed_and_the_file_is_named(terminal, tmp_path):
    with pytest.raises(OperatorError, match=r"gone/figures\.json can't be written"):
        terminal.tell(MADE, tmp_path / "gone" / "figures.json", always=False)
    assert json.loads(terminal.said()) == MADE


@pytest.mark.parametrize("name", ["gone/figures.json", "."])
def test_a_file_that_can_not_be_written_is_refused_before_anything_starts(tmp_path, name):
    with pytest.raises(ConfigError, match="--json"):
        ending.check(tmp_path / name)


def test_a_person_reads_the_table_and_where_the_picture_lies(tmp_path):
    console = Console(file=io.StringIO(), width=100)
    made = figures([], [], 1.0, agents=2, lost=0) | {"seconds": 61.2, "restarts": 0}
    setting = Setting(tmp_path / "run", (), (), "recorded", "encoder-head", 0.02, 0.95, 2, 0.0, False, False)
    ending.show(made, setting, console)
    said = console.file.getvalue()
    assert "promised at most" in said
    assert str(tmp_path / "run" / "picture.png") in said
    assert "{" not in said
