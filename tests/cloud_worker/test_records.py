import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_worker.records import Asked, answer_of, is_covered, record_of, shorten, verify_draw
from cloud_worker.teachers import TeacherAnswer
from router.distillation import Source, may_certify, may_teach
from router.exploration import draw
from router.query import Attempt, Distribution, Query, Reason, Route, Wanted
from router.task import Task

SEED = bytes(range(32))
TASK = Task("home", reference="big", version=3)
SAID = TeacherAnswer("on", "v1", Distribution((("on", math.log(0.7)), ("off", math.log(0.2))), math.log(0.1)), 4.0)


def asked(attempt=None, explored=False, **query):
    return Asked(Query("q1", "home", "lights", attempt=attempt, **query), "kitchen", TASK, 1000.0, explored)


def test_a_claimed_draw_verifies_only_with_the_devices_seed_and_rate():
    place = draw(SEED, "q1")
    honest = Query("q1", "home", "x", attempt=Attempt(explored=True, exploration=place + 1e-9))
    assert verify_draw(honest, SEED)
    assert not verify_draw(honest, bytes(32)) or draw(bytes(32), "q1") < place
    assert not verify_draw(Query("q1", "home", "x", attempt=Attempt(explored=True, exploration=place)), SEED)
    assert not verify_draw(Query("q1", "home", "x", attempt=Attempt(explored=False, exploration=1.0)), SEED)
    assert not verify_draw(Query("q1", "home", "x"), SEED)


def test_a_direct_query_is_neither_covered_nor_able_to_certify():
    row = record_of(asked(), SAID)
    assert (row.source, row.covered, row.explored, row.asked_at) == (Source.DIRECT, False, False, 1000.0)
    assert may_teach(row)
    assert not may_certify(row)


def test_an_escalated_query_was_certain_to_reach_the_reference():
    row = record_of(asked(Attempt(release=2, answer="off", score=0.4, exploration=0.05, asked_at=990.0)), SAID)
    assert (row.source, row.propensity, row.exploration) == (Source.ESCALATED, 1.0, 0.05)
    assert (row.release, row.local_answer, row.local_score, row.asked_at) == (2, "off", 0.4, 990.0)
    assert (row.teacher, row.teacher_version, row.task_version, row.is_reference) == ("big", "v1", 3, True)


def test_a_kept_and_explored_query_reached_it_by_the_draw():
    attempt = Attempt(release=2, answer="on", score=0.9, kept=True, explored=True, exploration=0.05)
    row = record_of(asked(attempt, explored=True), SAID)
    assert (row.source, row.propensity, row.kept) == (Source.TAUGHT, 0.05, True)
    assert may_certify(row)


def test_a_degraded_query_is_not_covered():
    row = record_of(asked(Attempt(answer="on", kept=True, degraded=True, explored=True, exploration=0.05), True), SAID)
    assert (row.source, row.covered, row.propensity) == (Source.TAUGHT, False, 1.0)
    assert not may_certify(row)


def test_a_query_that_its_caller_sent_past_the_device_is_not_covered():
    assert not is_covered(asked(Attempt(reason=Reason.ROUTE), route=Route.CLOUD_ONLY).query)


@pytest.mark.parametrize("logged", [True, False])
def test_an_answer_says_who_answered_why_and_whether_it_is_kept(logged):
    query = asked(Attempt(reason=Reason.UNCONFIDENT), True, wanted=Wanted(top_k=1))
    answer = answer_of(query, SAID, "gateway-0", logged, (("teacher", 4.0),))
    said = answer.provenance
    assert (said.model, said.model_version, said.reason, said.node) == ("big", "v1", Reason.UNCONFIDENT, "gateway-0")
    assert (said.logged, said.explored, said.covered, said.degraded) == (logged, True, True, False)
    assert answer.distribution.top == SAID.distribution.top[:1]
    assert answer.usage.stages == (("teacher", 4.0),)


@given(
    weights=st.lists(st.floats(1e-6, 1.0), min_size=2, max_size=30),
    kept=st.integers(1, 30),
    k=st.integers(0, 40),
)
def test_a_shortened_distribution_still_sums_to_one(weights, kept, k):
    chances = sorted((weight / sum(weights) for weight in weights), reverse=True)
    top = tuple((f"l{place}", math.log(chance)) for place, chance in enumerate(chances[:kept]))
    rest = math.fsum(chances[kept:])
    short = shorten(Distribution(top, math.log(rest) if rest > 0 else None), k)
    if k == 0:
        assert short == Distribution()
        return
    assert short.top == top[:k]
    total = math.fsum(math.exp(value) for _, value in short.top) + (0 if short.tail is None else math.exp(short.tail))
    assert total == pytest.approx(1.0)
