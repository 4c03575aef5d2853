import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.core.domain.chat import messages_as_json
from router.core.domain.query import Message
from router.core.domain.record import Record, Source, is_set_aside
from router.core.domain.task import Task
from router.core.learning.training_rows import (
    calibrating,
    current,
    fold_of,
    known_labels,
    lessons_of,
    query_of,
    teachable,
    weights_of,
    with_reviewed,
)

TASK = Task("home", reference="big")


def a_position(set_aside):
    return next(position for position in range(1000) if is_set_aside("kitchen", f"q{position}") is set_aside)


def test_a_row_of_a_chat_is_asked_again_as_a_chat(record):
    said = (Message("system", "brief"), Message("user", "hi"))
    asked = query_of(record(0, "the transcript", chat=messages_as_json(said)))
    assert (asked.text, asked.messages) == ("", said)
    assert query_of(record(0, "lamp")).text == "lamp"


def test_only_the_reference_and_version_in_force_count(record):
    rows = [
        record(0, teacher_version="v1"),
        record(1, teacher_version="v2"),
        record(2, teacher_version="v2", task_version=2),
        record(3, teacher_version="v2", teacher="small"),
        record(4, teacher_version="v2", is_reference=False),
    ]
    assert current(rows, TASK) == [rows[1]]
    assert current([], TASK) == []


def test_a_row_that_is_set_aside_teaches_only_once_it_is_spent(record):
    row = record(a_position(set_aside=True))
    assert teachable([row], spent=set()) == []
    assert teachable([row], spent={row.key}) == [row]


def test_a_row_that_is_not_set_aside_teaches(record):
    row = record(a_position(set_aside=False))
    assert teachable([row], spent=set()) == [row]


def test_a_row_that_was_not_explored_always_teaches(record):
    row = record(a_position(set_aside=True), explored=False)
    assert teachable([row], spent=set()) == [row]


def test_a_row_without_an_answer_teaches_nothing(record):
    row = record(a_position(set_aside=True), answer="")
    assert teachable([row], spent={row.key}) == []


def test_an_answer_that_is_no_lesson_teaches_nothing_spent_or_not(record):
    row = record(a_position(set_aside=True), problem="its reason can't be read")
    assert teachable([row], spent=set()) == teachable([row], spent={row.key}) == []
    assert teachable([record(a_position(set_aside=False), problem="broken")], spent=set()) == []


def test_what_is_outside_the_promise_does_not_calibrate(record):
    good = record(0)
    others = [
        record(1, covered=False),
        record(2, degraded=True),
        record(3, source=Source.DIRECT),
        record(4, source=Source.IMPORTED),
    ]
    assert calibrating([good, *others]) == [good]


def test_a_rarely_drawn_row_weighs_more(record):
    rows = [record(0), record(1, propensity=0.05, kept=True, source=Source.TAUGHT)]
    assert weights_of(rows).tolist() == pytest.approx([1.0, 20.0])


def test_a_label_with_two_rows_stays_unknown(record):
    rows = [record(0, answer="b"), record(1, answer="b"), *(record(position, answer="a") for position in (2, 3, 4))]
    assert known_labels(rows) == ("a",)
    assert lessons_of(rows, known_labels(rows)).texts == ("lamp",)


def test_texts_that_teach_are_distinct_and_their_targets_pooled(record):
    rows = [record(0, "x", "a"), record(1, "x", "b"), record(2, "y", "a")]
    lessons = lessons_of(rows, ("a", "b"))
    assert lessons.texts == ("x", "y")
    np.testing.assert_allclose(lessons.targets, [[0.5, 0.5], [1.0, 0.0]])


def test_what_the_teacher_left_out_is_spread_over_the_other_labels(record):
    row = record(0, answer="a", labels=("a",), log_probabilities=(math.log(0.8),), tail_log_probability=math.log(0.2))
    (target,) = lessons_of([row], ("a", "b", "c")).targets
    np.testing.assert_allclose(target, [0.8, 0.1, 0.1], rtol=1e-6)


def test_labels_that_the_student_does_not_know_are_left_out_of_its_targets(record):
    row = record(
        0, answer="a", labels=("a", "new"), log_probabilities=(math.log(0.6), math.log(0.4)), tail_log_probability=None
    )
    (target,) = lessons_of([row], ("a", "b")).targets
    assert target[0] >= 0.6
    assert target.sum() == pytest.approx(1.0)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("xyz"), st.sampled_from("ab"), st.floats(0.3, 1.0, exclude_max=True)), max_size=12
    )
)
def test_targets_are_probabilities(rows):
    records = [
        Record(
            "kitchen",
            f"q{position}",
            "big",
            "v1",
            "home",
            1,
            0.0,
            0.0,
            text,
            answer,
            labels=(answer,),
            log_probabilities=(math.log(share),),
        )
        for position, (text, answer, share) in enumerate(rows)
    ]
    lessons = lessons_of(records, ("a", "b", "c"))
    assert len(set(lessons.texts)) == len(lessons.texts) == len(lessons.targets)
    assert (lessons.targets >= 0).all()
    np.testing.assert_allclose(lessons.targets.sum(axis=1), 1.0, rtol=1e-5)


def test_folds_are_even_and_fixed(record):
    folds = [fold_of(record(position), 5) for position in range(2000)]
    assert folds == [fold_of(record(position), 5) for position in range(2000)]
    assert sorted(set(folds)) == [0, 1, 2, 3, 4]
    assert all(320 <= folds.count(fold) <= 480 for fold in range(5))


def test_what_an_operator_accepted_teaches_and_calibrates_nothing(record):
    row = record(0, answer="music", labels=("music",), log_probabilities=(0.0,), explored=False)
    [taught] = with_reviewed([row], {row.key: "lights"})
    assert (taught.answer, taught.key) == ("lights", row.key)
    lessons = lessons_of([taught], ("lights", "music"))
    assert lessons.targets.tolist() == [[1.0, 0.0]]
    assert calibrating([row]) == [row]
    assert not calibrating([taught])


def test_a_drawn_row_keeps_the_references_answer_whatever_was_accepted(record):
    row = record(a_position(False), answer="music", explored=True)
    assert with_reviewed([row], {row.key: "lights"}) == [row]
