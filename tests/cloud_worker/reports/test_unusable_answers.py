"""Answers that teach nobody are counted, and the latest is shown."""

import io
import json

from rich.console import Console
from typer.testing import CliRunner

from cloud_worker.cli import app
from cloud_worker.config.cloud import read_config
from cloud_worker.config.testing import cloud_toml
from cloud_worker.log.distillation_log import DistillationLog
from cloud_worker.reports.status import gather_report
from cloud_worker.reports.status_text import show_report
from cloud_worker.reports.unusable_answers import SAMPLE_CHARACTERS, no_lesson_lines, no_lessons_of
from cloud_worker.state.store import Store

CONFIG = cloud_toml()


def test_without_a_log_nothing_is_told(tmp_path):
    said = no_lessons_of(DistillationLog(tmp_path / "log"), "home")
    assert said == {"rows": 0, "of": 0, "latest": None}
    assert no_lesson_lines("home", said) == []


def test_what_is_no_lesson_is_counted_and_the_latest_is_shown(tmp_path, record):
    log = DistillationLog(tmp_path / "log")
    long = "x" * 500
    log.append([record(0), record(1, answer="{", problem="it is no JSON")], "spool", 1)
    log.append([record(2, answer=long, problem="its reason can't be read"), record(3, task="car")], "spool", 2)
    said = no_lessons_of(log, "home")
    assert (said["rows"], said["of"], said["latest"]["query_id"]) == (2, 3, "q2")
    assert said["latest"]["answer"] == long[:SAMPLE_CHARACTERS]
    (line,) = no_lesson_lines("home", said)
    assert line.startswith(
        "home: 2 of 3 logged answers are no lessons; the latest, because its reason can't be read: 'x"
    )
    assert no_lessons_of(log, "car")["rows"] == 0


def test_status_tells_them_to_people_and_programs(tmp_path, record):
    (tmp_path / "answers.jsonl").write_text('{"text": "lamp", "label": "lights"}\n')
    path = tmp_path / "cloud.toml"
    path.write_text(CONFIG)
    config = read_config(path)
    config.data.mkdir()
    Store(config.store_url).declare_tasks(config.tasks)
    DistillationLog(config.log_folder).append(
        [record(0), record(1, answer="[bold]oops", problem="it is no JSON")], "spool", 1
    )
    done = CliRunner().invoke(app, ["status", "-c", str(path), "--json"])
    (task,) = json.loads(done.stdout)["tasks"]
    assert (task["no_lessons"]["rows"], task["no_lessons"]["of"]) == (1, 2)
    console = Console(file=io.StringIO(), width=200)
    show_report(console, gather_report(config))
    assert "1 of 2 logged answers are no lessons; the latest, because it is no JSON: '[bold]oops'" in (
        console.file.getvalue()
    )
