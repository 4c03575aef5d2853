"""Which records teach, which certify, and that none does both."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from router.core.domain.record import Record, Source, is_set_aside, may_certify, may_teach, unit_interval

RECORD = Record(
    caller="device-1",
    query_id="q1",
    teacher="reference",
    teacher_version="1",
    task="commands",
    task_version=1,
    asked_at=0.0,
    received_at=0.0,
    text="lights on",
    answer="light_on",
    source=Source.TAUGHT,
    explored=True,
    kept=True,
)
RECORDS = st.builds(
    replace,
    st.just(RECORD),
    query_id=st.text(max_size=20),
    caller=st.text(min_size=1, max_size=20),
    source=st.sampled_from(Source),
    answer=st.sampled_from(["", "light_on"]),
    is_reference=st.booleans(),
    explored=st.booleans(),
    covered=st.booleans(),
    degraded=st.booleans(),
)


@given(record=RECORDS)
def test_no_row_that_is_held_back_to_certify_teaches(record):
    if may_certify(record) and is_set_aside(record.caller, record.query_id):
        assert not may_teach(record)


@given(record=RECORDS)
def test_only_a_covered_drawn_answer_of_the_reference_certifies(record):
    if may_certify(record):
        assert record.explored and record.covered and record.is_reference
        assert not record.degraded
        assert record.source not in {Source.DIRECT, Source.IMPORTED}


def test_direct_queries_and_imports_never_certify():
    assert may_certify(RECORD)
    for source in (Source.DIRECT, Source.IMPORTED):
        assert not may_certify(replace(RECORD, source=source))


def test_what_no_reference_answered_teaches_nothing():
    assert not may_teach(replace(RECORD, is_reference=False, explored=False))
    assert not may_teach(replace(RECORD, answer="", explored=False))


@given(record=RECORDS, changes=st.fixed_dictionaries({"text": st.text(), "answer": st.text(), "kept": st.booleans()}))
def test_setting_aside_knows_nothing_but_caller_and_id(record, changes):
    other = replace(record, **changes)
    assert is_set_aside(record.caller, record.query_id) == is_set_aside(other.caller, other.query_id)


@given(caller=st.text(), query_id=st.text(), lower=st.floats(0, 1), higher=st.floats(0, 1))
def test_a_larger_share_sets_aside_all_that_a_smaller_one_does(caller, query_id, lower, higher):
    lower, higher = sorted((lower, higher))
    if is_set_aside(caller, query_id, lower):
        assert is_set_aside(caller, query_id, higher)


def test_a_fifth_is_set_aside():
    drawn = sum(is_set_aside("device", f"q{number}") for number in range(10_000))
    assert abs(drawn - 2000) < 160  # 4 standard deviations


@given(purpose=st.text(), part=st.text())
def test_the_hash_lies_in_the_unit_interval(purpose, part):
    assert 0 <= unit_interval(purpose, part) < 1


def test_a_record_is_the_same_for_its_caller_id_and_teacher_version():
    assert RECORD.key == replace(RECORD, answer="other", received_at=9.0).key
    assert RECORD.key != replace(RECORD, teacher_version="2").key
