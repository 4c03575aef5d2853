import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_worker.log.spool import Entry, Spool, SpoolDrain, StoredAnswer
from cloud_worker.pool.answer_records import (
    Asked,
    Outcome,
    answer_of,
    is_covered,
    question_of,
    record_of,
    shorten,
    verify_draw,
)
from cloud_worker.teachers import TeacherAnswer
from router.core.domain.chat import messages_as_json
from router.core.domain.query import (
    Attempt,
    Distribution,
    FinishReason,
    GenerationLimits,
    Message,
    Query,
    Reason,
    Route,
    TokenProbability,
    Tool,
    ToolCall,
    Wanted,
)
from router.core.domain.record import Source, Tried, may_certify, may_teach
from router.core.domain.task import Judge, Kind, Task
from router.core.domain.token_codec import pack
from router.core.policy.exploration import draw
from router.transport.wire import answer_from_proto, answer_to_proto

SEED = bytes(range(32))
TASK = Task("home", reference="big", version=3)
SAID = TeacherAnswer("on", "v1", Distribution((("on", math.log(0.7)), ("off", math.log(0.2))), math.log(0.1)), 4.0)


def asked(attempt=None, explored=False, **query):
    return Asked(Query("q1", "home", "lights", attempt=attempt, **query), "kitchen", TASK, 1000.0, explored)


def test_a_claimed_draw_verifies_only_with_the_devices_seed_and_rate():
    position = draw(SEED, "q1")
    honest = Query("q1", "home", "x", attempt=Attempt(explored=True, exploration=position + 1e-9))
    assert verify_draw(honest, SEED)
    assert not verify_draw(honest, bytes(32)) or draw(bytes(32), "q1") < position
    assert not verify_draw(Query("q1", "home", "x", attempt=Attempt(explored=True, exploration=position)), SEED)
    assert not verify_draw(Query("q1", "home", "x", attempt=Attempt(explored=False, exploration=1.0)), SEED)
    assert not verify_draw(Query("q1", "home", "x"), SEED)


def test_a_direct_query_is_neither_covered_nor_able_to_certify():
    row = record_of(asked(), Outcome(SAID, "big"))
    assert (row.source, row.covered, row.explored, row.asked_at) == (Source.DIRECT, False, False, 1000.0)
    assert may_teach(row)
    assert not may_certify(row)


def test_an_escalated_query_was_certain_to_reach_the_reference():
    row = record_of(
        asked(Attempt(release=2, answer="off", score=0.4, exploration=0.05, asked_at=990.0)), Outcome(SAID, "big")
    )
    assert (row.source, row.propensity, row.exploration) == (Source.ESCALATED, 1.0, 0.05)
    assert (row.release, row.local_answer, row.local_score, row.asked_at) == (2, "off", 0.4, 990.0)
    assert (row.teacher, row.teacher_version, row.task_version, row.is_reference) == ("big", "v1", 3, True)


def test_what_a_cheaper_teacher_answered_is_no_lesson_and_certifies_nothing():
    tried = (Tried("small", "v2", "on", -0.1),)
    row = record_of(asked(Attempt(exploration=0.05)), Outcome(SAID, "small", tried, stands=True))
    assert (row.teacher, row.is_reference, row.tried, row.propensity) == ("small", False, tried, 0.05)
    assert not may_teach(row)
    assert not may_certify(row)


def test_an_explored_query_that_a_cheaper_teacher_would_have_answered_reached_the_reference_by_the_draw():
    drawn = asked(Attempt(explored=True, exploration=0.05), explored=True)
    row = record_of(drawn, Outcome(SAID, "big", (Tried("small", "v2", "on", -0.1),), stands=True))
    assert (row.is_reference, row.propensity, row.source) == (True, 0.05, Source.ESCALATED)
    assert record_of(drawn, Outcome(SAID, "big")).propensity == 1.0
    assert may_certify(row)


def test_a_kept_and_explored_query_reached_it_by_the_draw():
    attempt = Attempt(release=2, answer="on", score=0.9, kept=True, explored=True, exploration=0.05)
    row = record_of(asked(attempt, explored=True), Outcome(SAID, "big"))
    assert (row.source, row.propensity, row.kept) == (Source.TAUGHT, 0.05, True)
    assert may_certify(row)


