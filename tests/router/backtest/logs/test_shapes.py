import bz2
import gzip
import json
import lzma

import pyarrow
import pytest
from deltalake import DeltaTable, write_deltalake
from pyarrow import parquet

from router.backtest.logs.reader import Columns, How, read_log
from router.core.errors import ConfigError, DataError

ASKED = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "lamp on"}]
REPLY = {"id": "x", "choices": [{"index": 0, "message": {"role": "assistant", "content": "lights"}}]}
CALL = {"id": "call_1", "type": "function", "function": {"name": "set", "arguments": '{"b": 1, "a": 2}'}}


def only(path, how=None, columns=None, **given):
    """Text and answer of the log's single query, and the log."""
    log = read_log(path, columns or Columns(), how=how, **given)
    [row] = log.rows
    return row.text, row.answer, log


@pytest.mark.parametrize(
    "row",
    [
        {"request": {"model": "m", "messages": ASKED}, "response": REPLY},
        {"request": json.dumps({"messages": ASKED}), "response": json.dumps(REPLY)},
        {"messages": ASKED, "response": REPLY},
        {
            "request": {"system": "Be short.", "messages": ASKED[1:]},
            "response": {"content": [{"type": "text", "text": "lights"}]},
        },
        {
            "request": {"input": "lamp on"},
            "response": {
                "output": [
                    {"type": "reasoning"},
                    {"type": "message", "content": [{"type": "output_text", "text": "lights"}]},
                ]
            },
        },
        {"custom_id": "1", "request": {"body": {"messages": ASKED}}, "response": {"status_code": 200, "body": REPLY}},
        {"messages": [*ASKED, {"role": "assistant", "content": "lights"}]},
        {
            "request_id": "r",
            "call_type": "acompletion",
            "spend": 0.1,
            "messages": json.dumps(ASKED),
            "response": json.dumps(REPLY),
        },
        {
            "request_id": "r",
            "call_type": "acompletion",
            "messages": "{}",
            "proxy_server_request": json.dumps({"messages": ASKED}),
            "response": json.dumps(REPLY),
        },
        {
            "id": "o",
            "trace_id": "t",
            "type": "GENERATION",
            "input": json.dumps(ASKED),
            "output": json.dumps(REPLY["choices"][0]["message"]),
        },
        {"id": "t", "projectId": "p", "input": {"messages": ASKED}, "output": "lights"},
    ],
)
@pytest.mark.parametrize("kind", ["jsonl", "json"])
def test_logs_of_known_programs_are_read_and_named(tmp_path, row, kind):
    path = tmp_path / f"log.{kind}"
    path.write_text(json.dumps(row if kind == "jsonl" else [row]))
    text, answer, log = only(path)
    assert (text, answer) == ("lamp on", "lights")
    assert log.shape


def test_a_batchs_output_is_joined_with_its_input(write_log):
    rows = [{"custom_id": str(n), "response": {"status_code": 200, "body": REPLY}, "error": None} for n in range(3)]
    rows[1]["response"] = {"status_code": 429, "body": {"error": {"message": "slow down"}}}
    asked = [{"custom_id": str(n), "method": "POST", "body": {"messages": ASKED}} for n in (2, 1, 0)]
    output, requests = write_log(rows), write_log(asked, name="input")
    with pytest.raises(ConfigError, match="--requests"):
        read_log(output, Columns())
    log = read_log(output, Columns(), how=How(requests=requests))
    assert [(row.text, row.answer) for row in log.rows] == [("lamp on", "lights")] * 2
    assert "1 rows were left out: they have no answer" in log.told


def test_a_list_is_looked_into_by_place(write_log):
    path = write_log([{"q": "lamp", "response": {"body": REPLY}}])
    columns = Columns(text="q", answer="response.body.choices.0.message.content")
    assert only(path, columns=columns)[1] == "lights"


def test_calls_are_answers_without_their_ids(write_log):
    reply = {"choices": [{"message": {"role": "assistant", "content": None, "tool_calls": [CALL]}}]}
    assert (
        only(write_log([{"messages": ASKED, "response": reply}]))[1] == '{"arguments": {"a": 2, "b": 1}, "name": "set"}'
    )


def test_a_systems_prompt_counts_only_where_it_differs(write_log):
    other = [{"role": "system", "content": "Be long."}, ASKED[1]]
    same = read_log(write_log([{"messages": ASKED, "response": REPLY}] * 2), Columns())
    differs = read_log(write_log([{"messages": said, "response": REPLY} for said in (ASKED, other)]), Columns())
    assert [row.text for row in same.rows] == ["lamp on"] * 2
    assert [row.text for row in differs.rows] == ["system: Be short.\nuser: lamp on", "system: Be long.\nuser: lamp on"]
    assert any("prompts differ" in one for one in differs.told)


