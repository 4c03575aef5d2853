import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.errors import DataError
from router.io.json_lines import json_lines

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(texts=st.lists(TEXTS, max_size=6))
def test_texts_come_back_as_they_were_whatever_they_hold(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("lines") / "some.jsonl"
    path.write_text("".join(json.dumps({"text": one}, ensure_ascii=False) + "\n" for one in texts), encoding="utf-8")
    assert json_lines(path) == [(number, {"text": one}) for number, one in enumerate(texts, start=1)]


def test_blank_lines_are_counted_and_a_byte_order_mark_is_passed_over(tmp_path):
    path = tmp_path / "some.jsonl"
    path.write_bytes(b"\xef\xbb\xbf1\r\n\r\n\n[2]")
    assert json_lines(path) == [(1, 1), (4, [2])]


def test_a_whole_pair_of_surrogates_is_a_text(tmp_path):
    path = tmp_path / "some.jsonl"
    path.write_text('"\\ud83d\\ude00"')
    assert json_lines(path) == [(1, "\U0001f600")]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"a": }', "is not JSON at character 7"),
        ('{"a": ["x\\ud800"]}', "holds half of a surrogate pair"),
        ("[" * 200_000, "is JSON that is nested too deeply"),
        ("9" * 5000, "holds a number that can't be read"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(tmp_path, line, problem):
    path = tmp_path / "some.jsonl"
    path.write_text(f"1\n{line}\n")
    with pytest.raises(DataError, match=rf"some\.jsonl:2: {problem}"):
        json_lines(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(DataError, match=r"some\.jsonl: can't be read"):
        json_lines(tmp_path / "some.jsonl")
    (tmp_path / "some.jsonl").write_bytes(b"\xff")
    with pytest.raises(DataError, match=r"some\.jsonl: can't be read as UTF-8"):
        json_lines(tmp_path / "some.jsonl")
