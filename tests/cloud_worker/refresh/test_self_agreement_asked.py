"""The reference is asked twice: how often, on what, and what follows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloud_worker.config.teachers import TeacherSettings
from cloud_worker.refresh.monitoring.reask import question_again
from cloud_worker.refresh.monitoring.reference_consistency import AT_ONCE, SecondAnswers, draws
from cloud_worker.state.lineages import Lineages
from cloud_worker.state.store import Store
from cloud_worker.teachers.base import NoAnswer, TeacherAnswer
from router.core.domain.chat import messages_as_json
from router.core.domain.query import GenerationLimits, Message
from router.core.domain.task import Kind, Task
from router.core.errors import UnavailableError
from router.core.monitoring.reference_consistency import ASKED_TWICE, ASKED_TWICE_STEADY

TASK = Task("home", "big")


class Reference:
    """A teacher that says something else the second time to some queries."""

    def __init__(self):
        self.asked, self.wavers, self.version, self.down = [], set(), "v1", False

    def __call__(self, task, records):
        assert task.reference == "big"
        if self.down:
            raise UnavailableError("teacher 'big' is being restarted")
        self.asked += [record.query_id for record in records]
        return [self.reply(record) for record in records]

    def reply(self, record):
        if record.text == "late":
            return None
        if record.text == "refused":
            return NoAnswer("is too long")
        return TeacherAnswer("another" if record.query_id in self.wavers else record.answer, self.version)


@pytest.fixture
def reference():
    return Reference()


@pytest.fixture
def second(tmp_path, reference):
    store = Store(f"sqlite:///{tmp_path / 'fleet.sqlite'}")
    return SecondAnswers(TASK, lambda asked, one, other: one == other, Lineages(store.engine), reference, draws=True)


def test_a_reference_that_draws_is_asked_200_explored_queries_once_each(second, reference, record):
    rows = [record(position, explored=position % 2 == 0) for position in range(500)]
    second.observe(rows)
    assert len(reference.asked) == AT_ONCE
    assert second.least(rows) is None
    second.settle(rows)
    assert len(reference.asked) == len(set(reference.asked)) == ASKED_TWICE
    assert all(int(query[1:]) % 2 == 0 for query in reference.asked)
    assert second.least(rows).rows == ASKED_TWICE


def test_a_steady_reference_costs_little_and_is_asked_on_when_it_wavers(second, reference, record):
    steady = replace(second, draws=False)
    rows = [record(position) for position in range(400)]
    steady.settle(rows)
    assert len(reference.asked) == ASKED_TWICE_STEADY
    assert steady.least(rows).share == 0
    changed = [record(position, teacher_version="v2") for position in range(400)]
    reference.version, reference.asked = "v2", []
    reference.wavers.add("q3")
    steady.settle(changed)
    assert len(reference.asked) == ASKED_TWICE
    assert steady.least(changed).share == pytest.approx(1 / ASKED_TWICE)


def test_a_promise_that_the_reference_breaks_is_refused_with_the_figure_once_all_are_asked(second, reference, record):
    rows = [record(position) for position in range(300)]
    reference.wavers = {f"q{position}" for position in range(0, 300, 10)}
    second.observe(rows)
    assert second.refusal(rows) == ""
    second.settle(rows)
    assert second.refusal(rows) == (
        "max_disagreement is 0.02, but the reference differs from itself on 10.0% of 200 queries asked twice "
        "(6.2% to 15.0%); the least promise possible is 0.1 as measured, and one below 0.0622 is refused"
    )
    patient = replace(second, task=replace(TASK, objective=replace(TASK.objective, max_disagreement=0.1)))
    assert patient.refusal(rows) == ""


def test_what_was_asked_before_a_restart_is_not_asked_again(second, reference, record):
    rows = [record(position) for position in range(300)]
    second.observe(rows)
    replace(second).observe(rows)
    assert len(reference.asked) == len(set(reference.asked)) == 2 * AT_ONCE


def test_late_replies_and_other_versions_do_not_count_and_refusals_differ(second, reference, record):
    second.observe([record(0, "late"), record(1, "refused"), record(2)])
    assert second.lineages.least_promise("home", 1).rows == 2
    assert second.lineages.least_promise("home", 1).share == pytest.approx(0.5)
    reference.version = "v2"
    second.observe([record(3)])
    assert second.lineages.least_promise("home", 1).rows == 2


def test_a_reference_that_is_away_is_asked_later(second, reference, record):
    rows = [record(position) for position in range(50)]
    reference.down = True
    second.observe(rows)
    assert second.least(rows) is None
    reference.down = False
    second.observe(rows)
    assert len(reference.asked) == AT_ONCE


def test_without_rows_nothing_is_asked(second, reference):
    second.observe([])
    assert reference.asked == [] and second.least([]) is None and second.refusal([]) == ""


@pytest.mark.parametrize(
    ("kind", "temperature", "drawn"),
    [
        ("encoder", None, False),
        ("patterns", None, False),
        ("recorded", 1.0, False),
        ("generating", None, False),
        ("generating", 0.7, True),
        ("hosted", None, True),
    ],
)
def test_a_reference_draws_unless_it_answers_by_labels_or_greedily_in_the_pool(kind, temperature, drawn):
    task = replace(TASK, limits=GenerationLimits(temperature=temperature))
    assert draws(task, TeacherSettings(name="big", kind=kind)) is drawn


def test_a_chat_is_asked_again_as_a_chat_and_for_a_reason_where_the_task_wants_one(record):
    messages = (Message("user", "two and two?"), Message("assistant", "four"), Message("user", "and one?"))
    limits = GenerationLimits(max_tokens=9)
    task = Task("sums", "big", kind=Kind.TEXT, recipe="step-by-step", limits=limits)
    asked = question_again(task, record(0, "user: ...", chat=messages_as_json(messages)))
    assert (asked.text, asked.messages, asked.limits) == ("user: ...", messages, limits)
    assert asked.wanted.rationale and not question_again(TASK, record(0)).wanted.rationale
    assert question_again(task, record(0, "five?")).messages == ()