def test_several_turns_are_a_transcript_and_told(write_log):
    talk = [
        *ASKED,
        {"role": "assistant", "content": "which?"},
        {"role": "user", "content": [{"type": "text", "text": "all"}]},
    ]
    text, _, log = only(write_log([{"messages": talk, "response": REPLY}]))
    assert text == "user: lamp on\nassistant: which?\nuser: all"
    assert any("several turns" in one for one in log.told)


def test_newest_first_exports_are_put_in_order(write_log):
    rows = [
        {"trace_id": "t", "start_time": f"2026-05-0{day} 13:46:19.963000", "input": f"lamp {day}", "output": "on"}
        for day in (3, 2, 1)
    ]
    assert [row.text for row in read_log(write_log(rows), Columns()).rows] == ["lamp 1", "lamp 2", "lamp 3"]


@pytest.mark.parametrize("write", [json.dumps, dict])
def test_whole_objects_are_never_taken_without_a_word(write_log, write):
    rows = [{"trace_id": "t", "input": write({"kwargs": {"q": "lamp"}}), "output": {"intent": "lights"}}]
    told = " ".join(read_log(write_log(rows), Columns()).told)
    assert "--text input.kwargs.q" in told
    assert "--answer output.intent" in told


@pytest.mark.parametrize("shape", ["litellm", "auto"])
def test_a_spend_log_without_texts_says_what_to_switch_on(write_log, shape):
    rows = [{"request_id": "r", "call_type": "acompletion", "spend": 1, "messages": "{}", "response": "{}"}]
    with pytest.raises(ConfigError, match="store_prompts_in_spend_logs"):
        read_log(write_log(rows), Columns(), how=How(shape))


def test_a_refusal_gives_the_line_that_would_do(write_log):
    path = write_log([{"id": 1, "req": {"messages": ASKED}, "res": REPLY}])
    with pytest.raises(ConfigError, match=r"--text req.messages --answer res.choices.0.message.content"):
        read_log(path, Columns())
    columns = Columns(text="req.messages", answer="res.choices.0.message.content")
    assert only(path, columns=columns)[1] == "lights"


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_packed_and_marked_files_are_read(tmp_path, pack, encoding):
    (tmp_path / "log").write_bytes(pack('sep=;\r\ntext;answer\r\n"ü;\r\n\ta";b\r\n'.encode(encoding)))
    assert only(tmp_path / "log")[:2] == ("ü;\r\n\ta", "b")


def test_any_other_encoding_is_named(tmp_path):
    path = tmp_path / "log.csv"
    path.write_bytes("text,answer\ngrün,b\n".encode("cp1252"))
    with pytest.raises(DataError, match="--encoding cp1252"):
        read_log(path, Columns())
    assert only(path, How(encoding="cp1252"))[0] == "grün"
    with pytest.raises(ConfigError, match="is no encoding"):
        read_log(path, Columns(), how=How(encoding="klingon"))
    path.write_bytes("text,answer\na,b\n".encode("utf-16-le"))
    with pytest.raises(DataError, match="--encoding utf-16-le"):
        read_log(path, Columns())
    assert only(path, How(encoding="utf-16-le"))[:2] == ("a", "b")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (gzip.compress(b"text,answer\na,b\n")[:-6], "cut off"),
        (b"PK\x03\x04rest", "zip archive"),
        (gzip.compress(b""), "is empty"),
    ],
    ids=["cut", "zip", "empty"],
)
def test_what_cannot_be_unpacked_is_refused_in_words(tmp_path, content, said):
    (tmp_path / "log").write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_log(tmp_path / "log", Columns())


def test_a_folder_of_parquet_is_read(tmp_path):
    for day in (1, 2):
        (tmp_path / "log" / f"day={day}").mkdir(parents=True)
        table = pyarrow.Table.from_pylist([{"text": f"lamp {day}", "answer": "on"}])
        parquet.write_table(table, tmp_path / "log" / f"day={day}" / "a.parquet")
    assert [row.text for row in read_log(tmp_path / "log", Columns()).rows] == ["lamp 1", "lamp 2"]
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="without Parquet files"):
        read_log(tmp_path / "none", Columns())


def test_deleted_files_of_a_delta_table_are_no_rows(tmp_path):
    rows = [
        {"task": task, "text": text, "answer": "on", "asked_at": 1.0, "propensity": 1.0}
        for task, text in (("home", "lamp"), ("home", "bulb"), ("car", "horn"))
    ]
    write_deltalake(tmp_path / "log", pyarrow.Table.from_pylist(rows), partition_by=["task"])
    DeltaTable(tmp_path / "log").delete("text = 'bulb'")
    with pytest.raises(ConfigError, match="--task"):
        read_log(tmp_path / "log", Columns())
    text, answer, log = only(tmp_path / "log", How(task="home"))
    assert (text, answer, log.shape) == ("lamp", "on", "Headrace's own log")
    with pytest.raises(DataError, match="part of a Delta table"):
        read_log(tmp_path / "log" / "task=home", Columns())
    with pytest.raises(ConfigError, match="holds no such task"):
        read_log(tmp_path / "log", Columns(), how=How(task="boat"))
