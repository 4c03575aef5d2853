"""A caller's schema: what breaks it is found, and no schema does harm."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_worker.teachers.json_schema import MOST_CHARACTERS, broken_rule

DIM = {"type": "object", "properties": {"to": {"type": "integer", "maximum": 100}}, "required": ["to"]}
TREE = {"type": "array", "items": {"$ref": "#"}}
JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists, max_leaves=10)


@pytest.mark.parametrize(
    ("schema", "answer", "said"),
    [
        (DIM, '{"to": 30}', ""),
        (DIM, '```json\n{"to": 30}\n```', ""),
        (DIM, '{"to": 300}', "$.to: 300 is greater than the maximum of 100"),
        (DIM, '{"to": "high"}', "$.to: 'high' is not of type 'integer'"),
        (DIM, "{}", "$: 'to' is a required property"),
        (TREE, "[[], [[]]]", ""),
        (TREE, "[[], [7]]", "$[1][0]: 7 is not of type 'array'"),
        ({"items": {"type": "string", "pattern": "^a"}}, '["b"]', ""),  # patterns are not run
        ({"items": {"type": "string", "pattern": "^a"}}, "[1]", "$[0]: 1 is not of type 'string'"),
        (False, "1", "$: False schema does not allow 1"),
    ],
)
def test_the_first_rule_that_an_answer_breaks_is_told(schema, answer, said):
    assert broken_rule(json.dumps(schema), answer) == said


@pytest.mark.parametrize(
    "schema",
    [
        "{",
        "5",
        '{"type": 5}',
        '{"type": "colour"}',
        '{"properties": 5}',
        '{"$ref": "#/nowhere"}',
        '{"$ref": "http://127.0.0.1:9/schema"}',
        '{"$ref": "#"}',
        '{"patternProperties": {"(a+)+$": {}}, "additionalProperties": false}',
        '{"pattern": "("}',
        "[" * 5000,
        json.dumps({"enum": ["x" * MOST_CHARACTERS]}),
    ],
)
def test_a_schema_that_can_not_be_followed_says_nothing_against_an_answer(schema):
    assert broken_rule(schema, '"ab"') == ""


def test_a_schema_that_asks_for_endless_work_is_left_after_a_bounded_number_of_steps():
    doubling = {f"d{position}": {"allOf": [{"$ref": f"#/$defs/d{position + 1}"}] * 2} for position in range(60)}
    began = time.process_time()
    assert broken_rule(json.dumps({"$ref": "#/$defs/d0", "$defs": {**doubling, "d60": {}}}), "1") == ""
    assert time.process_time() - began < 20


@given(JSON, JSON)
def test_any_schema_and_any_answer_give_an_answer(schema, answer):
    assert isinstance(broken_rule(json.dumps(schema), json.dumps(answer)), str)


@given(JSON)
def test_an_answer_that_is_the_constant_asked_for_breaks_nothing(value):
    assert broken_rule(json.dumps({"const": value}), json.dumps(value)) == ""
