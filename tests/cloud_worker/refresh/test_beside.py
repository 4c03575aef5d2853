"""What a student learns from beside its task's own lessons."""

from dataclasses import replace

import pytest

from cloud_worker.state.store import Store
from cloud_worker.training.auxiliary_data import AuxiliaryData, auxiliary_data_of, unanswered
from router.core.domain.record import is_set_aside, may_teach
from router.core.domain.task import Kind, Task

TASK = Task("home", "big", kind=Kind.TEXT, recipe="denoise+answers")


@pytest.fixture
def store(tmp_path):
    return Store(f"sqlite:///{tmp_path / 'fleet.sqlite'}")


def set_aside(record):
    return next(
        row
        for row in (record(position, "kept aside", explored=True) for position in range(100))
        if is_set_aside(row.caller, row.query_id)
    )


def test_queries_without_a_lesson_are_those_of_other_versions_of_cheaper_teachers_and_unreadable_ones(record):
    taught = [record(1, "taught")]
    rows = [
        *taught,
        record(2, "taught"),
        record(3, "unreadable", problem="no JSON", explored=False),
        record(4, "older", task_version=0, explored=False),
        record(5, "cheaper", is_reference=False, explored=False),
        record(6, "cheaper", is_reference=False, explored=False),
    ]
    assert [row.text for row in unanswered(rows, taught, set())] == ["unreadable", "older", "cheaper"]


def test_what_is_set_aside_to_certify_is_practised_on_only_once_it_is_spent(record):
    row = set_aside(record)
    again = replace(row, teacher_version="older", explored=False)
    assert not may_teach(row)
    assert unanswered([row, again], [], set()) == ()
    assert len(unanswered([row], [], {row.key})) == 1


def test_nothing_is_gathered_that_the_recipe_does_not_use(record, store):
    logs = {"home": (TASK, [record(1, "unreadable", problem="no JSON", explored=False)])}
    assert [row.text for row in auxiliary_data_of(TASK, logs, store).queries] == ["unreadable"]
    assert auxiliary_data_of(replace(TASK, recipe="answers"), logs, store) == AuxiliaryData()


def test_other_tasks_bring_the_rows_that_may_teach_them(record, store):
    other = Task("other", "big", kind=Kind.TEXT)
    rows = [record(1, "lamp", task="other"), replace(set_aside(record), task="other")]
    mixing = replace(TASK, recipe="instructions", options={"tasks": ["other"]})
    beside = auxiliary_data_of(mixing, {"home": (mixing, []), "other": (other, rows)}, store)
    assert beside.tasks == ((other, (rows[0],)),)
