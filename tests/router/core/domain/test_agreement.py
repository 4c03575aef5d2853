"""The laws of agreement between texts."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.domain.agreement import JUDGES, number, structure, tool_call, tool_calls_in

NUMBERLIKE = st.text(st.sampled_from("0123456789.,-+/eE' kmg%$½(:) NaN"), max_size=24)
JSONLIKE = st.text(st.sampled_from('{}[]":,0123456789truefalsnN \\u.eE-'), max_size=40)
TEXTS = st.text() | NUMBERLIKE | JSONLIKE
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(judge=st.sampled_from(sorted(JUDGES)), text=TEXTS)
def test_any_text_agrees_with_itself(judge, text):
    assert JUDGES[judge](text, text)


@given(judge=st.sampled_from(sorted(JUDGES)), one=TEXTS, other=TEXTS)
def test_agreement_goes_both_ways_for_any_texts(judge, one, other):
    assert JUDGES[judge](one, other) == JUDGES[judge](other, one)


@given(value=st.integers(-(10**12), 10**12))
def test_a_number_is_the_same_however_its_thousands_are_written(value):
    spellings = [str(value), f"{value:,}", f"{value:_}", f"{value:,}".replace(",", " "), f" {value}.0", f"= {value}."]
    assert all(number(spellings[0], spelling) for spelling in spellings)
    assert not number(str(value), str(value + max(2, abs(value) // 1000)))


@given(value=VALUES, indent=st.sampled_from([None, 2]))
def test_json_is_the_same_whatever_its_spaces_and_order_of_keys(value, indent):
    def turned(inner):
        if isinstance(inner, dict):
            return {key: turned(inner[key]) for key in reversed(list(inner))}
        return [turned(item) for item in inner] if isinstance(inner, list) else inner

    assert structure(json.dumps(value), json.dumps(turned(value), indent=indent))


@given(one=VALUES, other=VALUES)
def test_json_that_reads_as_unequal_is_unequal(one, other):
    if json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True):
        assert structure(json.dumps(one), json.dumps(other))
    elif structure(json.dumps(one), json.dumps(other)):
        assert one == other  # 1 and 1.0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("42", "The answer is 42."),
        ("1,234.5", "1.234,5"),
        ("1\u202f234", "1234"),
        ("5 km", "5000 m"),
        ("2 hours", "120 minutes"),
        ("5 km", "5"),
        ("$1,234.00", "1234 dollars"),
        ("3/4", "0.75"),
        ("1½", "1.5"),
        ("1e3", "1000"),
        ("−5", "-5"),
        ("0.333333333", "1/3"),
        ("no idea", "No idea."),
    ],
)
def test_the_same_number(one, other):
    assert number(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("42", "43"),
        ("5", "-5"),
        ("5 km", "5 kg"),
        ("5 m", "5 m²"),
        ("12 apples", "12 pears"),
        ("10:30", "11:30"),
        ("2024-11-23", "2023-11-23"),
        ("3-5", "4-5"),
        ("0.1", "0.2"),
        ("50%", "0.6"),
        ("12", "no idea"),
        ("9" * 80, "9" * 79),
        ("1e999", "2e999"),
        ("1/0", "2/0"),
        ("__import__('os')", "1"),
    ],
)
def test_another_number(one, other):
    assert not number(one, other)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ('{"a": 1, "b": [1, 2.0]}', '{"b": [1.0, 2], "a": 1e0}', True),
        ('```json\n{"a": 1}\n```', '{"a":1}', True),
        ("[1, 2]", "[2, 1]", False),
        ("true", "1", False),
        ("[]", "{}", False),
        ('{"a": 1, "a": 2}', '{"a": 2}', False),
        ("NaN", "nan", True),
        ('{"a": 1}', "a is 1", False),
        ("[" * 5000 + "]" * 5000, "[]", False),
        ("9" * 5000, "9", False),
        ("1e99999999999999999999", "2e99999999999999999999", False),
    ],
)
def test_parsed_values(one, other, same):
    assert structure(one, other) is same


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ('{"name": "f", "arguments": {"x": 1, "y": 2}}', '{"arguments": {"y": 2, "x": 1.0}, "name": "f"}', True),
        ('{"name": "f", "arguments": "{\\"x\\": 1}"}', '[{"function": {"name": "f", "arguments": {"x": 1}}}]', True),
        ('<tool_call>\n{"name": "f"}\n</tool_call>', '{"name": "f", "parameters": {}}', True),
        ('{"name": "f", "arguments": {"x": 1}}', '{"name": "g", "arguments": {"x": 1}}', False),
        ('{"name": "f", "arguments": {"x": 1}}', '{"name": "f", "arguments": {"x": 2}}', False),
        ('{"name": "f", "arguments": {"x": 1}}', '{"name": "f", "arguments": {"x": 1', False),
        ('{"name": "f", "arguments": [1]}', '{"name": "f", "arguments": [1] }', False),
        ("no call", "No call.", True),
    ],
)
def test_tool_calls(one, other, same):
    assert tool_call(one, other) is same


def test_calls_are_read_from_text():
    (call,) = tool_calls_in('{"name": "set_timer", "arguments": {"minutes": 5, "label": "tea"}}')
    assert (call.name, json.loads(call.arguments)) == ("set_timer", {"minutes": 5, "label": "tea"})
    assert tool_calls_in("five minutes, please") is None
    assert tool_calls_in("[]") is None
    assert tool_calls_in('{"name": "", "arguments": {}}') is None
