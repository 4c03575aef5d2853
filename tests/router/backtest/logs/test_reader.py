import csv
import json
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.backtest.logs.reader import Columns, read_log
from router.core.errors import ConfigError, DataError

ROWS = [
    {"prompt": "lamp on", "response": "lights", "usd": 0.25, "at": "2026-03-01T10:00:00Z", "gold": "lights"},
    {"prompt": 'a "quoted", comma\nand a line', "response": "music", "usd": 0.5, "at": "2026-03-01T09:00:00+00:00"}
    | {"gold": "music"},
]
NAMED = Columns(label="gold", cost="usd")


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_every_format_gives_the_same_queries(write_log, kind):
    log = read_log(write_log(ROWS, kind), NAMED)
    assert (log.columns.text, log.columns.answer) == ("prompt", "response")
    assert [row.text for row in log.rows] == [row["prompt"] for row in ROWS]
    assert [(row.answer, row.label, row.cost) for row in log.rows] == [
        ("lights", "lights", 0.25),
        ("music", "music", 0.5),
    ]


def test_long_cells_are_let_in_for_a_log_alone(write_log):
    long = "x" * (csv.field_size_limit() + 1)
    log = read_log(write_log([{"text": long, "answer": "b"}, {"text": "a", "answer": "b"}], "csv"), Columns())
    assert log.rows[0].text == long
    with pytest.raises(csv.Error, match="larger than field limit"):
        list(csv.reader([long]))


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_times_put_queries_in_order(write_log, kind):
    log = read_log(write_log(ROWS, kind), Columns(time="at"))
    assert [row.answer for row in log.rows] == ["music", "lights"]
    assert log.rows[1].asked_at - log.rows[0].asked_at == 3600


@pytest.mark.parametrize(
    "value",
    [1767225600, "1767225600", 1767225600000, 1767225600.0e6, "2026-01-01", "2026-01-01T01:00:00+01:00"],
)
def test_a_time_is_read_in_any_usual_spelling(write_log, value):
    log = read_log(write_log([{"text": "a", "answer": "b", "at": value}]), Columns(time="at"))
    assert log.rows[0].asked_at == datetime(2026, 1, 1, tzinfo=UTC).timestamp()


def test_dates_of_parquet_are_read(write_log):
    rows = [{"text": "a", "answer": "b", "at": date(2026, 1, 1), "then": datetime(2026, 1, 1, 6)}]
    path = write_log(rows, "parquet")
    midnight = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    assert read_log(path, Columns(time="at")).rows[0].asked_at == midnight
    assert read_log(path, Columns(time="then")).rows[0].asked_at == midnight + 6 * 3600


def test_a_dotted_name_looks_inside(write_log):
    rows = [{"request": {"q": "lamp"}, "reply": {"content": [{"label": "x"}], "text": "lights"}}]
    log = read_log(write_log(rows), Columns(text="request.q", answer="reply.text"))
    assert (log.rows[0].text, log.rows[0].answer) == ("lamp", "lights")


def test_chat_messages_become_a_transcript(write_log):
    said = [{"role": "system", "content": "short"}, {"role": "user", "content": [{"type": "text", "text": "lamp"}]}]
    log = read_log(write_log([{"messages": said, "response": {"b": 1}}]), Columns())
    assert log.rows[0].text == "system: short\nuser: lamp"
    assert log.rows[0].answer == '{"b": 1}'


def test_a_json_list_and_other_separators_are_read(tmp_path):
    listed = tmp_path / "log.json"
    listed.write_text(json.dumps([{"question": "a", "output": 7}]))
    separated = tmp_path / "log.txt"
    separated.write_text("question;output\na;7\n", encoding="utf-8-sig")
    assert read_log(listed, Columns()).rows == read_log(separated, Columns()).rows


