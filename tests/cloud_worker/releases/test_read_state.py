"""What only tells reads the fleet's database in any state of its disk, beside whoever holds it, and changes nothing."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from cloud_worker.cli import app
from cloud_worker.config.cloud import read_config
from cloud_worker.releases.first_release import publish_first_releases
from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.recovered_state import open_for_reading
from cloud_worker.state.overrides import Overrides
from cloud_worker.state.store import Store
from router.core.errors import UnavailableError

CONFIG = """
data = "disk/data"
[[teachers]]
name = "big"
kind = "recorded"
answers = "answers.jsonl"
[[tasks]]
name = "home"
reference = "big"
"""
TELLING = (
    ("status",),
    ("audit",),
    ("devices", "list"),
    ("feedback", "list", "home"),
    ("competence", "home"),
)


@pytest.fixture
def path(tmp_path):
    """A configuration whose data folder may have a disk of its own."""
    (tmp_path / "answers.jsonl").write_text('{"text": "lamp", "label": "lights"}\n')
    (tmp_path / "disk").mkdir()
    (tmp_path / "cloud.toml").write_text(CONFIG)
    return tmp_path / "cloud.toml"


@pytest.fixture
def small_disk(path):
    """The data folder's own disk, of one megabyte."""
    disk = path.parent / "disk"
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount, as root has")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def declared(path):
    settings = read_config(path)
    settings.data.mkdir()
    store = Store(settings.store_url)
    store.declare_tasks(settings.tasks)
    return store


def fill(disk):
    with (disk / "filler").open("wb", buffering=0) as stream:
        try:
            while stream.write(b"0" * 512):
                pass
        except OSError:
            return


def told(path, *words):
    """What a command says; it ends as usual: 1 for `status` while nothing runs."""
    done = CliRunner().invoke(app, [*words, "--config", str(path)], catch_exceptions=False)
    assert done.exit_code == (1 if words[0] == "status" else 0), done.output
    return done.stdout


def files(path):
    return {one.name: one.read_bytes() for one in (path.parent / "disk" / "data").iterdir() if one.name != "run"}


@pytest.mark.parametrize("words", TELLING, ids=lambda words: words[0])
def test_what_only_tells_works_on_a_full_disk_beside_whoever_runs(path, small_disk, words):
    store = declared(path)
    with store.engine.connect() as held:  # as `up` has it
        held.execute(text("SELECT 1 FROM tasks"))
        fill(small_disk)
        before = files(path)
        said = told(path, *words)
        assert files(path).keys() == before.keys()
    if words == ("status",):
        assert "home" in said


def test_it_works_on_a_full_disk_while_nothing_runs(path, small_disk):
    declared(path).engine.dispose()
    fill(small_disk)
    assert "home" in told(path, "status")


KILLED = """
import os, pathlib, sys
from cloud_worker.config.cloud import read_config
from cloud_worker.state.store import Store
settings = read_config(pathlib.Path(sys.argv[1]))
settings.data.mkdir()
store = Store(settings.store_url)
store.declare_tasks(settings.tasks)
os._exit(9)
"""


@pytest.mark.parametrize("left", ["-shm", ""], ids=["as it was left", "without its memory map"])
def test_it_works_on_a_full_disk_after_a_kill_that_left_everything_in_the_write_ahead_log(path, small_disk, left):
    subprocess.run([sys.executable, "-c", KILLED, path], check=False)
    data = small_disk / "data"
    assert (data / "fleet.sqlite-wal").stat().st_size > 0
    if not left:
        (data / "fleet.sqlite-shm").unlink()
    fill(small_disk)
    assert "home" in told(path, "status")


def test_a_lock_of_another_keeps_nobody_from_reading_and_what_is_committed_is_seen(path):
    store = declared(path)
    with sqlite3.connect(path.parent / "disk" / "data" / "fleet.sqlite", isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        reading = open_for_reading(read_config(path))
        before = reading.task_state("home")
        assert (json.loads(told(path, "status", "--json"))["tasks"][0]["task"], before.phase_note) == ("home", "")
        other.execute("ROLLBACK")
    store.update_task("home", phase_note="new")
    assert reading.task_state("home").phase_note == "new"


def test_what_only_tells_before_the_first_start_makes_nothing(path):
    for words in TELLING:
        told(path, *words)
    assert [one.name for one in (path.parent / "disk").rglob("*") if one.is_file()] == []


def test_a_file_held_by_one_that_lets_nobody_read_is_told_in_one_line_after_five_seconds(path):
    declared(path).engine.dispose()
    with sqlite3.connect(path.parent / "disk" / "data" / "fleet.sqlite", isolation_level=None) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        with pytest.raises(UnavailableError, match="held the fleet's database for 5 s"):
            open_for_reading(read_config(path))
        assert time.monotonic() - began < 7.5


@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("setpriv"), reason="only root can become somebody else")
def test_another_user_may_look_into_a_folder_that_he_may_read(path, let_others_in):
    declared(path).engine.dispose()
    let_others_in(path.parent)
    script = (
        "import pathlib, sys; from cloud_worker.config.cloud import read_config\n"
        "from cloud_worker.releases.recovered_state import open_for_reading\n"
        "print(open_for_reading(read_config(pathlib.Path(sys.argv[1]))).task_state('home').name)"
    )
    become = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--", sys.executable, "-c", script]
    done = subprocess.run([*become, path], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("home\n", "")


@pytest.mark.parametrize("beside", [True, False], ids=["while another has it open", "while nothing runs"])
def test_a_file_that_lost_its_end_is_made_anew_and_told(path, beside):
    store = declared(path)
    publish_first_releases(read_config(path).tasks, store, Publisher(read_config(path).releases_folder))
    store.engine.dispose()
    if beside:
        Overrides(store.engine).lay(
            "freeze", "home", who="me", why="", now=1.0, frozen=True
        )  # in the write-ahead log alone
    file = path.parent / "disk" / "data" / "fleet.sqlite"
    os.truncate(file, max(file.stat().st_size // 2, 512))
    report = json.loads(told(path, "status", "--json"))
    assert "home" in report["state_lost"]
    assert any("fleet.sqlite.damaged" in name for name in report["log"]["put_aside"])
    assert "pin one by force" in told(path, "status")
