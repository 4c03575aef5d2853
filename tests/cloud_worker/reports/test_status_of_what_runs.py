"""``status`` tells what runs, where ``cloud.toml`` says otherwise, and which devices are there."""

import json
import re
import sqlite3
import time
from io import StringIO

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from rich.console import Console
from typer.testing import CliRunner

from cloud_worker.cli import app
from cloud_worker.config.cloud import read_config
from cloud_worker.config.sections import Fleet
from cloud_worker.config.testing import cloud_toml
from cloud_worker.fleet.metrics import PresenceMetrics
from cloud_worker.fleet.presence import Presence
from cloud_worker.fleet.service import FleetServicer
from cloud_worker.reports.devices import MOST_LINES
from cloud_worker.reports.status import gather_report, ready_for_json
from cloud_worker.reports.status_text import show_report
from cloud_worker.running.config import keep_running
from cloud_worker.running.process_lock import sole
from cloud_worker.state.store import Store
from cloud_worker.state.tallies import Tallies
from router.core.domain.task import Mode, Task
from router.core.release.reports import DeviceReport, TaskReport

CONFIG = cloud_toml(teacher="recorded")
CAR = '[[tasks]]\nname = "car"\nreference = "recorded"\n'


@pytest.fixture
def path(tmp_path):
    (tmp_path / "answers.jsonl").write_text('{"text": "lights on", "label": "light_on"}\n')
    path = tmp_path / "cloud.toml"
    path.write_text(CONFIG + CAR)
    config = read_config(path)
    config.data.mkdir()
    Store(config.store_url).declare_tasks(config.tasks)
    return path


@pytest.fixture
def runs(path):
    """As if ``up`` had been called with the file as it is now."""
    config = read_config(path)
    with sole(config.run_folder):
        keep_running(config.run_folder, config)
        yield config


def text_of(report):
    console = Console(file=StringIO(), width=200)
    show_report(console, report)
    return console.file.getvalue()


def test_what_runs_is_told_and_each_key_in_which_the_file_differs(path, runs):
    faster = CONFIG.replace('data = "data"', 'data = "data"\n[fleet]\nsync_seconds = 3')
    path.write_text(faster + "[tasks.objective]\nmax_disagreement = 0.01\n")
    report = gather_report(read_config(path))
    assert [task["task"] for task in report["tasks"]] == ["car", "home"]  # both still run
    assert report["tasks"][1]["promise"].max_disagreement == 0.02
    differs = {one["key"]: (one["runs"], one["file"]) for one in report["config_differs"]}
    assert differs["tasks.home.objective.max_disagreement"] == (0.02, 0.01)
    assert differs["fleet.sync_seconds"] == (10.0, 3.0)
    assert differs["tasks.car.name"] == ("car", "(not there)")
    said = text_of(report)
    assert "takes effect at the next `up`" in said
    assert "tasks.home.objective.max_disagreement: 0.02 -> 0.01" in said
    json.dumps(ready_for_json(report))


def test_a_file_that_is_as_what_runs_differs_in_nothing(path, runs):
    report = gather_report(read_config(path))
    assert report["config_differs"] == []
    assert "differs" not in text_of(report)


def test_a_task_that_was_removed_goes_with_the_next_start(path):
    path.write_text(CONFIG)
    report = gather_report(read_config(path))
    assert [task["task"] for task in report["tasks"]] == ["home"]
    assert "car" not in text_of(report)


def test_no_password_is_kept_beside_what_runs(path):
    config = read_config(path)
    secret = config.model_copy(update={"store": config.store.model_copy(update={"url": "postgresql://me:word@db/x"})})
    config.run_folder.mkdir()
    keep_running(config.run_folder, secret)
    assert "word@" not in (config.run_folder / "config.json").read_text()


def test_a_device_is_told_that_a_task_was_withdrawn_and_of_no_other(path):
    store = Store(read_config(path).store_url)
    servicer = FleetServicer(store, Fleet(), insecure=True, tasks=[Task("home", "recorded")])
    [order] = servicer.answer(DeviceReport("kitchen", tasks=(TaskReport("car"), TaskReport("home")))).tasks
    assert (order.task, order.is_withdrawn, order.mode) == ("car", True, Mode.ESCALATE_ALL)
    assert servicer.answer(DeviceReport("hall", tasks=(TaskReport("home"),))).tasks == ()


PRESENCE = Presence.of(10.0, 0.2)