def test_a_degraded_query_is_not_covered():
    row = record_of(
        asked(Attempt(answer="on", kept=True, degraded=True, explored=True, exploration=0.05), True),
        Outcome(SAID, "big"),
    )
    assert (row.source, row.covered, row.propensity) == (Source.TAUGHT, False, 1.0)
    assert not may_certify(row)


def test_a_query_that_its_caller_sent_past_the_device_is_not_covered():
    assert not is_covered(asked(Attempt(reason=Reason.ROUTE), route=Route.CLOUD_ONLY).query)


@pytest.mark.parametrize("logged", [True, False])
def test_an_answer_says_who_answered_why_and_whether_it_is_kept(logged):
    query = asked(Attempt(reason=Reason.UNCONFIDENT), True, wanted=Wanted(top_k=1))
    answer = answer_of(query, Outcome(SAID, "big"), "gateway-0", logged, (("teacher", 4.0),))
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
    top = tuple((f"l{position}", math.log(chance)) for position, chance in enumerate(chances[:kept]))
    rest = math.fsum(chances[kept:])
    short = shorten(Distribution(top, math.log(rest) if rest > 0 else None), k)
    if k == 0:
        assert short == Distribution()
        return
    assert short.top == top[:k]
    total = math.fsum(math.exp(value) for _, value in short.top) + (0 if short.tail is None else math.exp(short.tail))
    assert total == pytest.approx(1.0)


CALLS = (ToolCall("light", '{"on":true, "room": "hall"}', "call-1"),)
MESSAGES = (Message("user", "light in the hall"), Message("assistant", "", CALLS))
TOKENS = (
    TokenProbability("on", -0.1, Distribution((("on", -0.1), ("off", -3.0), ("dim", -4.0)), math.log(0.02))),
    TokenProbability("</s>", -0.2, Distribution((("</s>", -0.2), ("x", -2.0)), math.log(0.04))),
)


def text_task(judge=Judge.NORMALISED_TEXT, **fields):
    return Task("talk", reference="big", kind=Kind.TEXT, judge=judge, **fields)


def asked_text(task, **query):
    return Asked(Query("q1", "talk", **query), "kitchen", task, 1000.0, False)


def test_a_question_holds_the_whole_query_and_the_tasks_limits_where_it_names_none():
    task = text_task(limits=GenerationLimits(max_tokens=32, stop=("\n",)))
    tools = (Tool("light"),)
    query = {"messages": MESSAGES, "tools": tools, "response_schema": "{}", "limits": GenerationLimits(temperature=0.3)}
    question = question_of(asked_text(task, **query), (("traceparent", "1"),))
    assert (question.messages, question.tools, question.response_schema) == (MESSAGES, tools, "{}")
    assert question.text.startswith("user: light in the hall")
    assert question.limits == GenerationLimits(max_tokens=32, temperature=0.3, stop=("\n",))
    assert question.trace == (("traceparent", "1"),)


@pytest.mark.parametrize(
    ("recipe", "caller_wants", "asked_for", "apart"),
    [
        ("responses", False, False, True),
        ("responses", True, True, True),
        ("step-by-step", False, True, False),
        ("reasoning", True, True, False),
    ],
)
def test_a_reason_is_part_of_the_answer_only_where_the_task_learns_from_it(recipe, caller_wants, asked_for, apart):
    question = question_of(asked_text(text_task(recipe=recipe), text="it", wanted=Wanted(rationale=caller_wants)))
    assert (question.wanted.rationale, question.reason_apart) == (asked_for, apart)


def test_tokens_are_asked_for_where_the_task_logs_them():
    assert question_of(asked_text(text_task(), text="it")).wanted.top_k == 0
    assert question_of(asked_text(text_task(options={"tokens": True}), text="it")).wanted.top_k == 5


