"""``up`` in the places and states that people start it in: it serves, or says in one line why it can't."""

import json
import os
import resource
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

SECONDS = 480

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


def assert_serves(cloud_folder, **options):
    up = cloud_folder.run("up", "--insecure", "--detach", **options)
    assert up.returncode == 0, up.stderr
    assert cloud_folder.ask() == "light_on"
    return up


def assert_one_line(done, code, *words):
    assert done.returncode == code, done.stderr
    [line] = done.stderr.splitlines()
    assert line.startswith("headrace-cloud: ")
    assert all(word in line for word in words), line


def environment(**changes):
    given = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    for name, value in changes.items():
        if value is None:
            given.pop(name, None)
        else:
            given[name] = str(value)
    return given


@pytest.mark.parametrize("home", [pytest.param("/proc", marks=pytest.mark.slow), pytest.param(None)])
def test_it_serves_without_a_home_behind_a_proxy_and_beside_files_named_like_modules(cloud_folder, home):
    for name in ("numpy", "select", "types", "ray", "grpc", "cloud_worker"):
        (cloud_folder.folder / f"{name}.py").write_text("raise SystemExit('the wrong one was imported')\n")
    long = cloud_folder.folder / ("long" * 20)
    long.mkdir()
    nobody = "http://127.0.0.1:9"
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "grpc_proxy", "all_proxy", "HTTP_PROXY"), nobody)
    changes = {"HOME": home, "TMPDIR": long, "no_proxy": None, "NO_PROXY": None, **proxies}
    up = assert_serves(cloud_folder, env=environment(**changes))
    told = [line.split("  ")[0] for line in up.stderr.splitlines()]
    for step in ("Preparing recorded", "Ray", "Log writer", "Teacher recorded", "Gateway", "Refresher"):
        assert told.index(f"starting: {step}") < told.index(step)


@pytest.mark.slow
def test_it_serves_from_a_folder_that_was_removed(cloud_folder, tmp_path_factory):
    gone = tmp_path_factory.mktemp("gone")
    script = 'cd "$1" && rmdir "$1" && shift && exec "$@"'
    command = ["sh", "-c", script, "sh", gone, *cloud_folder.command("up", "--insecure", "--detach")]
    up = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert up.returncode == 0, up.stderr
    assert cloud_folder.ask() == "light_on"


# Reads whatever root could, as the interpreter may lie in root's home; writes what its own user may.
SOMEBODY_UNKNOWN = ("setpriv", "--reuid=4242", "--regid=4242", "--clear-groups", "--inh-caps=+dac_read_search")
SOMEBODY_UNKNOWN += ("--ambient-caps=+dac_read_search", "--")


@pytest.fixture
def unowned(make_cloud_folder):
    """A folder that belongs to nobody whom the system knows, where other test runs close no folder above it."""
    folder = Path(tempfile.mkdtemp(prefix="headrace-", dir="/tmp"))
    yield (one := make_cloud_folder(folder))
    one.end()
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("setpriv"), reason="only root can become somebody unknown")
@pytest.mark.parametrize("home", [None, "/proc", "/nowhere"])
def test_it_serves_for_a_user_whom_the_system_does_not_know(unowned, home):
    for path in (unowned.folder, *unowned.folder.iterdir()):
        os.chown(path, 4242, 4242)
    given = {"cwd": unowned.folder, "env": environment(HOME=home, TMPDIR="/tmp", USER=None, LOGNAME=None)}

    def run(*words):
        command = [*SOMEBODY_UNKNOWN, *unowned.command(*words)]
        return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False, **given)

    up = run("up", "--insecure", "--detach")
    assert up.returncode == 0, up.stderr
    assert unowned.ask() == "light_on"
    assert run("status").returncode == 0
    down = run("down")
    assert (down.returncode, "Traceback" in up.stderr + down.stderr) == (0, False), down.stderr


def limited(soft, hard):
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_too_few_descriptors_are_told_in_one_line(cloud_folder):
    up = cloud_folder.run("up", "--insecure", preexec_fn=limited(64, 64))
    assert up.returncode == 85, up.stderr
    assert up.stderr.splitlines()[-1].startswith("headrace-cloud: this process may open 64 files")
    assert "Traceback" not in up.stderr


@pytest.fixture
def full(tmp_path, make_cloud_folder):
    """A disk of its own for a data folder; fill it with ``fill``."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount, as root has")
    yield (one := make_cloud_folder(tmp_path, "disk/data"))
    one.end()
    for _ in range(50):
        if subprocess.run(["umount", disk], capture_output=True, check=False).returncode == 0:
            return
        time.sleep(0.2)


def fill(disk):
    with (disk / "filler").open("wb", buffering=0) as stream:
        try:
            while stream.write(b"0" * 4096):
                pass
        except OSError:
            return


def test_up_on_a_full_disk_says_so_in_one_line_and_status_and_down_work(full):
    (full.folder / "disk" / "data" / "run").mkdir(parents=True)
    fill(full.folder / "disk")
    for words in (("up", "--insecure"), ("up", "--insecure", "--detach")):
        assert_one_line(full.run(*words), 85, "its disk has 0.0 MB free", str(full.folder / "disk" / "data"))
    status = full.run("status", "--json")
    assert (status.returncode, json.loads(status.stdout)["running"]) == (1, False)
    assert full.run("down").returncode == 0


@pytest.mark.slow
def test_status_and_down_work_when_the_disk_fills_while_it_runs(full):
    assert_serves(full)
    fill(full.folder / "disk")
    status = full.run("status", "--json")
    assert (status.returncode, json.loads(status.stdout)["ready"]) == (0, True), status.stderr
    down = full.run("down")
    assert (down.returncode, "has ended" in down.stderr) == (0, True), down.stderr
    status = full.run("status", "--json")
    assert status.returncode == 1, status.stderr
    assert json.loads(status.stdout)["tasks"][0]["task"] == "home"


def test_what_a_detached_start_says_reaches_the_terminal(cloud_folder):
    (cloud_folder.folder / "answers.jsonl").write_text('{"text": "no label"}\n')
    up = cloud_folder.run("up", "--insecure", "--detach")
    assert up.returncode == 82
    assert "answers.jsonl:1: label" in up.stderr
    assert "Traceback" not in up.stderr


@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("setpriv"), reason="only root can become somebody else")
@pytest.mark.parametrize("words", [("status",), ("down",), ("freeze", "home"), ("up", "--insecure")])
def test_another_users_folder_is_refused_in_one_line(cloud_folder, words, let_others_in):
    let_others_in(cloud_folder.folder)
    (cloud_folder.folder / "data" / "run").mkdir(parents=True)
    (cloud_folder.folder / "data" / "run" / "lock").write_text("")
    (cloud_folder.folder / "data").chmod(0o700)
    command = cloud_folder.command(words[0], *words[1:])
    become = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
    done = subprocess.run([*become, *command], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert_one_line(
        done, done.returncode, "the state of the fleet" if words[0] == "freeze" else str(cloud_folder.folder / "data")
    )
    assert done.returncode in {80, 81, 85}