@pytest.mark.parametrize(
    ("away", "up_for", "state"),
    [
        (0, 1e6, "ok"),
        (36, 1e6, "ok"),
        (37, 1e6, "silent"),
        (899, 1e6, "silent"),
        (18 * 60, 1e6, "lost"),
        (18 * 60, 5, "silent"),  # it has not had the time to report since the start
        (18 * 60, 60, "lost"),
        (18 * 60, None, "lost"),
    ],
)
def test_a_device_is_told_by_when_it_was_heard_last(away, up_for, state):
    now = 1e9
    assert PRESENCE.state("ok", now - away, now, None if up_for is None else now - up_for) == state
    assert PRESENCE.state("disk_full", now, now) == "disk_full"


def test_devices_that_report_seldom_may_be_silent_for_longer():
    hourly = Presence.of(3600.0, 0.2)
    assert hourly.state("ok", 0.0, 3 * 3600.0) == "ok"
    assert hourly.state("ok", 0.0, 4 * 3600.0) == "silent"


def meet(path, name, at, tasks=1):
    store = Store(read_config(path).store_url)
    store.device(name)
    store.save_report(DeviceReport(name, tasks=tuple(TaskReport(f"task-{position}") for position in range(tasks))), at)
    return store.device(name).seed


def ran(*words):
    return CliRunner().invoke(app, list(words), env={"COLUMNS": "200"})


def test_devices_are_listed_and_a_removed_one_that_comes_back_is_new(path):
    seed = meet(path, "kitchen", time.time())
    meet(path, "hall", time.time() - 18 * 60)
    listed = json.loads(ran("devices", "list", "-c", str(path), "--json").output)["devices"]
    assert {one["device"]: one["state"] for one in listed} == {"kitchen": "ok", "hall": "lost"}
    assert "1 lost" in ran("devices", "list", "-c", str(path)).output
    removed = ran("devices", "remove", "kitchen", "-c", str(path), "--who", "me", "--why", "replaced", "--json")
    assert json.loads(removed.output) == {"device": "kitchen", "removed": True}
    again = ran("devices", "remove", "kitchen", "-c", str(path))
    assert again.exit_code != 0 and "no device 'kitchen'" in again.output
    audit = ran("audit", "-c", str(path))
    assert "remove device kitchen" in audit.output and "replaced" in audit.output
    assert meet(path, "kitchen", time.time()) != seed


def test_a_large_fleet_fits_a_screen_and_those_that_are_lost_come_first(path):
    for position in range(30):
        meet(path, f"device-{position:02}", time.time() - (18 * 60 if position == 17 else 0), tasks=3)
    report = gather_report(read_config(path))
    assert len(report["devices"]) == 30
    said = text_of(report)
    assert said.count("device-") <= MOST_LINES
    assert said.index("device-17") < said.index("device-29")
    assert "50 lines more of 30 devices" in said


def test_a_screen_says_the_same_as_the_whole_and_reads_no_report_that_it_does_not_show(path):
    now = time.time()
    for position in range(60):
        meet(path, f"device-{position:02}", now - (18 * 60 if position == 17 else position / 1000), tasks=position % 4)
    config = read_config(path)
    brief, whole = (re.sub(r"\d+ s ago", "", text_of(gather_report(config, screenful=on))) for on in (True, False))
    assert brief == whole
    with sqlite3.connect(config.data / "fleet.sqlite") as connection:
        connection.execute("UPDATE devices SET report = 'no JSON' WHERE id = 'device-59'")
    connection.close()
    assert "device-17" in text_of(gather_report(config, screenful=True))


def test_the_json_of_a_large_fleet_is_bounded_counts_everybody_and_has_the_lost_first(path):
    now = time.time()
    for position in range(6):
        meet(path, f"device-{position}", now - (18 * 60 if position == 4 else position / 1000))
    report = json.loads(ran("status", "--json", "--devices", "2", "-c", str(path)).output)
    assert [device["device"] for device in report["devices"]] == ["device-4", "device-0"]
    assert report["fleet"] == {"devices": 6, "by_state": {"lost": 1, "ok": 5}}
    assert len(json.loads(ran("devices", "list", "--json", "-c", str(path)).output)["devices"]) == 6


def test_devices_are_a_gauge_by_their_state(path):
    for name, away in (("kitchen", 0), ("hall", 60), ("car", 18 * 60)):
        meet(path, name, time.time() - away)
    reader = InMemoryMetricReader()
    meter = MeterProvider([reader]).get_meter("test")
    PresenceMetrics(meter, Tallies(Store(read_config(path).store_url).engine), PRESENCE)
    [resource] = reader.get_metrics_data().resource_metrics
    points = resource.scope_metrics[0].metrics[0].data.data_points
    assert {point.attributes["state"]: point.value for point in points} == {"ok": 1, "silent": 1, "lost": 1}
