"""A task's ranges and its judge."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.domain.task import Exploration, Judge, Objective, agree


@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_an_objective_outside_its_range_is_refused(value):
    with pytest.raises(ValueError, match="max_disagreement"):
        Objective(max_disagreement=value)
    with pytest.raises(ValueError, match="assurance"):
        Objective(assurance=value)


@pytest.mark.parametrize("name", ["cold", "floor", "waiting"])
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_an_exploration_rate_outside_its_range_is_refused(name, value):
    with pytest.raises(ValueError, match=name):
        Exploration(**{name: value})


@given(judge=st.sampled_from(Judge), answer=st.text())
def test_an_answer_agrees_with_itself(judge, answer):
    assert agree(judge, answer, answer)


@given(judge=st.sampled_from(Judge), one=st.text(max_size=5), other=st.text(max_size=5))
def test_agreement_goes_both_ways(judge, one, other):
    assert agree(judge, one, other) == agree(judge, other, one)


def test_labels_are_compared_letter_by_letter():
    assert not agree(Judge.LABEL, "light_on", "Light_On")


def test_texts_are_compared_without_case_spaces_and_last_full_stop():
    assert agree(Judge.NORMALISED_TEXT, "  The lights\nare ON. ", "the lights are on")
    assert agree(Judge.NORMALISED_TEXT, "ﬁne", "fine")
    assert not agree(Judge.NORMALISED_TEXT, "the lights are on", "the lights are off")
