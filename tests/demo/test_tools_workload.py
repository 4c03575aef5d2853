"""Requests that call tools: what is said, and the calls that are meant."""

import json
import random
import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demo.tools import speech
from demo.tools.grammar import ELSEWHERE, HOME, Call, Grammar, Slips, written
from demo.tools.workload import generate, pairs
from router.core.domain.agreement import parse_calls, tool_call

QUERIES = 6000
ORDERLY = Slips(0.0, 0.0, 0.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def workload():
    return generate(QUERIES, seed=0, examples=3000)


@pytest.fixture(scope="module")
def home():
    return Grammar.read(HOME)


def calls(line):
    return json.loads(line.label)


def test_the_same_seed_gives_the_same_workload():
    assert generate(300, seed=7, examples=50) == generate(300, seed=7, examples=50)


def test_another_seed_gives_another_stream_and_other_examples():
    one, other = generate(300, seed=7, examples=50), generate(300, seed=8, examples=50)
    assert one.stream != other.stream
    assert one.examples != other.examples


@settings(max_examples=15, deadline=None)
@given(queries=st.integers(1, 200), seed=st.integers(0, 2**31))
def test_every_request_means_calls_of_tools_that_there_are(queries, seed):
    grammar = Grammar.read(HOME)
    made = generate(queries, seed, examples=20)
    assert len(made.stream) == queries
    for line in (*made.stream, *made.examples):
        assert line.text.strip()
        assert not {"{", "}", "\n", '"', "="} & set(line.text)
        assert parse_calls(line.label)
        for call in calls(line):
            assert call["name"] in grammar.tools
            assert set(call["arguments"]) <= set(grammar.arguments)


def test_there_are_a_dozen_tools_or_more_and_all_of_them_are_asked_for(workload, home):
    assert 12 <= len(home.tools) <= 20
    assert {call["name"] for line in workload.stream for call in calls(line)} == set(home.tools)


def test_a_call_is_compact_and_its_arguments_stand_by_name():
    text = written([Call("alarm_set", {"time": "06:30", "day": "friday"})])
    assert text == '[{"name":"alarm_set","arguments":{"day":"friday","time":"06:30"}}]'


def test_some_requests_mean_two_calls(workload):
    share = sum(len(calls(line)) == 2 for line in workload.stream) / QUERIES
    assert 0.01 < share < 0.1


def test_what_is_said_wrongly_first_is_not_meant(home):
    careless = Grammar(home.requests, home.slots, Slips(0.0, 1.0, 0.0, 0.0, 0.0))
    lines = [careless.say(random.Random(seed)) for seed in range(400)]
    corrected = [line for line in lines if re.search(r" (no|no wait|sorry|i mean|or rather) ", line.text)]
    assert len(corrected) > 200
    for line in corrected:
        assert len(calls(line)) == 1


def test_slips_change_what_is_said_and_not_what_can_be_meant(home):
    orderly = Grammar(home.requests, home.slots, ORDERLY)
    assert shapes(home, 1500) <= shapes(orderly, 6000)


def shapes(grammar, count):
    lines = [grammar.say(random.Random(seed)) for seed in range(count)]
    return {(call["name"], frozenset(call["arguments"])) for line in lines for call in calls(line)}


def test_names_and_things_are_said_as_the_call_tells_them(workload):
    for line in workload.examples:
        for call in calls(line):
            for name in ("room", "city", "item", "artist", "song", "destination", "genre"):
                assert str(call["arguments"].get(name, "")) in line.text


def test_frequent_requests_are_repeated_as_people_repeat_them(workload):
    counts = [count for _, count in Counter(workload.stream).most_common()]
    assert counts[0] > 4 * counts[20]
    assert sum(counts[:100]) > 0.25 * QUERIES


def test_habits_change_half_way(workload):
    def habits(lines):
        return {line for line, _ in Counter(lines).most_common(30)}

    kept = habits(workload.stream[: QUERIES // 2]) & habits(workload.stream[QUERIES // 2 :])
    assert 10 < len(kept) < 30


def test_most_other_requests_are_said_once_and_were_no_examples(workload):
    counts = Counter(line.text for line in workload.stream)
    assert sum(count == 1 for count in counts.values()) > 0.7 * len(counts)
    known = {line.text for line in workload.examples}
    assert len(set(counts) & known) < 0.25 * len(counts)


def test_hardly_any_request_has_two_meanings(workload):
    """Else the teacher could not know which is meant."""
    meanings = {}
    for line in (*workload.examples, *workload.stream):
        meanings.setdefault(line.text, set()).add(line.label)
    assert sum(len(labels) > 1 for labels in meanings.values()) < 0.002 * len(meanings)


def test_examples_are_distinct(home):
    lines = pairs(home, 500, "any")
    assert len({line.text for line in lines}) == 500


def test_the_base_has_seen_none_of_the_homes_tools_and_none_of_its_phrases(home):
    elsewhere = Grammar.read(ELSEWHERE)
    assert not set(home.tools) & set(elsewhere.tools)
    assert not phrases(home) & phrases(elsewhere)
    asked = {line.text for line in pairs(home, 3000, "home")}
    assert not asked & {line.text for line in pairs(elsewhere, 3000, "elsewhere")}


def phrases(grammar):
    return {re.sub(r"\{.*?\}", "{}", phrase) for request in grammar.requests for phrase in request.phrases}


def test_numbers_in_words_are_all_different():
    words = [speech.in_words(value) for value in range(100)]
    assert len(set(words)) == 100
    assert (words[0], words[13], words[20], words[57]) == ("zero", "thirteen", "twenty", "fifty seven")


@given(st.integers(0, 2**31))
def test_a_time_is_a_time_of_day(seed):
    _, told = speech.time(random.Random(seed))
    hours, minutes = told.split(":")
    assert len(told) == 5
    assert 0 <= int(hours) < 24
    assert 0 <= int(minutes) < 60


@given(st.integers(0, 2**31))
def test_a_span_is_a_whole_number_of_minutes(seed):
    spoken, told = speech.minutes(random.Random(seed))
    assert isinstance(told, int)
    assert 1 <= told <= 300
    assert ("hour" in spoken) or ("minute" in spoken)


@pytest.mark.parametrize("slot", ["time", "minutes", "percent", "degrees", "number"])
def test_what_is_said_has_one_meaning(slot):
    meanings = {}
    for seed in range(4000):
        spoken, told = speech.BUILT_IN[slot](random.Random(seed))
        assert meanings.setdefault(spoken, told) == told


def test_the_judge_of_the_task_tells_calls_apart(workload):
    first, other = next((one, two) for one in workload.stream for two in workload.stream if one.label != two.label)
    assert tool_call(first.label, first.label)
    assert not tool_call(first.label, other.label)
