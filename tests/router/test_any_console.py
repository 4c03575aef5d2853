"""Every command on every console: no traceback, whatever the locale, the arguments and the streams are like."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
PLAIN = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG", "PYTHON", "COLUMNS"))}
ASCII_PATHS = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
CONSOLES = {
    "ascii streams": {"PYTHONIOENCODING": "ascii", "NO_COLOR": "1"},
    "C": {"LC_ALL": "C", "TERM": "dumb"},
    "C without UTF-8 mode": {"LC_ALL": "C", **ASCII_PATHS},
    "POSIX without UTF-8 mode, narrow": {"LC_ALL": "POSIX", "COLUMNS": "20", **ASCII_PATHS},
}
COMMON = ("ascii streams", "POSIX without UTF-8 mode, narrow")  # the others are told from these in few places
consoles = pytest.mark.parametrize(
    "console",
    [pytest.param(env, id=name, marks=() if name in COMMON else pytest.mark.slow) for name, env in CONSOLES.items()],
)


def run(*command, env=None, stdin=b""):
    """Run a program of ours; its output as bytes, and never a traceback."""
    command = [BIN / command[0], *command[1:]]
    done = subprocess.run(command, input=stdin, capture_output=True, env=PLAIN | (env or {}), timeout=300)
    assert b"Traceback" not in done.stderr + done.stdout, done.stderr.decode(errors="replace")
    return done


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    """A folder with umlauts that holds a configuration, a teacher's answers, and the state after some commands."""
    folder = tmp_path_factory.mktemp("größe ü")
    (folder / "answers.jsonl").write_text(json.dumps({"text": "löwe", "label": "tür"}) + "\n")
    (folder / "cloud.toml").write_text(
        'data = "daten ü"\n[[teachers]]\nname = "recorded"\nkind = "recorded"\nanswers = "answers.jsonl"\n'
        '[[tasks]]\nname = "haus-größe"\nreference = "recorded"\nstudent = "encoder-head"\n',
        encoding="utf-8",
    )
    run("headrace-cloud", "freeze", "haus-größe", "-c", folder / "cloud.toml", "--why", "weil größer „besser“ ist")
    return folder


@consoles
@pytest.mark.parametrize(
    "command",
    [
        ["headrace", "--help"],
        ["headrace-edge", "--help"],
        ["headrace-cloud", "--help"],
    ],
    ids=" ".join,
)
def test_help_is_shown_on_every_console(console, command):
    assert run(*command, env=console).returncode == 0


@consoles
def test_the_cloud_speaks_of_umlauts_on_every_console(console, cloud):
    config = ["-c", cloud / "cloud.toml"]
    done = run("headrace-cloud", "audit", *config, env=console)
    assert done.returncode == 0
    assert done.stdout.count(b"freeze") == 1
    said = json.loads(run("headrace-cloud", "status", *config, "--json", env=console).stdout)
    assert said["tasks"][0]["task"] == "haus-größe"
    assert run("headrace-cloud", "observe", "küche", *config, "--why", "größer", env=console).returncode == 66
    assert run("headrace-edge", "run", "-c", cloud / "nö.toml", env=console).returncode == 81


@consoles
def test_a_question_and_its_answer_pass_through_every_console(console, tier, tmp_path):
    flags = ["--task", "home", "--target", tier.target, "--insecure"]
    done = run("headrace", "ask", "größe ☃ \U0001f600", *flags, "--json", env=console)
    assert json.loads(done.stdout)["answer"]["text"] == "GRÖSSE ☃ \U0001f600"
    assert run("headrace", "ask", "größe ☃", *flags, env=console).returncode == 0
    done = run("headrace", "chat", *flags, "--json", env=console, stdin="größe\n".encode())
    assert json.loads(done.stdout)["answer"]["text"] == "GRÖSSE"
    assert run("headrace", "chat", *flags, env=console, stdin="größe\n".encode()).returncode == 0
    (tmp_path / "ü.jsonl").write_text('{"text": "größe", "kü": 1}\n', encoding="utf-8")
    files = ["--file", tmp_path / "ü.jsonl", "--out", tmp_path / "ö.jsonl"]
    assert run("headrace", "ask", *files, *flags, env=console).returncode == 0
    assert "GRÖSSE" in (tmp_path / "ö.jsonl").read_text(encoding="utf-8")


WRONG = b"caf\xe9"


def test_bytes_that_are_no_text_are_refused_by_name(cloud):
    config = ["-c", cloud / "cloud.toml"]
    ask = ["headrace", "ask", "--target", "127.0.0.1:1", "--insecure", "--deadline", "0.2"]
    for command, name in (
        (["headrace-cloud", "thaw", "haus-größe", *config, "--why", WRONG], "--why"),
        ([*ask, "--task", "home", WRONG], "TEXT"),
        ([*ask, "--task", WRONG, "lights"], "--task"),
        ([*ask, "--task", "home", "lights", "--device", WRONG], "--device"),
        (["headrace", "feedback", WRONG, "--right", "--target", "127.0.0.1:1", "--task", "home"], "QUERY_ID"),
    ):
        done = run(*command)
        assert done.returncode == 2, done.stderr
        assert name in done.stderr.decode()
        assert b"not UTF-8" in done.stderr


