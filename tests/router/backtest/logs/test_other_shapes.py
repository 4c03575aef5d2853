"""Logs of more programs, answers that are none, tables by columns, and files that are no log."""

import gzip
import io
import json
import tarfile
import zipfile

import pytest

from router.backtest.logs.reader import Columns, How, read_log
from router.core.errors import ConfigError, DataError

ASKED = [{"role": "user", "content": "lamp on"}]
SAID = {"role": "assistant", "content": "lights"}
REPLY = {"choices": [{"index": 0, "message": SAID, "finish_reason": "stop"}]}
CLAUDE = {
    "type": "message",
    "role": "assistant",
    "content": [{"type": "text", "text": "lights"}],
    "stop_reason": "end_turn",
}
GEMINI = {
    "candidates": [
        {"content": {"parts": [{"text": "hm", "thought": True}, {"text": "lights"}]}, "finishReason": "STOP"}
    ]
}


def chunk(text):
    return {"choices": [{"delta": {"content": text}}]}


@pytest.mark.parametrize(
    "row",
    [
        {"request_body": {"messages": ASKED}, "response_body": CLAUDE, "response_status": 200},
        {"request_body": json.dumps({"messages": ASKED}), "response_body": json.dumps(REPLY)},
        {"properties": {"requestBody": json.dumps({"messages": ASKED}), "responseBody": json.dumps(REPLY)}},
        {"request": {"contents": [{"parts": [{"text": "lamp on"}]}]}, "response": GEMINI},
        {"id": "x", "object": "chat.completion", "choices": REPLY["choices"], "input": ASKED},
        {"run_type": "llm", "inputs": {"messages": ASKED}, "outputs": REPLY},
        {"attributes.input.value": json.dumps({"messages": ASKED}), "attributes.output.value": json.dumps(REPLY)},
        {"attributes": {"input": {"value": json.dumps({"messages": ASKED})}, "output": {"value": json.dumps(REPLY)}}},
        {
            "attributes": {
                "gen_ai.input.messages": json.dumps(
                    [{"role": "user", "parts": [{"type": "text", "content": "lamp on"}]}]
                ),
                "gen_ai.output.messages": json.dumps(
                    [{"role": "assistant", "parts": [{"type": "text", "content": "lights"}]}]
                ),
            }
        },
        {"input": {"inputBodyJson": {"messages": ASKED}}, "output": {"outputBodyJson": CLAUDE}},
        {"request": {"prompt": "lamp on"}, "response": {"response": "lights", "done": True}},
        {"request": str({"messages": ASKED}), "response": str(REPLY)},
        {"conversations": [*ASKED, SAID]},
        {"messages": ASKED, "response": [chunk("li"), chunk("ghts")]},
        {"messages": ASKED, "response": f"data: {json.dumps(chunk('lights'))}\n\ndata: [DONE]\n"},
        {
            "messages": ASKED,
            "response": {"choices": [{"index": 1, "message": {"content": "b"}}, *REPLY["choices"]]},
        },
        {"trace_id": "t", "type": "GENERATION", "input": '"lamp on"', "output": '"lights"'},
        {"trace_id": "t", "input": json.dumps(json.dumps(ASKED)), "output": json.dumps("lights")},
        {"messages": ASKED, "response": {"choices": [{"message": {**SAID, "content": "<think>hm</think>lights"}}]}},
        {"text": "lamp on", "answer": "<think>hm</think>lights"},
    ],
)
def test_logs_of_more_programs_are_read(write_log, row):
    assert [(row.text, row.answer) for row in read_log(write_log([row] * 2), Columns()).rows] == [
        ("lamp on", "lights")
    ] * 2


def ended(end, **message):
    return {"choices": [{"message": {"role": "assistant", "content": "half", **message}, "finish_reason": end}]}


@pytest.mark.parametrize(
    ("response", "why"),
    [
        (ended("length"), "broke off"),
        (ended("content_filter"), "filtered"),
        (ended("stop", content=None, refusal="no"), "refused"),
        ({**CLAUDE, "stop_reason": "max_tokens"}, "broke off"),
        ({**CLAUDE, "stop_reason": "refusal"}, "refused"),
        ({"candidates": [{**GEMINI["candidates"][0], "finishReason": "SAFETY"}]}, "filtered"),
        ({"output": [{"type": "message", "content": [{"type": "refusal", "refusal": "no"}]}]}, "refused"),
        (
            {
                "status": "incomplete",
                "output": [{"type": "message", "content": [{"type": "output_text", "text": "half"}]}],
            },
            "broke",
        ),
        ({"error": {"message": "x"}}, "have no answer"),
        ({"type": "error", "error": {"type": "overloaded_error"}}, "have no answer"),
        ({"promptFeedback": {"blockReason": "SAFETY"}}, "have no answer"),
    ],
)
def test_answers_that_are_none_are_left_out_and_told(write_log, response, why):
    rows = [{"messages": ASKED, "response": one} for one in (REPLY, response, REPLY)]
    log = read_log(write_log(rows), Columns())
    assert [row.answer for row in log.rows] == ["lights", "lights"]
    assert any(why in told for told in log.told)


def test_a_status_beside_an_answer_says_that_there_is_none(write_log):
    rows = [
        {"request_body": {"messages": ASKED}, "response_body": REPLY, "response_status": code}
        for code in (200, 503, 200)
    ]
    assert len(read_log(write_log(rows), Columns()).rows) == 2
    rows = [
        {"request": {"body": {"messages": ASKED}}, "response": {"status_code": code, "body": REPLY}}
        for code in (200, 500, 200)
    ]
    assert len(read_log(write_log(rows), Columns()).rows) == 2


