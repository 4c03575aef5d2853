"""A model as judge: its prompt, its token, its audit; and the least promise possible."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.agreement import normalised_text
from router.errors import ConfigError
from router.interval import check_promise, self_agreement, share_interval
from router.query import Distribution, TokenProbability
from router.verdict import LabelledPair, Verdict, VerdictModel, audit

JUDGE = VerdictModel("tiny-1")


def token(**chances: float) -> TokenProbability:
    pairs = tuple((word, math.log(value)) for word, value in sorted(chances.items(), key=lambda pair: -pair[1]))
    return TokenProbability(*pairs[0], Distribution(pairs, -5.0))


@given(query=st.text(), question=st.text(), one=st.text(), other=st.text())
def test_the_prompt_is_the_same_whichever_side_an_answer_comes_from(query, question, one, other):
    assert JUDGE.prompt(query, question, one, other) == JUDGE.prompt(query, question, other, one)


@given(one=st.text(), other=st.text(), question=st.text())
def test_answers_are_quoted_data(one, other, question):
    lines = JUDGE.prompt("q", question, one, other).split("\n")
    assert len(lines) == 5
    assert json.loads(lines[1].removeprefix("Question: ")) == question
    found = {json.loads(lines[number].removeprefix(f"Answer {number - 1}: ")) for number in (2, 3)}
    assert found == {one, other}


def test_fields_in_an_answer_are_no_fields():
    prompt = JUDGE.prompt("q", "{first}", "{second}", "{question}")
    assert prompt.count('"{first}"') == prompt.count('"{second}"') == prompt.count('"{question}"') == 1


def test_each_answer_comes_first_about_half_of_the_time():
    firsts = sum('Answer 1: "a"' in JUDGE.prompt(str(number), "?", "a", "b") for number in range(1000))
    assert 430 < firsts < 570


def test_the_order_depends_on_the_key():
    other = VerdictModel("tiny-1", key="another")
    assert any(JUDGE.prompt(str(n), "?", "a", "b") != other.prompt(str(n), "?", "a", "b") for n in range(20))
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


@given(rows=st.integers(1, 500), data=st.data())
def test_an_interval_holds_its_share_and_narrows_with_rows(rows, data):
    hits = data.draw(st.integers(0, rows))
    few, many = share_interval(hits, rows), share_interval(10 * hits, 10 * rows)
    assert 0 <= few.low <= few.share <= few.high <= 1
    assert many.high - many.low <= few.high - few.low


def test_an_interval_is_clopper_and_pearsons():
    found = share_interval(4, 200)
    assert (found.low, found.high) == (pytest.approx(0.00548, abs=1e-4), pytest.approx(0.05041, abs=1e-4))
    assert (share_interval(0, 0).low, share_interval(0, 0).high) == (0.0, 1.0)
    with pytest.raises(ValueError, match="no share"):
        share_interval(3, 2)


def test_a_promise_below_what_the_reference_keeps_itself_is_refused_with_the_figure():
    least = self_agreement([("a", "A.")] * 190 + [("a", "b")] * 10, normalised_text)
    assert least.share == pytest.approx(0.05)
    check_promise("home", 0.05, least)
    with pytest.raises(ConfigError, match=r"0\.02, but the reference differs from itself on 5\.0% of 200"):
        check_promise("home", 0.02, least)
    check_promise("home", 0.001, self_agreement([], normalised_text))