def test_a_path_may_hold_any_bytes(tier, tmp_path):
    folder = os.fsencode(tmp_path)
    with open(folder + b"/" + WRONG, "wb") as lines:  # noqa: PTH123 - bytes
        lines.write(b'{"text": "lights"}\n')
    flags = ["--task", "home", "--target", tier.target, "--insecure"]
    files = ["--file", folder + b"/" + WRONG, "--out", folder + b"/out" + WRONG]
    assert run("headrace", "ask", *files, *flags).returncode == 0
    assert run("headrace", "ask", "--file", folder + b"/none" + WRONG, "--out", "x", *flags).returncode == 82
    assert run("headrace-edge", "run", "-c", WRONG).returncode == 81


def shell(line, *arguments):
    done = subprocess.run(
        ["bash", "-c", line, "bash", *arguments], capture_output=True, env=PLAIN | {"BIN": str(BIN)}, timeout=120
    )
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr
    assert b"Error" not in done.stderr
    return done


@pytest.mark.parametrize(
    "command",
    [
        "headrace ask lights --target {target} --task home --insecure",
        "headrace-cloud status -c {config}",
        "headrace-edge --help",
    ],
)
def test_a_reader_that_leaves_and_closed_streams_end_quietly(command, tier, cloud):
    line = "$BIN/" + command.format(target=tier.target, config="'" + str(cloud / "cloud.toml") + "'")
    for streams in ("| head -c 1", "| true", ">&-", "<&- 2>&-", "<&- >&- 2>&-"):
        shell(f"{line} {streams}")


@pytest.mark.parametrize("command", ["headrace --help", "headrace-edge --help", "headrace-cloud status -c {config}"])
def test_a_full_disk_behind_standard_output_is_told_in_one_line(command, cloud):
    done = subprocess.run(
        ["bash", "-c", f"{BIN}/{command.format(config=repr(str(cloud / 'cloud.toml')))} > /dev/full"],
        capture_output=True,
        env=PLAIN,
        timeout=120,
    )
    assert done.returncode == 74
    assert "No space left on device" in done.stderr.decode().splitlines()[-1]
    assert b"Traceback" not in done.stderr


def test_a_full_disk_behind_both_streams_is_the_same_exit_code(cloud):
    line = f"{BIN}/headrace-cloud audit -c {str(cloud / 'cloud.toml')!r} > /dev/full 2> /dev/full"
    assert subprocess.run(["bash", "-c", line], env=PLAIN, timeout=300, check=False).returncode == 74


def test_chat_without_standard_input_ends(tier):
    done = shell(f"$BIN/headrace chat --target {tier.target} --task home --insecure <&-")
    assert done.returncode == 0


def on_a_terminal(columns, *command, env=None):
    """What a command writes to a terminal of that width."""
    leader, follower = pty.openpty()
    size = {"COLUMNS": str(columns), "TERM": "xterm-256color"}
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), follower)
    running = subprocess.Popen([BIN / command[0], *command[1:]], env=PLAIN | size | (env or {}), **streams)
    os.close(follower)
    said = b""
    try:
        while piece := os.read(leader, 65536):
            said += piece
    except OSError:  # the other side is closed
        pass
    os.close(leader)
    running.wait(60)
    return said.decode()


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=["NO_COLOR", "dumb"])
def test_no_colour_where_none_is_wanted(env, tier, cloud):
    for command in (
        ["headrace", "ask", "lights", "--target", tier.target, "--task", "home", "--insecure"],
        ["headrace-cloud", "status", "-c", cloud / "cloud.toml"],
    ):
        said = on_a_terminal(80, *command, env=env)
        assert "\x1b[3" not in said
        assert "\x1b[2m" not in said


def test_a_table_keeps_its_heads_and_values_on_any_width(cloud):
    run("headrace-cloud", "observe", "haus-größe", "-c", cloud / "cloud.toml", "--why", "x" * 70 + " und so weiter")
    audit = ["headrace-cloud", "audit", "-c", cloud / "cloud.toml"]
    piped = run(*audit).stdout.decode()
    assert "x" * 70 + " und so weiter" in piped
    for columns in (80, 40):
        said = on_a_terminal(columns, *audit, env={"NO_COLOR": "1"})
        for word in ("when (UTC)", "who", "task", "did", "why", "before", "after", "haus-größe", "freeze", "observe"):
            assert word in said, said
        assert "…" not in said