def test_calls_and_what_came_of_them_are_turns(write_log):
    items = [
        *ASKED,
        {"type": "function_call", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "output": "dark"},
    ]
    log = read_log(write_log([{"request": {"input": items}, "response": {"output_text": "lights"}}] * 2), Columns())
    assert log.rows[0].text == 'user: lamp on\nassistant: {"arguments": {}, "name": "f"}\ntool: dark'
    call = {"candidates": [{"content": {"parts": [{"functionCall": {"name": "dim", "args": {"to": 3}}}]}}]}
    log = read_log(write_log([{"request": {"contents": "dim"}, "response": call}] * 2, name="other"), Columns())
    assert log.rows[0].answer == '{"arguments": {"to": 3}, "name": "dim"}'


@pytest.mark.parametrize(
    "document",
    [
        {"text": ["a", "b"], "answer": ["x", "y"]},
        {"text": {"0": "a", "1": "b"}, "answer": {"0": "x", "1": "y"}},
        {"columns": ["text", "answer"], "index": [0, 1], "data": [["a", "x"], ["b", "y"]]},
        {"schema": {"fields": []}, "data": [{"text": "a", "answer": "x"}, {"text": "b", "answer": "y"}]},
        {"q1": {"text": "a", "answer": "x"}, "q2": {"text": "b", "answer": "y"}},
    ],
)
def test_tables_by_columns_are_turned_into_rows(tmp_path, document):
    (tmp_path / "log.json").write_text(json.dumps(document))
    assert [(row.text, row.answer) for row in read_log(tmp_path / "log.json", Columns()).rows] == [
        ("a", "x"),
        ("b", "y"),
    ]


LINES = b'{"text": "a", "answer": "x"}\n'


def zipped(name):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(name, "x")
    return packed.getvalue()


def tarred():
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("log.jsonl"))
    return packed.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (zipped("xl/workbook.xml"), "is an Excel workbook: save it as CSV"),
        (zipped("log.jsonl"), "is a zip archive: unpack it"),
        (b"\xd0\xcf\x11\xe0" + b"\0" * 99, "Excel workbook of the old kind: save it as CSV"),
        (b"ORC" + b"\0" * 99, "is an ORC file: read it with pyarrow.orc.read_table"),
        (b"ARROW1\0\0" + b"\0" * 99, "is an Arrow or Feather file"),
        (b"Obj\x01" + b"\0" * 99, "is an Avro file"),
        (b"\x80\x04\x95" + b"\0" * 99, "is a pickle"),
        (b"\x89HDF\r\n" + b"\0" * 99, "is an HDF5 file"),
        (b"SQLite format 3\0" + b"\0" * 99, "is a SQLite database: export its table as CSV"),
        (b"7z\xbc\xaf" + b"\0" * 99, "unpack it"),
        (b"%PDF-1.7\n", "is a PDF"),
        (tarred(), "is a tar archive: unpack it"),
        (gzip.compress(tarred(), mtime=0), "is a tar archive: unpack it"),
        (gzip.compress(gzip.compress(LINES, mtime=0), mtime=0), "packed twice: unpack it once"),
        (b"<!doctype html><p>Sign in", "is HTML or XML: export the log"),
        (b"\xef\xbb\xbf<?xml version='1.0'?><a/>", "is HTML or XML"),
        (LINES.decode().encode("utf-32-le"), "looks like UTF-32: try --encoding utf-32-le"),
        (LINES.decode().encode("utf-16-be"), "looks like UTF-16: try --encoding utf-16-be"),
        (LINES * 2 + b"\0" * 200, "holds zero bytes from byte 58 on"),
        (LINES.replace(b"}\n", b"},\n") * 2, r"log:1: has a comma after its object"),
        (b"2026-01-01 INFO " + LINES, r"log:1: has words before its JSON"),
    ],
)
def test_what_is_no_log_is_told_with_what_would_do(tmp_path, content, said):
    (tmp_path / "log").write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_log(tmp_path / "log", Columns())


@pytest.mark.parametrize("encoding", ["idna", "punycode", "undefined", "rot13", "base64", "unicode_escape", "utf\0-8"])
def test_what_is_no_encoding_of_files_is_refused(tmp_path, encoding):
    (tmp_path / "log").write_bytes(LINES)
    with pytest.raises(ConfigError, match="is no encoding"):
        read_log(tmp_path / "log", Columns(), how=How(encoding=encoding))


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ({"lamp on": "a", "it's": "b"}, "--text 'lamp on' --answer 'it'\"'\"'s'"),
        (
            {"role": "user", "said": "a", "reply": {"finish_reason": "stop", "words": "b"}},
            "--text said --answer reply.words",
        ),
        ({"inputs": "a", "outputs": "b", "targets": "c"}, "--text inputs --answer outputs"),
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, "--text prompt --answer chosen"),
        ({"instruction": "classify", "input": "lamp", "output": "lights"}, "--text instruction"),
    ],
)
def test_the_line_that_would_do_names_the_two_sides_and_can_be_typed(write_log, row, line):
    with pytest.raises(ConfigError) as caught:
        read_log(write_log([row]), Columns())
    assert line in str(caught.value)
