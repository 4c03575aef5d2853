"""Logs as an interface answers with them: rows under a key; and logs in several files."""

import gzip
import json

import pytest

from router.backtest.logs.reader import Columns, read_log
from router.core.errors import DataError

ROWS = [{"text": f"lamp {number}", "answer": "lights"} for number in range(3)]
CHAT = [{"role": "user", "content": "lamp"}, {"role": "assistant", "content": "lights"}]


def texts(path):
    return [row.text for row in read_log(path, Columns()).rows]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize(
    "document",
    [
        {"data": ROWS},
        {"object": "list", "data": ROWS, "first_id": "a", "has_more": False},
        {"meta": {"page": 1, "totalItems": 3}, "data": ROWS},
        {"exported": ROWS},
        {"result": {"rows": ROWS, "columns": [{"name": "text"}, {"name": "answer"}]}},
        {"query": "select * from log", "rows": ROWS},
        {"data": ROWS, "errors": [{"code": 1}]},
    ],
)
def test_rows_under_a_key_are_read(tmp_path, document, indent):
    (tmp_path / "log.json").write_text(json.dumps(document, indent=indent) + "\n", encoding="utf-8-sig")
    assert texts(tmp_path / "log.json") == [row["text"] for row in ROWS]


def test_objects_over_many_lines_each_are_read_one_after_the_other(tmp_path):
    (tmp_path / "log.json").write_text("\n".join(json.dumps(row, indent=2) for row in ROWS))
    assert texts(tmp_path / "log.json") == [row["text"] for row in ROWS]
    (tmp_path / "log.json").write_text(json.dumps(ROWS[0], indent=2) + '\n{\n "text": "a",\n "answer"\n}')
    with pytest.raises(DataError, match=r"log\.json:8: is not JSON"):
        texts(tmp_path / "log.json")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8"])
def test_they_are_read_packed_and_in_other_encodings(tmp_path, encoding):
    (tmp_path / "log").write_bytes(gzip.compress(json.dumps({"data": ROWS}, indent=1).encode(encoding)))
    assert len(texts(tmp_path / "log")) == 3


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize(
    "row",
    [
        {"text": "lamp", "answer": "lights", "tags": [{"a": 1}]},
        {"messages": CHAT, "tools": [{"type": "function"}]},
        {"messages": CHAT[:1], "response": {"choices": [{"message": CHAT[1]}]}},
        {"input": CHAT[:1], "output": [{"type": "message", **CHAT[1]}]},
    ],
)
def test_a_single_row_stays_a_row(tmp_path, row, indent):
    (tmp_path / "log.json").write_text(json.dumps(row, indent=indent))
    assert texts(tmp_path / "log.json") == ["lamp"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"data": []}', "log.json: has no rows"),
        ('{"a": [{"x": 1}], "b": [{"y": 1}]}', "log.json: holds several lists, a, b"),
        ('{\n "data": [\n  {"text": }\n]}', r"log\.json:3: is not JSON at character 12"),
        ('{"data": [{"text": "a", "answer": "b"}, 5]}', r"log\.json:2: is int"),
        ('{"data": [{"text": "a", "answer": "b"}, {"text": ""}]}', r"log\.json:2: column text: is empty"),
        ('{"text": "a", "answer":\n{"text": "b"}\n', r"log\.json:3: is not JSON"),
        ('{"data": ' + "[" * 100_000, "nested too deeply"),
    ],
)
def test_what_can_not_be_used_is_named(tmp_path, content, said):
    (tmp_path / "log.json").write_text(content)
    with pytest.raises(DataError, match=said):
        texts(tmp_path / "log.json")


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_a_folder_of_json_lines_is_read_in_the_order_of_its_names(tmp_path):
    (tmp_path / "day=2").mkdir()
    (tmp_path / "day=2" / "b.jsonl").write_text(lines(ROWS[2:]))
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines(ROWS[:1]).encode()))
    (tmp_path / "b.jsonl.1").write_text(lines(ROWS[1:2]))
    (tmp_path / "c.jsonl").touch()
    (tmp_path / "d.jsonl.gz").write_bytes(gzip.compress(b""))
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / ".hidden.jsonl").write_text("no log")
    (tmp_path / "info.json").write_text("{}")
    assert texts(tmp_path) == ["lamp 0", "lamp 1", "lamp 2"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("page.json", json.dumps({"data": ROWS})),
        ("rows.json", json.dumps(ROWS)),
        ("rows.NDJSON", lines(ROWS)),
        ("rows.csv", "text,answer\nlamp 0,lights\nlamp 1,lights\nlamp 2,lights\n"),
    ],
)
def test_folders_of_other_texts_are_read_too(tmp_path, name, content):
    (tmp_path / f"1-{name}").write_text(content)
    (tmp_path / f"2-{name}").write_text(content)
    assert texts(tmp_path) == [row["text"] for row in ROWS] * 2


def test_a_row_that_can_not_be_used_is_named_by_its_own_file(tmp_path):
    (tmp_path / "1.jsonl").write_text(lines(ROWS))
    (tmp_path / "2.jsonl").write_text(lines([*ROWS[:1], {"text": "", "answer": "b"}]))
    with pytest.raises(DataError, match=r"2\.jsonl:2: column text: is empty"):
        texts(tmp_path)


@pytest.mark.parametrize(("name", "said"), [("log.txt", r"name one file, such as .*\.txt"), ("log.jsonl", "no rows")])
def test_a_folder_without_rows_is_refused(tmp_path, name, said):
    (tmp_path / name).write_text("" if name.endswith("jsonl") else "text,answer\na,b\n")
    with pytest.raises(DataError, match=said):
        texts(tmp_path)