def test_a_limit_keeps_the_earliest(write_log):
    assert [row.answer for row in read_log(write_log(ROWS), Columns(time="at"), 1).rows] == ["music"]
    assert [row.answer for row in read_log(write_log(ROWS), Columns(), 1).rows] == ["lights"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"text": "a", "answer": }', r"log\.jsonl:2: is not JSON at character 25"),
        ('["a", "b"]', r"log\.jsonl:2: is list"),
        ('{"text": "a"}', r"log\.jsonl:2: column answer: is empty"),
        ('{"text": " ", "answer": "b"}', r"log\.jsonl:2: column text: is empty"),
        ('{"a\\ud83d": 1}', r"log\.jsonl:2: has a column with half of a surrogate"),
        ('{"text": "a", "answer": NaN}', r"log\.jsonl:2: column answer: is empty"),
        ('{"text": "a\\ud83d", "answer": "b"}', r"log\.jsonl:2: column text: holds half of a surrogate pair"),
        ('{"text": "a", "answer": ["\\ud83d"]}', r"log\.jsonl:2: column answer: holds half of a surrogate pair"),
        ('{"text": "a", "answer": ' + "[" * 200_000, r"log\.jsonl:2: is JSON that is nested too deeply"),
        ('{"text": "a", "answer": ' + "9" * 5000 + "}", r"log\.jsonl:2: holds a number that can't be read"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(tmp_path, line, said):
    path = tmp_path / "log.jsonl"
    path.write_text('{"text": "a", "answer": "b"}\n' + line + "\n")
    with pytest.raises(DataError, match=said):
        read_log(path, Columns())


@pytest.mark.parametrize(
    ("columns", "cells", "said"),
    [
        (Columns(cost="usd"), {"usd": "free"}, "column usd: 'free' is no number"),
        (Columns(cost="usd"), {"usd": -1}, "column usd: -1 is no cost"),
        (Columns(cost="usd"), {"usd": 10**400}, "column usd: 10{39}… is no cost"),
        (Columns(time="at"), {"at": 10**400}, "column at: 10{39}… is no time"),
        (Columns(time="at"), {"at": "1e400"}, "column at: .* is no time"),
        (Columns(time="at"), {"at": "yesterday"}, "column at: 'yesterday' is no time"),
        (Columns(time="at"), {"at": True}, "column at: True is no time"),
    ],
)
def test_a_cell_that_cannot_be_used_is_named(write_log, columns, cells, said):
    with pytest.raises(DataError, match=rf"log\.jsonl:1: {said}"):
        read_log(write_log([{"text": "a", "answer": "b"} | cells]), columns)


def test_cells_of_csv_are_counted(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text('text,answer\n"two\nlines",b\nonly one\n')
    with pytest.raises(DataError, match=r"log\.csv:4: has 1 cells, and the header has 2"):
        read_log(path, Columns())


def test_bad_rows_are_left_out_where_the_user_says_so(write_log):
    rows = [{"text": "a", "answer": "b"}, {"text": "", "answer": "b"}, {"text": "c", "answer": None}]
    log = read_log(write_log(rows), Columns(), skip_bad=True)
    assert (len(log.rows), log.skipped) == (1, 2)


@pytest.mark.parametrize("cell", [10**400, "\ud83d", "free"])
def test_a_bad_cell_is_left_out_like_any_other(write_log, cell):
    rows = [{"text": "a", "answer": "b", "usd": 1}, {"text": "a", "answer": "b", "usd": cell}]
    log = read_log(write_log(rows), Columns(cost="usd"), skip_bad=True)
    assert (len(log.rows), log.skipped) == (1, 1)


def test_a_json_list_that_cannot_be_read_is_named_by_its_line(tmp_path):
    path = tmp_path / "log.json"
    for content, said in (("[\n{,", "log.json:2: is not JSON"), ("[" * 200_000, "too deeply"), ("[9" * 5000, "log")):
        path.write_text(content)
        with pytest.raises(DataError, match=said):
            read_log(path, Columns())


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_a_truth_that_is_missing_is_not_known_and_its_row_stays(write_log, kind):
    rows = [{"text": "a", "answer": "b", "gold": "b"}, {"text": "c", "answer": "d", "gold": None}]
    log = read_log(write_log(rows, kind), Columns(label="gold"))
    assert [row.label for row in log.rows] == ["b", None]
    assert not log.skipped


@pytest.mark.parametrize("content", ["text,answer\n", "[]", "text,answer\n\n"])
def test_a_log_without_rows_is_refused_as_that(tmp_path, content):
    (tmp_path / "log").write_text(content)
    with pytest.raises(DataError, match="log: has no rows"):
        read_log(tmp_path / "log", Columns())


def test_a_column_that_stands_twice_in_the_header_is_refused(tmp_path):
    (tmp_path / "log.csv").write_text("text,answer,text,,\na,b,c,,\n")
    with pytest.raises(DataError, match=r"log\.csv:1: has two columns named text"):
        read_log(tmp_path / "log.csv", Columns())


def test_a_column_that_is_not_there_is_refused_with_those_that_are(write_log):
    with pytest.raises(ConfigError, match=r"--cost: .* has no such column; it has text, answer"):
        read_log(write_log([{"text": "a", "answer": "b"}]), Columns(cost="price"))
    with pytest.raises(ConfigError, match=r"--answer: name one of the columns .* text, verdict"):
        read_log(write_log([{"text": "a", "verdict": "b"}], name="other"), Columns())


def test_a_column_named_as_the_truth_is_not_guessed_as_the_answer(write_log):
    with pytest.raises(ConfigError, match="--answer"):
        read_log(write_log([{"text": "a", "label": "b"}]), Columns(label="label"))


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00{", b"PAR1 is no parquet"])
def test_what_is_no_log_is_refused(tmp_path, content):
    path = tmp_path / "log"
    path.write_bytes(content)
    with pytest.raises((DataError, ConfigError), match="log"):
        read_log(path, Columns())


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DataError, match="can't be read: No such file"):
        read_log(tmp_path / "none.csv", Columns())


@given(st.lists(st.tuples(st.text(min_size=1), st.text(min_size=1)), min_size=1, max_size=20))
def test_texts_come_back_as_they_were(tmp_path_factory, pairs):
    pairs = [(text.strip() or "x", answer.strip() or "y") for text, answer in pairs]
    path = tmp_path_factory.mktemp("log") / "log.jsonl"
    path.write_text("".join(json.dumps({"text": text, "answer": answer}) + "\n" for text, answer in pairs))
    assert [(row.text, row.answer) for row in read_log(path, Columns()).rows] == pairs
