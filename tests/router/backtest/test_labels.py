from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.backtest.labels import JUDGES, answers_of, as_labels, describe_answers
from router.backtest.logs.reader import Asked, Columns, Log
from router.core.domain.task import Judge, agree
from router.core.errors import DataError

SPELLINGS = ["1", "1.0", "1 km", "yes", "Yes.", '{"a":1}', '{"a": 1.0}', '{"name": "f"}', '[{"name": "f"}]', "[]", ""]


def log(*answers):
    return Log(Path("log.jsonl"), Columns("text", "answer"), tuple(Asked("q", answer) for answer in answers))


@pytest.mark.parametrize(
    ("judge", "same"),
    [
        (Judge.NORMALISED_TEXT, ["Yes.", "yes", " YES! "]),
        (Judge.NUMBER, ["42", "42.0", "the answer is 42"]),
        (Judge.STRUCTURE, ['{"a": 1, "b": 2}', '{"b":2,"a":1.0}']),
        (Judge.TOOL_CALL, ['{"name": "f", "arguments": {"x": 1}}', '[{"name": "f", "parameters": {"x": 1}}]']),
    ],
)
def test_answers_that_the_judge_calls_the_same_become_one_label(judge, same):
    assert set(as_labels(same, judge)) == {same[0]}


def test_an_exact_judge_keeps_answers_apart():
    assert as_labels(["Yes", "yes"], Judge.LABEL) == ["Yes", "yes"]


@pytest.mark.parametrize("judge", JUDGES.values())
@given(
    answers=st.lists(
        st.sampled_from(["1", "1.0", "1 km", "yes", "Yes.", '{"a":1}', '{"a": 1.0}', "[]", ""]), max_size=8
    )
)
def test_a_label_agrees_with_the_answer_it_stands_for(judge, answers):
    for answer, label in zip(answers, as_labels(answers, judge), strict=True):
        assert agree(judge, label, answer)


def test_a_log_with_one_answer_is_refused():
    with pytest.raises(DataError, match=r"log\.jsonl: column answer: all 5 answers are 'on'"):
        answers_of(log(*["on"] * 5), Judge.LABEL)


def test_free_text_is_refused_with_its_reason():
    with pytest.raises(DataError, match=r"200 distinct answers in 200 rows: this is free text.*normalised_text"):
        answers_of(log(*(f"answer {number}" for number in range(200))), Judge.LABEL)


def test_the_share_that_can_be_learned_is_told():
    mixed = ["yes"] * 20 + ["no"] * 10 + [f"well, {number}" for number in range(70)]
    found = answers_of(log(*mixed), Judge.LABEL)
    assert (found.distinct, found.learnable) == (72, 0.3)
    assert "30.0% of the queries here" in describe_answers(found, Judge.LABEL)


def test_answers_that_recur_need_no_words():
    assert describe_answers(answers_of(log(*["yes", "no"] * 20), Judge.LABEL), Judge.LABEL) == ""
