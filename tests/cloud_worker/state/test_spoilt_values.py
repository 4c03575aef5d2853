"""Single values that a disk has changed, in a database or files that are whole otherwise, are as good as none."""

import json
import sqlite3
import time

import pytest
from typer.testing import CliRunner

from cloud_worker.cli import app
from cloud_worker.config.cloud import read_config
from cloud_worker.config.testing import cloud_toml
from cloud_worker.gateway.run_file import RunFile
from cloud_worker.releases.recovered_state import open_store
from cloud_worker.running.config import keep_running, what_runs
from cloud_worker.running.process_lock import Up, announce, sole, who_runs
from cloud_worker.state.overrides import Overrides
from cloud_worker.state.task_figures import Board, Figures
from router.core.domain.task import Mode
from router.core.release.reports import DeviceReport, TaskReport

CONFIG = cloud_toml()
SAID = DeviceReport("kitchen", "0.1", tasks=(TaskReport("home", 0, answered=9, kept=2),))
SPOILT = [
    b"no JSON",
    b"",
    b"[1]",
    b"null",
    b"3",
    b"\xff\xfe",
    b"[" * 100_000,
    b"9" * 5_000,
    b'{"pid": "x"}',
    b'{"tasks": [1]}',
]


@pytest.fixture
def path(tmp_path):
    (tmp_path / "answers.jsonl").write_text('{"text": "lamp", "label": "lights"}\n')
    path = tmp_path / "cloud.toml"
    path.write_text(CONFIG)
    config = read_config(path)
    config.data.mkdir()
    store = open_store(config)
    store.declare_tasks(config.tasks)
    store.device("kitchen")
    store.save_report(SAID, time.time())
    Board(store.engine).post("home", 1, Figures(time.time()))
    Overrides(store.engine).lay("freeze", "home", who="me", why="test", now=time.time(), frozen=True)
    store.engine.dispose()
    return path


def spoil(path, statement, value):
    with sqlite3.connect(path.parent / "data" / "fleet.sqlite") as connection:
        connection.execute(statement, (value,))
    connection.close()


def told(*words):
    done = CliRunner().invoke(app, [*words])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert "Traceback" not in done.output
    return done.output


@pytest.mark.parametrize("value", SPOILT)
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE devices SET report = CAST(? AS TEXT)",
        "UPDATE figures SET figures = CAST(? AS TEXT)",
        "UPDATE audit SET before = CAST(? AS TEXT)",
        "UPDATE tasks SET phase_note = CAST(? AS TEXT)",
    ],
)
def test_a_spoilt_value_of_the_fleet_is_as_good_as_none(path, statement, value):
    spoil(path, statement, value)
    assert "home" in told("status", "-c", str(path))
    assert "freeze" in told("audit", "-c", str(path))
    store = open_store(read_config(path))
    store.save_report(SAID, time.time())
    assert store.device("kitchen").report == SAID


def test_a_mode_that_cannot_be_read_escalates(path):
    spoil(path, "UPDATE tasks SET mode = ?", "serv\x00")
    store = open_store(read_config(path))
    assert store.task_state("home").mode is Mode.ESCALATE_ALL
    assert Overrides(store.engine).of("home").mode is Mode.ESCALATE_ALL
    assert "home" in told("status", "-c", str(path))


@pytest.mark.parametrize("value", SPOILT)
@pytest.mark.parametrize("name", ["up.json", "config.json", "lock"])
def test_a_spoilt_file_of_what_runs_is_as_good_as_none(path, name, value):
    config = read_config(path)
    with sole(config.run_folder):
        keep_running(config.run_folder, config)
        announce(config.run_folder, Up(1, "127.0.0.1:1", "127.0.0.1:2", time.time()))
        (config.run_folder / name).write_bytes(value)
        pid, up = who_runs(config.run_folder)
        assert isinstance(pid, int)
        assert (up is None) == (name == "up.json")
        assert (what_runs(config.run_folder) is None) == (name == "config.json")
        assert "home" in told("status", "-c", str(path))


@pytest.mark.parametrize("value", [*SPOILT, b'{"pid": 1, "port": -3}', b'{"pid": 1, "port": 1e99}', b'{"pid": 1}'])
def test_a_gateway_opens_at_any_port_where_its_run_file_tells_none(tmp_path, value):
    (tmp_path / "gateway-0.json").write_bytes(value)
    assert RunFile(tmp_path, "gateway-0").reopened("127.0.0.1:0") == "127.0.0.1:0"


def test_a_gateway_opens_at_the_port_that_it_had(tmp_path):
    (tmp_path / "gateway-0.json").write_text(json.dumps({"pid": 1, "port": 4321}))
    assert RunFile(tmp_path, "gateway-0").reopened("127.0.0.1:0") == "127.0.0.1:4321"
    assert RunFile(tmp_path, "gateway-0").reopened("127.0.0.1:7") == "127.0.0.1:7"
