"""Every command of the three programs shows in ``--help`` how it is called, and a shell can complete it."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from cloud_worker.cli import app as cloud
from edge_agent.cli import app as edge
from router.cli import app as headrace
from router.commands.lazy_commands import Later

BIN = Path(sys.executable).parent
PROGRAMS = {"headrace": headrace, "headrace-edge": edge, "headrace-cloud": cloud}


def commands_of(command, words):
    """Each command that does something, with the words that call it."""
    if isinstance(command, Later):
        command = command.loaded()
    for name, child in getattr(command, "commands", {}).items():
        yield from commands_of(child, (*words, name))
    if not hasattr(command, "commands"):
        yield words, command


COMMANDS = [one for name, app in PROGRAMS.items() for one in commands_of(get_command(app), (name,))]
every_command = pytest.mark.parametrize(("words", "command"), COMMANDS, ids=[" ".join(words) for words, _ in COMMANDS])


def examples_of(words, command):
    """The words of each example that calls this command; what goes through a pipe to it stands before it."""
    called = " ".join(words)
    lines = [line.strip().removeprefix("Example: ") for line in (command.help or "").splitlines()]
    return [
        shlex.split(call)
        for line in lines
        for call in line.split(" | ")
        if call == called or call.startswith(f"{called} ")
    ]


def test_there_are_commands_of_all_three_programs():
    assert {words[0] for words, _ in COMMANDS} == set(PROGRAMS)


@pytest.mark.parametrize(("name", "command"), get_command(cloud).commands.items())
def test_what_the_programs_help_lists_is_what_a_command_says_of_itself(name, command):
    itself = command.loaded()
    assert itself.name == name
    assert command.help == itself.help.splitlines()[0]


@every_command
def test_help_has_an_example(words, command):
    assert examples_of(words, command)


@every_command
def test_the_examples_use_options_that_there_are(words, command):
    there = {name for parameter in command.params for name in parameter.opts}
    for example in examples_of(words, command):
        used = {word for word in example if word.startswith("-") and word != "-"}
        assert used <= there


@pytest.mark.parametrize(
    ("program", "typed", "offered"),
    [
        ("headrace", "headrace a", "ask"),
        ("headrace", "headrace ask --conc", "--concurrency"),
        ("headrace-edge", "headrace-edge r", "run"),
        ("headrace-cloud", "headrace-cloud esc", "escalate-all"),
        ("headrace-cloud", "headrace-cloud devices rem", "remove"),
    ],
)
def test_bash_completes(program, typed, offered):
    variable = f"_{program.upper().replace('-', '_')}_COMPLETE"
    asked = {variable: "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}
    done = subprocess.run(
        [BIN / program], capture_output=True, text=True, env=os.environ | asked, timeout=120, check=False
    )
    assert done.stdout.split() == [offered], done.stderr
