"""What ``status`` prints of words that come from outside."""

import os
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console
from typer.testing import CliRunner

from cloud_worker.cli import app
from cloud_worker.config.cloud import read_config
from cloud_worker.config.testing import cloud_toml
from cloud_worker.log.distillation_log import DistillationLog
from cloud_worker.reports.status import gather_report
from cloud_worker.reports.status_text import show_report
from cloud_worker.state.store import Store
from router.core.domain.record import Record
from router.core.release.reports import DeviceReport

CONFIG = cloud_toml(teacher="recorded")


@pytest.fixture
def path(tmp_path):
    (tmp_path / "answers.jsonl").write_text('{"text": "lights on", "label": "light_on"}\n')
    path = tmp_path / "cloud.toml"
    path.write_text(CONFIG)
    config = read_config(path)
    config.data.mkdir()
    store = Store(config.store_url)
    store.declare_tasks(config.tasks)
    store.update_task("home", phase_note="failed: [/a] [red]")
    store.device("edge")
    store.save_report(DeviceReport("edge", state="[/b]"), 1.0)
    return path


def test_status_prints_notes_and_states_as_they_are(path):
    said = CliRunner().invoke(app, ["status", "--config", str(path)], env={"COLUMNS": "200"})
    assert said.exit_code == 1, said.output
    assert "failed: [/a] [red]" in said.output
    assert "[/b]" in said.output


def test_what_is_said_of_a_promise_is_printed_as_it_is_and_in_our_colours(path):
    report = gather_report(read_config(path))
    (task,) = report["tasks"]
    task |= {"task": "[/c]", "judged_by": "[/d]"}
    task["promise"] = replace(task["promise"], why="[/e]", judged_by="[/f]", reference="[/g]")
    console = Console(file=StringIO(), width=200, markup=False)
    show_report(console, report)
    said = console.file.getvalue()
    assert all(f"[/{letter}]" in said for letter in "cdefg")
    assert "[bold]" not in said


def test_status_tells_everything_else_while_the_log_is_damaged(path):
    config = read_config(path)
    row = Record("kitchen", "q1", "big", "v1", "home", 1, 1_800_000_000.0, 1_800_000_000.0, "", "on")
    DistillationLog(config.log_folder).append([row], "spool", 1)
    [commit] = (config.log_folder / "_delta_log").glob("*1.json")
    os.truncate(commit, 20)
    report = gather_report(config)
    assert report["log"]["state"] == "the log can't be read now; its writer looks into it"
    assert [task["task"] for task in report["tasks"]] == ["home"]
    assert [device["device"] for device in report["devices"]] == ["edge"]
    show_report(Console(file=(out := StringIO()), width=200), report)
    assert "log: the log can't be read now; its writer looks into it" in out.getvalue()
    assert "version -1" not in out.getvalue()
