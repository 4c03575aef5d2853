"""A model as judge: its prompt, its token, its audit."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.domain.query import Distribution, TokenProbability
from router.core.errors import ConfigError
from router.core.evaluation.model_judge import LabelledPair, Verdict, VerdictModel, audit

JUDGE = VerdictModel("tiny-1")


def token(**chances: float) -> TokenProbability:
    pairs = tuple((word, math.log(value)) for word, value in sorted(chances.items(), key=lambda pair: -pair[1]))
    return TokenProbability(*pairs[0], Distribution(pairs, -5.0))


@given(question=st.text(), one=st.text(), other=st.text())
def test_the_prompt_is_the_same_whichever_side_an_answer_comes_from(question, one, other):
    assert JUDGE.prompt(question, one, other) == JUDGE.prompt(question, other, one)


@given(one=st.text(), other=st.text(), question=st.text())
def test_answers_are_quoted_data(one, other, question):
    lines = JUDGE.prompt(question, one, other).split("\n")
    assert len(lines) == 5
    assert json.loads(lines[1].removeprefix("Question: ")) == question
    found = {json.loads(lines[number].removeprefix(f"Answer {number - 1}: ")) for number in (2, 3)}
    assert found == {one, other}


def test_fields_in_an_answer_are_no_fields():
    prompt = JUDGE.prompt("{first}", "{second}", "{question}")
    assert prompt.count('"{first}"') == prompt.count('"{second}"') == prompt.count('"{question}"') == 1


def test_each_answer_comes_first_about_half_of_the_time():
    firsts = sum('Answer 1: "a"' in JUDGE.prompt(str(number), "a", "b") for number in range(1000))
    assert 430 < firsts < 570


def test_the_order_depends_on_the_key():
    other = VerdictModel("tiny-1", key="another")
    assert any(JUDGE.prompt(str(n), "a", "b") != other.prompt(str(n), "a", "b") for n in range(20))
    assert JUDGE.version != other.version


def test_a_verdict_adds_up_the_spellings_of_a_word():
    verdict = JUDGE.read(
        TokenProbability("Yes", math.log(0.4), Distribution(((" yes", math.log(0.3)), ("no", math.log(0.2)))))
    )
    assert verdict.agrees
    assert verdict.probability == pytest.approx(7 / 9)
    assert JUDGE.read(TokenProbability("\u0120No", -0.01)) == Verdict(0.0, pytest.approx(math.exp(-0.01)), False)


def test_a_token_that_says_neither_is_unreadable_and_does_not_agree():
    verdict = JUDGE.read(token(maybe=0.7, yes=0.2))
    assert verdict.probability is None
    assert not verdict.agrees


@pytest.mark.parametrize(
    "changes",
    [{"wording": "{first} {second}"}, {"wording": "{question} {first} {second} {first}"}, {"yes": ()}, {"no": ("Yes",)},
     {"yes": (" ",)}, {"least_mass": 0.0}, {"threshold": 1.0}],
)  # fmt: skip
def test_a_judge_that_can_not_work_is_refused(changes):
    with pytest.raises(ConfigError, match="verdict"):
        VerdictModel("tiny-1", **changes)


def test_an_audit_tells_both_errors_apart():
    yes, no, blank = Verdict(0.9, 1.0, True), Verdict(0.1, 1.0, False), Verdict(None, 0.1)
    pairs = [LabelledPair(True, yes)] * 90 + [LabelledPair(True, blank)] * 10
    pairs += [LabelledPair(False, no)] * 97 + [LabelledPair(False, yes)] * 3
    found = audit(pairs)
    assert found.false_agreement.share == pytest.approx(0.03)
    assert found.false_disagreement.share == pytest.approx(0.1)
    assert found.unreadable == pytest.approx(0.05)
    assert found.kappa == pytest.approx(0.87)
    assert found.may_judge(0.1)
    assert not found.may_judge(0.05)
    assert not audit([LabelledPair(True, yes)] * 50).may_judge(0.9)
