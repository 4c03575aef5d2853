import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.domain.feedback import MAX_CORRECTION_BYTES, Allowance, Feedback, Opinion, check_feedback
from router.core.domain.query import Attempt
from router.core.errors import BadInputError
from router.core.monitoring.complaint_rate import complaints
from router.transport.feedback_wire import feedback_from_proto, feedback_to_proto
from router.v1 import cascade_pb2


def said(release, wrong, rows):
    return [(release, position < wrong) for position in range(rows)]


def test_a_release_of_which_more_is_called_wrong_than_of_the_others_warns():
    found = complaints(said(1, 10, 100) + said(2, 40, 60))
    assert [(one.release, one.warns) for one in found] == [(1, False), (2, True)]


def test_a_release_alone_warns_above_a_half():
    assert not complaints(said(1, 10, 20))[0].warns
    assert complaints(said(1, 19, 20))[0].warns


def test_a_few_complaints_are_no_warning():
    assert not complaints(said(1, 9, 9))[0].warns


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=60), st.randoms())
def test_the_order_of_feedback_changes_nothing(pairs, dice):
    shuffled = list(pairs)
    dice.shuffle(shuffled)
    assert complaints(pairs) == complaints(shuffled)


def test_two_releases_alike_seldom_warn():
    dice, warned = random.Random(1), 0
    for _ in range(200):
        pairs = [(release, dice.random() < 0.3) for release in (1, 2) for _ in range(50)]
        warned += any(one.warns for one in complaints(pairs))
    assert warned <= 10


_NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=20)


@given(
    st.builds(
        Feedback,
        query_id=_NAMES,
        task=_NAMES,
        opinion=st.sampled_from(Opinion),
        correction=st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20),
        comment=st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20),
        attempt=st.sampled_from([None, Attempt(release=3, answer="on", kept=True)]),
    )
)
def test_feedback_survives_the_way_there_and_back(feedback):
    assert feedback_from_proto(feedback_to_proto(feedback)) == feedback


@pytest.mark.parametrize(
    ("field", "feedback"),
    [
        ("query_id", Feedback("", "home", Opinion.WRONG)),
        ("query_id", Feedback("x" * 65, "home", Opinion.WRONG)),
        ("task", Feedback("q", "", Opinion.WRONG)),
        ("correction", Feedback("q", "home", Opinion.WRONG, "x" * (MAX_CORRECTION_BYTES + 1))),
        ("correction", Feedback("q", "home", Opinion.RIGHT, "x")),
        ("comment", Feedback("q", "home", Opinion.WRONG, comment="é" * 1001)),
    ],
)
def test_a_field_out_of_its_range_is_named(field, feedback):
    with pytest.raises(BadInputError) as caught:
        check_feedback(feedback)
    assert caught.value.field == field


def test_feedback_that_takes_no_side_is_refused():
    with pytest.raises(BadInputError, match="verdict"):
        feedback_from_proto(cascade_pb2.FeedbackRequest(query_id="q", task="home"))


def test_a_caller_may_speak_so_often_and_then_steadily():
    allowance = Allowance(burst=3, per_second=2.0)
    assert [allowance.wait("a", 0.0) for _ in range(3)] == [0, 0, 0]
    assert allowance.wait("a", 0.0) == pytest.approx(0.5)
    assert allowance.wait("b", 0.0) == 0
    assert allowance.wait("a", 0.5) == 0
