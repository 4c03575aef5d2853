"""Nobody is called who was not asked for: in an empty home and without network, no command looks up or leaves a thing.

Each command runs in a network of its own whose one name server notes every question, native code's too.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Runs inside the namespaces: a name server on loopback beside the command; questions go to a file, code and words out.
WITNESS = """
import os, signal, socket, subprocess, sys, threading
resolver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
resolver.bind(("127.0.0.1", 53))
questions = open(sys.argv[1], "w", buffering=1)
def note():
    while True:
        packet, caller = resolver.recvfrom(4096)
        labels, at = [], 12
        while packet[at]:
            labels.append(packet[at + 1 : at + 1 + packet[at]].decode(errors="replace"))
            at += packet[at] + 1
        print(".".join(labels), file=questions)
        resolver.sendto(packet[:2] + b"\\x81\\x83" + packet[4:6] + bytes(6) + packet[12:], caller)  # no such name
threading.Thread(target=note, daemon=True).start()
sys.exit(subprocess.run(sys.argv[2:]).returncode)
"""


def _can_unshare():
    if not (shutil.which("unshare") and shutil.which("ip")):
        return False
    tried = subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True, check=False)
    return tried.returncode == 0


pytestmark = pytest.mark.skipif(not _can_unshare(), reason="needs the right to make namespaces, as root has")


@pytest.fixture
def alone(tmp_path):
    """Runs a command without network, in an empty home; gives what it asked name servers, and what it left."""
    home, resolv, asked = tmp_path / "home", tmp_path / "resolv.conf", tmp_path / "asked"
    home.mkdir()
    resolv.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")

    def run(*command, timeout=120, **environment):
        kept = {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(tmp_path)}
        script = f'ip link set lo up; mount --bind "{resolv}" /etc/resolv.conf; exec "$@"'
        words = ["unshare", "--net", "--mount", "sh", "-c", script, "sh", sys.executable, "-c", WITNESS, str(asked)]
        done = subprocess.run(
            [*words, *map(str, command)],
            capture_output=True, text=True, timeout=timeout, check=False, env=kept | environment, cwd=tmp_path,
        )  # fmt: skip
        left = sorted(str(path.relative_to(home)) for path in home.rglob("*"))
        return done, asked.read_text().split(), left

    return run


def python(script, *words):
    return (sys.executable, "-c", script, *words)


SEES = 'import socket\ntry: socket.getaddrinfo("example.org", 80)\nexcept OSError: pass\nopen("%s/x", "w")'


def test_the_witness_sees_who_asks_and_what_is_left(alone, tmp_path):
    _, asked, left = alone(*python(SEES % (tmp_path / "home")))
    assert (set(asked), left) == ({"example.org"}, ["x"])


@pytest.mark.parametrize(
    "imports",
    [
        "import router; import onnxruntime as o; o.SessionOptions()",
        "import router.students.loader",
        "import edge_agent.daemon",
        "import cloud_worker.language.encoder",
        "import cloud_worker; import onnxruntime, transformers, huggingface_hub",
        "import cloud_worker.teachers.litellm_teacher as h; h.HostedWriter('anthropic/claude-sonnet-4-5', key='k')",
    ],
)
def test_no_import_of_ours_calls_home(alone, imports):
    wait = "import time; time.sleep(1.5)"  # native threads ask a moment later
    done, asked, left = alone(*python(f"{imports}; {wait}"))
    assert done.returncode == 0, done.stderr
    assert (asked, left) == ([], [])


def test_a_variable_that_is_set_to_nothing_asks_for_nothing(alone):
    wait = "import router; import onnxruntime as o; o.SessionOptions(); import time; time.sleep(1.5)"
    done, asked, left = alone(*python(wait), ORT_DISABLE_TELEMETRY="", DO_NOT_TRACK=" ", HF_HUB_DISABLE_TELEMETRY="")
    assert done.returncode == 0, done.stderr
    assert (asked, left) == ([], [])


def test_an_agent_that_runs_calls_nobody_but_its_cloud(alone, tmp_path):
    (tmp_path / "edge.toml").write_text(
        'device = "kitchen"\ndata = "data"\n[door]\nlisten = "127.0.0.1:0"\n[upstream]\ntarget = "127.0.0.1:9"\n'
    )
    command = ["-m", "edge_agent.cli", "run", "--config", "edge.toml", "--insecure"]
    done, asked, left = alone("timeout", "-s", "INT", "6", sys.executable, "-P", *command)
    assert "listening" in done.stderr, done.stderr
    assert (asked, left) == ([], [])


def test_a_backtest_with_its_picture_leaves_only_the_picture(alone, tmp_path):
    words = ("lamp", "song", "door")
    rows = [{"text": f"{words[n % 3]} {n % 11}", "answer": words[n % 3]} for n in range(200)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    main = "import sys; from router.cli import app; app(sys.argv[1:])"
    done, asked, left = alone(*python(main, "backtest", "log.jsonl", "--picture", "p.png"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "p.png").is_file()
    assert (asked, left) == ([], [])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_whole_loop_calls_nobody(alone, tmp_path):
    """Gateway, teachers with torch, refresher, exports, agents with their students: all of them, in the demo."""
    command = ("-m", "demo", "--no-ui", "--run", "run", "--limit", "1500", "--promise", "0.1")
    done, asked, left = alone(sys.executable, *command, timeout=800, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["queries"] == 1500
    assert (asked, left) == ([], [])
