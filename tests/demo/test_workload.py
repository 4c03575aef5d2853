"""The demo's own workload: what the teacher is fitted on, and what the fleet is asked."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demo.workload import OUT_OF_SCOPE, Line, generate, later_intents

QUERIES = 10_000


@pytest.fixture(scope="module")
def workload():
    return generate(QUERIES, seed=0)


def intents(lines):
    return {line.label for line in lines} - {OUT_OF_SCOPE}


def test_the_same_seed_gives_the_same_workload():
    assert generate(300, seed=7) == generate(300, seed=7)


def test_another_seed_gives_another_stream():
    assert generate(300, seed=7).stream != generate(300, seed=8).stream


@settings(max_examples=15, deadline=None)
@given(queries=st.integers(1, 200), seed=st.integers(0, 2**31))
def test_every_line_is_an_utterance_with_an_intent(queries, seed):
    made = generate(queries, seed, examples_per_intent=2)
    assert len(made.stream) == queries
    for line in (*made.stream, *made.examples):
        assert line.text.strip()
        assert line.label.strip()
        assert not {"{", "}", "\n"} & set(line.text)


def test_there_are_thirty_intents_or_more_in_either_half(workload):
    assert len(intents(workload.stream[: QUERIES // 2])) >= 30
    assert len(intents(workload.stream[QUERIES // 2 :])) >= 30


def test_new_intents_arrive_one_by_one_from_a_third_on(workload):
    before, later = intents(workload.stream[: QUERIES // 3]), intents(workload.stream[QUERIES // 2 :])
    new = later - before
    assert before < later
    assert new == later_intents()
    assert len(new) >= 5
    first = [next(position for position, line in enumerate(workload.stream) if line.label == label) for label in new]
    assert min(first) >= QUERIES // 3
    assert max(first) > QUERIES // 3 + 4 * QUERIES // 50
    share = sum(line.label in new for line in workload.stream[QUERIES // 2 :]) / (QUERIES / 2)
    assert share > 0.05


def test_the_most_frequent_habits_last(workload):
    often = Counter(line.text for line in workload.stream[: QUERIES // 3]).most_common(5)
    later = Counter(line.text for line in workload.stream[QUERIES // 2 :])
    assert all(later[text] > 10 for text, _ in often)


def test_the_teacher_is_shown_every_intent_from_the_start(workload):
    assert {line.label for line in workload.stream} <= {line.label for line in workload.examples}


def test_some_utterances_are_out_of_scope(workload):
    share = sum(line.label == OUT_OF_SCOPE for line in workload.stream) / QUERIES
    assert 0.02 < share < 0.12


def test_frequent_commands_are_repeated_as_people_repeat_them(workload):
    counts = [count for _, count in Counter(workload.stream).most_common()]
    assert counts[0] > 4 * counts[20]
    assert sum(counts[:100]) > 0.25 * QUERIES


def test_most_other_utterances_are_said_once(workload):
    counts = Counter(line.text for line in workload.stream)
    assert sum(count == 1 for count in counts.values()) > 0.7 * len(counts)


def test_no_utterance_has_two_intents_among_the_commands(workload):
    """Else the teacher could not know which is meant, and accuracy would say nothing."""
    meanings = {}
    for line in workload.examples:
        meanings.setdefault(line.text, set()).add(line.label)
    assert {text: labels for text, labels in meanings.items() if len(labels) > 1} == {}


def test_the_stream_is_mostly_other_utterances_than_the_examples(workload):
    known = {line.text for line in workload.examples}
    distinct = {line.text for line in workload.stream if line.label != OUT_OF_SCOPE}
    assert len(distinct & known) < 0.25 * len(distinct)


def test_lines_are_values():
    assert Line("dim the lamp", "light_dim") == Line("dim the lamp", "light_dim")
