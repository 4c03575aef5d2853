"""A lineage's judge and its second answers, kept beside the rest of the fleet's state."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.reports.status import gather_report
from cloud_worker.reports.status_text import show_report
from cloud_worker.state.lineages import Lineages
from cloud_worker.state.store import Store
from router.core.domain.task import Task
from router.core.errors import ConfigError

TASK = Task("home", "big")


@pytest.fixture
def store(state_url):
    return Store(state_url)


def key(position, version="v1"):
    return ("kitchen", f"q{position}", version)


def test_a_lineage_keeps_the_judge_that_it_began_with(store):
    lineages = Lineages(store.engine)
    assert lineages.judge("home", 1) == ""
    lineages.hold_judge(TASK, "verdict-1")
    lineages.hold_judge(TASK, "verdict-1")
    with pytest.raises(ConfigError, match=r"task home: version: is 1.*verdict-1; now it is verdict-2.*version, 2"):
        Lineages(store.engine).hold_judge(TASK, "verdict-2")
    lineages.hold_judge(Task("home", "big", version=2), "verdict-2")
    assert lineages.judge("home", 1) == "verdict-1"


def test_second_answers_count_for_the_reference_asked_last(store):
    lineages = Lineages(store.engine)
    assert lineages.least_promise("home", 1).rows == 0
    lineages.keep_second_answers(TASK, [(key(position), position > 0) for position in range(10)], 100.0)
    lineages.keep_second_answers(Task("other", "big"), [(key(0), False)], 300.0)
    assert lineages.least_promise("home", 1).share == pytest.approx(0.1)
    lineages.keep_second_answers(TASK, [(key(0, "v2"), True)], 200.0)
    again = Lineages(store.engine)
    assert (again.least_promise("home", 1).share, again.least_promise("home", 1).rows) == (0.0, 1)
    assert again.asked_twice(TASK, "v1") == {key(position): position > 0 for position in range(10)}
    assert again.asked_twice(Task("home", "big", version=2), "v1") == {}


def test_status_tells_the_judge_the_least_promise_and_why_nothing_is_proposed(tmp_path):
    answers = tmp_path / "answers.jsonl"
    answers.write_text('{"text": "lamp", "label": "lights"}\n')
    teachers = [{"name": "big", "kind": "recorded", "answers": str(answers)}]
    config = CloudConfig(data=tmp_path, teachers=teachers, tasks=[TASK, Task("other", "big")])
    store = Store(config.store_url)
    store.declare_tasks(config.tasks)
    store.update_task("home", phase_note="max_disagreement is 0.02, but")
    lineages = Lineages(store.engine)
    lineages.hold_judge(TASK, "verdict-1")
    lineages.keep_second_answers(TASK, [(key(position), position >= 20) for position in range(200)], 100.0)
    report = gather_report(config)
    assert report["tasks"][0]["judged_by"] == "verdict-1"
    assert report["tasks"][0]["least_promise"]["share"] == pytest.approx(0.1)
    assert report["tasks"][1]["least_promise"] is None
    shown = Console(width=200, record=True, file=io.StringIO())
    show_report(shown, report)
    text = shown.export_text()
    assert "home: as judged by verdict-1; the reference differs from itself on 10.0% of 200 queries" in text
    assert "idle max_disagreement is 0.02, but" in text