def test_everything_that_was_said_is_in_the_row_and_what_was_wanted_in_the_answer():
    said = TeacherAnswer("on", "v1", tokens=TOKENS, rationale="It is dark.", usd=0.25)
    full = asked_text(text_task(), messages=MESSAGES[:1], wanted=Wanted(top_k=2, rationale=True))
    row = record_of(full, Outcome(said, "big", usd=said.usd))
    assert (row.answer, row.rationale, row.tokens, row.usd) == ("on", "It is dark.", pack(TOKENS), 0.25)
    assert row.chat == messages_as_json(MESSAGES[:1])
    answer = answer_of(full, Outcome(said, "big"), "gateway-0", True, ())
    assert answer.rationale == "It is dark."
    assert [len(token.alternatives.top) for token in answer.tokens] == [2, 2]
    assert math.exp(answer.tokens[0].alternatives.tail) == pytest.approx(0.02 + math.exp(-4.0))
    bare = answer_of(asked_text(text_task(), text="it"), Outcome(said, "big"), "gateway-0", True, ())
    assert (bare.rationale, bare.tokens) == ("", ())


def test_calls_stand_in_the_row_as_json_and_in_the_answer_apart():
    said = TeacherAnswer("Sure!", "v1", tool_calls=CALLS)
    row = record_of(asked_text(text_task(), text="it"), Outcome(said, "big"))
    assert row.answer == '[{"name": "light", "arguments": {"on": true, "room": "hall"}}]'
    answer = answer_of(asked_text(text_task(), text="it"), Outcome(said, "big"), "gateway-0", True, ())
    assert (answer.text, answer.tool_calls) == ("Sure!", CALLS)


@pytest.mark.parametrize("judge", [Judge.TOOL_CALL, Judge.STRUCTURE])
def test_calls_that_a_teacher_writes_as_text_are_told_apart_where_the_task_is_about_calls(judge):
    said = TeacherAnswer('<tool_call>{"name": "light", "arguments": {"on": true}}</tool_call>', "v1")
    answer = answer_of(asked_text(text_task(judge=judge), text="it"), Outcome(said, "big"), "gateway-0", True, ())
    assert answer.text == said.text
    if judge is Judge.TOOL_CALL:
        assert answer.tool_calls == (ToolCall("light", '{"on": true}'),)
        assert answer.finish_reason is FinishReason.TOOL_CALLS
    else:
        assert (answer.tool_calls, answer.finish_reason) == ((), FinishReason.STOP)


def test_a_text_that_is_no_call_has_none():
    said = TeacherAnswer("I can't", "v1")
    task = text_task(judge=Judge.TOOL_CALL)
    answer = answer_of(asked_text(task, text="it"), Outcome(said, "big"), "gateway-0", True, ())
    assert (answer.text, answer.tool_calls, answer.finish_reason) == ("I can't", (), FinishReason.STOP)
    assert answer_from_proto(answer_to_proto(answer)) == answer


@pytest.mark.parametrize(
    ("judge", "answer", "readable"),
    [
        (Judge.TOOL_CALL, '[{"name": "light", "arguments": {}}]', True),
        (Judge.TOOL_CALL, "turn it on", False),
        (Judge.STRUCTURE, '{"a": 1}', True),
        (Judge.STRUCTURE, '{"a": ', False),
        (Judge.NORMALISED_TEXT, '{"a": ', True),
    ],
)
def test_what_its_judge_can_not_read_is_no_lesson_and_may_certify(judge, answer, readable):
    task = Task("talk", reference="big", kind=Kind.TEXT, judge=judge)
    attempt = Attempt(explored=True, exploration=1.0)
    said = Outcome(TeacherAnswer(answer, "v"), "big")
    row = record_of(Asked(Query("q1", "talk", "it", attempt=attempt), "a", task, 1.0, True), said)
    assert (row.problem == "") is readable
    assert may_certify(row)
    if not readable:
        assert not may_teach(row)


async def test_all_of_a_row_survives_the_spool(tmp_path):
    said = TeacherAnswer("on", "v1", tokens=TOKENS, rationale="It is dark.", problem="unread")
    row = record_of(asked_text(text_task(), messages=MESSAGES), Outcome(said, "big"))
    spool = Spool(tmp_path / "gateway-0.sqlite")
    await spool.append(Entry(StoredAnswer("kitchen", "q1", "digest", 1.0, b""), row))
    await spool.close()
    drain = SpoolDrain(tmp_path / "gateway-0.sqlite")
    assert [kept for _, kept in drain.read(10)] == [row]
    drain.close()
