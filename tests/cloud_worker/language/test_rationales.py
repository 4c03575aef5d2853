"""Reading what a teacher wrote: parsed, never run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_worker.language.rationales import answer_in, evaluate, last_number, number_of


@pytest.mark.parametrize(
    ("text", "value"),
    [("(84 / 2)", 42.0), ("( ( 17.0 + 15.0 ) + 2.0 )", 34.0), ("-3 * 2", -6.0), (" 7 ", 7.0), ("1 - -1", 2.0)],
)
def test_arithmetic_is_parsed(text: str, value: float) -> None:
    assert evaluate(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "(2 * x)",
        "((415 - 309)",
        "1 / 0",
        "9 ** 9 ** 9",
        "__import__('os').system('true')",
        "[1][0]",
        "True + 1",
        "'a' * 3",
        "1 if 2 else 3",
        "(lambda: 1)()",
        "1 + " * 100 + "1",
        "(" * 150 + "1" + ")" * 40,
        "1e999 * 0 + nan",
        "\x00",
    ],
)
def test_anything_else_is_nothing(text: str) -> None:
    assert evaluate(text) is None


@given(st.text(max_size=60))
def test_no_text_raises(text: str) -> None:
    evaluate(text)
    last_number(text)
    number_of(text)
    answer_in(text)


def test_the_answer_stands_after_its_phrase() -> None:
    assert answer_in("1 + 2 = 3. The answer is 3.") == "3"
    assert answer_in("the answer is 4, no: the answer is 5") == "5"
    assert answer_in(" 7. ") == "7"


def test_the_last_number_counts() -> None:
    assert last_number("of 3 boxes, 1,250.5 remain") == 1250.5
    assert last_number("none") is None
    assert number_of("it is 12 shells") == 12.0
