"""Runs of LangSmith, messages as LangChain writes them, and Cohere's two interfaces."""

import json

import pytest

from router.backtest.logs.reader import Columns, How, read_log
from router.core.errors import ConfigError, DataError

READ = [("lamp on", "lights")] * 2
ASKED = [{"role": "user", "content": "lamp on"}]


def lc(kind, content, **more):
    """A message as LangChain's serialiser writes it."""
    path = ["langchain", "schema", "messages", kind]
    return {"lc": 1, "type": "constructor", "id": path, "kwargs": {"content": content, **more}}


def generated(message=None, text="lights", end="stop"):
    made = {"text": text, "generation_info": {"finish_reason": end}, "type": "ChatGeneration"}
    return {"generations": [[made if message is None else {**made, "message": message}]], "llm_output": None}


def run(inputs, outputs, kind="llm", **more):
    return {
        "id": "r",
        "run_type": kind,
        "dotted_order": "20260101T000000Z",
        "start_time": "2026-01-01T00:00:00",
        "inputs": inputs,
        "outputs": outputs,
        "error": None,
        **more,
    }


CUT = lc("AIMessage", "half", response_metadata={"stop_reason": "max_tokens"})
HUMAN, AI = lc("HumanMessage", "lamp on"), lc("AIMessage", "lights")


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ({"messages": [[HUMAN]]}, generated(AI)),
        ({"messages": [HUMAN]}, generated(AI)),
        ({"messages": [[lc("HumanMessageChunk", [{"type": "text", "text": "lamp on"}])]]}, generated(AI)),
        ({"prompts": ["lamp on"]}, generated()),
        ({"messages": [["system", "be short"], ["human", "lamp on"]]}, generated(AI)),
        ({"messages": [["human", "lamp on"]]}, {"output": AI}),
        ({"messages": [{"type": "human", "data": {"content": "lamp on"}}]}, {"output": AI}),
        ({"messages": [{"type": "human", "content": "lamp on"}]}, {"output": {"type": "ai", "content": "lights"}}),
        ({"messages": [{"type": "human", "content": "lamp on"}]}, {"message": {"type": "ai", "content": "lights"}}),
        ({"messages": [HUMAN]}, {"messages": [HUMAN, AI]}),
        ({"messages": ASKED}, {"choices": [{"message": {"role": "assistant", "content": "lights"}}]}),
        ({"messages": ASKED}, {"role": "assistant", "content": "lights"}),
        ({"messages": ASKED}, {"content": [{"type": "text", "text": "lights"}], "stop_reason": "end_turn"}),
        ({"input": "lamp on"}, {"output": "lights"}),
        ({"question": "lamp on"}, {"answer": "lights"}),
        (json.dumps({"messages": [[HUMAN]]}), json.dumps(generated(AI))),
    ],
)
def test_runs_of_langsmith_are_read(write_log, inputs, outputs):
    log = read_log(write_log([run(inputs, outputs)] * 2), Columns())
    assert [(row.text, row.answer) for row in log.rows] == READ
    assert log.shape == "LangSmith runs"
    assert log.rows[0].asked_at > 1.7e9


def test_a_talk_of_langchain_is_a_transcript_with_its_calls(write_log):
    asked = [
        lc("SystemMessage", "Be short."),
        HUMAN,
        lc("AIMessage", "", tool_calls=[{"name": "dim", "args": {"to": 3}, "id": "x", "type": "tool_call"}]),
        lc("ToolMessage", "dark", tool_call_id="x"),
    ]
    log = read_log(write_log([run({"messages": [asked]}, generated(AI))] * 2), Columns())
    assert log.rows[0].text == 'user: lamp on\nassistant: {"arguments": {"to": 3}, "name": "dim"}\ntool: dark'


def test_calls_of_a_generation_are_its_answer(write_log):
    call = {"id": "x", "type": "function", "function": {"name": "dim", "arguments": '{"to": 3}'}}
    for made in (
        lc("AIMessage", "", tool_calls=[{"name": "dim", "args": {"to": 3}, "id": "x"}]),
        lc("AIMessage", "", additional_kwargs={"tool_calls": [call]}),
    ):
        log = read_log(write_log([run({"messages": [[HUMAN]]}, generated(made, "", "tool_calls"))] * 2), Columns())
        assert log.rows[0].answer == '{"arguments": {"to": 3}, "name": "dim"}'


def test_of_a_trace_the_models_answers_count_and_not_the_steps_around_them(write_log):
    rows = [
        run({"input": "lamp on"}, {"output": "lights"}, "chain"),
        run({"messages": [[HUMAN]]}, generated(AI)),
        run({"input": "x"}, {"output": "y"}, "tool"),
        run({"query": "x"}, {"documents": []}, "retriever"),
        run({"messages": [[HUMAN]]}, generated(AI)),
    ]
    log = read_log(write_log(rows), Columns())
    assert [(row.text, row.answer) for row in log.rows] == READ
    assert any("3 rows were left out" in told and "steps" in told for told in log.told)


def test_where_only_whole_chains_were_exported_they_are_the_queries(write_log):
    log = read_log(write_log([run({"input": "lamp on"}, {"output": "lights"}, "chain")] * 2), Columns())
    assert [(row.text, row.answer) for row in log.rows] == READ


def test_runs_that_failed_or_broke_off_are_left_out_and_told(write_log):
    rows = [
        run({"messages": [[HUMAN]]}, generated(AI)),
        run({"messages": [[HUMAN]]}, None, error="RateLimitError", status="error"),
        run({"messages": [[HUMAN]]}, generated(AI), error="Cancelled"),
        run({"messages": [[HUMAN]]}, generated(AI, end="length")),
        run({"messages": [[HUMAN]]}, generated(CUT, end=None)),
        run({"messages": [[HUMAN]]}, generated(AI)),
    ]
    log = read_log(write_log(rows), Columns())
    assert [(row.text, row.answer) for row in log.rows] == READ
    assert {told.split(" ")[0] for told in log.told} == {"2"}


def test_messages_of_langchain_in_another_programs_log_are_read(write_log):
    rows = [{"trace_id": "t", "input": [{"type": "human", "content": "lamp on"}], "output": AI}] * 2
    assert [(row.text, row.answer) for row in read_log(write_log(rows), Columns()).rows] == READ


def test_a_dataset_of_langsmith_is_read_by_its_parts(write_log):
    rows = [{"inputs": {"question": "lamp on"}, "outputs": {"answer": "lights"}}] * 2
    assert [(row.text, row.answer) for row in read_log(write_log(rows), Columns()).rows] == READ


V1 = {"message": "lamp on", "chat_history": [], "temperature": 0}
SAID = {"text": "lights", "generation_id": "g", "response_id": "r", "finish_reason": "COMPLETE", "meta": {}}
V2 = {
    "id": "c",
    "finish_reason": "COMPLETE",
    "message": {"role": "assistant", "content": [{"type": "text", "text": "lights"}]},
    "usage": {},
}


@pytest.mark.parametrize(
    "row",
    [
        {"request": V1, "response": SAID},
        {"request": json.dumps(V1), "response": json.dumps(SAID)},
        {"request": {"body": V1}, "response": {"status_code": 200, "body": SAID}},
        {"request": {"message": "lamp on"}, "response": {"text": "lights", "finish_reason": "COMPLETE"}},
        {"request": {"messages": ASKED}, "response": V2},
        {"request": {"prompt": "lamp on"}, "response": {"id": "g", "generations": [{"id": "x", "text": " lights"}]}},
        {**V1, "response": SAID},
        {"messages": ASKED, **V2},
        {**V1, **SAID},
        {"request": V1, "response": [{"event_type": "text-generation", "text": one} for one in ("li", "ghts")]},
        {
            "request": {"messages": ASKED},
            "response": [
                {"type": "content-delta", "delta": {"message": {"content": {"text": one}}}} for one in ("li", "ghts")
            ],
        },
    ],
)
def test_coheres_lines_are_read(write_log, row):
    assert [(one.text, one.answer) for one in read_log(write_log([row] * 2), Columns()).rows] == READ


def test_coheres_history_and_preamble_are_the_talk_before(write_log):
    history = [{"role": "USER", "message": "hi"}, {"role": "CHATBOT", "message": "hello"}]
    request = {"message": "lamp on", "chat_history": history, "preamble": "Be short."}
    for row in ({"request": request, "response": SAID}, {**request, "response": SAID}, {**request, **SAID}):
        log = read_log(write_log([row] * 2), Columns())
        assert log.rows[0].text == "user: hi\nassistant: hello\nuser: lamp on"
        assert any("system's prompt" in told for told in log.told)


def test_coheres_calls_are_the_answer(write_log):
    row = {"request": V1, "response": {**SAID, "text": "", "tool_calls": [{"name": "dim", "parameters": {"to": 3}}]}}
    assert read_log(write_log([row] * 2), Columns()).rows[0].answer == '{"arguments": {"to": 3}, "name": "dim"}'


@pytest.mark.parametrize("last", [[CUT], [lc("ToolMessage", "22 degrees")], []])
def test_a_whole_talk_without_an_answer_to_its_last_question_is_no_answer(write_log, last):
    asked = [HUMAN, AI, lc("HumanMessage", "and off")]
    rows = [run({"messages": asked}, {"messages": [*asked, *more]}) for more in ([AI], last, [AI])]
    log = read_log(write_log(rows), Columns())
    assert [one.answer for one in log.rows] == ["lights"] * 2
    assert any("1 rows were left out" in told for told in log.told)


@pytest.mark.parametrize("end", ["MAX_TOKENS", "ERROR", "ERROR_TOXIC", "ERROR_LIMIT", "USER_CANCEL"])
def test_an_answer_of_coheres_that_broke_off_is_none(write_log, end):
    for broken in ({**SAID, "finish_reason": end}, {**V2, "finish_reason": end}):
        rows = [{"request": V1, "response": one} for one in (SAID, broken, SAID)]
        assert len(read_log(write_log(rows), Columns()).rows) == 2


@pytest.mark.parametrize("end", ["error", "abort", "cancelled", "MALFORMED_FUNCTION_CALL"])
def test_an_end_that_no_answer_has_is_told_whoever_wrote_it(write_log, end):
    def reply(end):
        return {"choices": [{"message": {"role": "assistant", "content": "lights"}, "finish_reason": end}]}

    rows = [{"messages": ASKED, "response": reply(one)} for one in ("stop", end, None, "stop")]
    assert len(read_log(write_log(rows), Columns()).rows) == 3


@pytest.mark.parametrize(
    "row",
    [
        {"text": "lamp on", "answer": "lights", "generations": 3},
        {"text": "lamp on", "answer": "lights", "message": "unrelated"},
        {"text": "lamp on", "answer": "lights", "run_type": "nightly"},
        {"text": "lamp on", "answer": "lights", "type": "human"},
        {"text": "lamp on", "answer": "lights", "finish_reason": "COMPLETE"},
    ],
)
def test_plain_columns_that_remind_of_them_stay_plain(write_log, row):
    log = read_log(write_log([row] * 2), Columns())
    assert ([(one.text, one.answer) for one in log.rows], log.shape) == (READ, "")


def test_a_format_that_is_named_is_refused_where_it_is_none(write_log):
    with pytest.raises(ConfigError, match="langsmith"):
        read_log(write_log([{"text": "a", "answer": "b"}]), Columns(), how=How(shape="langsmith"))


TABLE = "| text | answer |\n{rule}\n| lamp on | lights |\n| lamp on | lights |\n"


@pytest.mark.parametrize("rule", ["|---|---|", "| --- | --- |", "|:--|--:|", "| :---: | - |", "|======|====|"])
def test_the_rule_of_a_table_is_no_row(write_log, rule):
    path = write_log([{"text": "a", "answer": "b"}])
    path.write_text(TABLE.format(rule=rule))
    assert [(one.text, one.answer) for one in read_log(path, Columns()).rows] == READ


RULE, ROWS = "+------+------+\n", "| lamp on | lights |\n" * 2


@pytest.mark.parametrize(
    "text",
    [
        "text | answer\n---|---\nlamp on | lights\nlamp on | lights\n",
        f"{RULE}| text | answer |\n{RULE}{ROWS}{RULE}",
        f"{RULE}| text | answer |\n{RULE}{ROWS}{RULE}2 rows in set (0.00 sec)\n",
        "┌────┬────┐\n│ text │ answer │\n├────┼────┤\n" + ROWS.replace("|", "│") + "└────┴────┘\n",
        " text    | answer\n---------+--------\n lamp on | lights\n lamp on | lights\n(2 rows)\n",
        "\n| text | answer |\n|---|---|\n| lamp on | lights |\n| lamp on | lights |\n\n",
        "text,answer\n---,---\nlamp on,lights\nlamp on,lights\n",
    ],
)
def test_tables_as_consoles_and_pages_show_them_are_read(write_log, text):
    path = write_log([{"text": "a", "answer": "b"}])
    path.write_text(text)
    assert [(one.text, one.answer) for one in read_log(path, Columns()).rows] == READ


def test_a_bar_within_a_cell_is_a_part_of_it(write_log):
    path = write_log([{"text": "a", "answer": "b"}])
    path.write_text("| text | answer |\n|---|---|\n| a \\| b | lights |\n")
    assert [(one.text, one.answer) for one in read_log(path, Columns()).rows] == [("a | b", "lights")]


@pytest.mark.parametrize("row", ["3 rows left | lights", "- | lights", "- | -", "(2 rows) | lights", "-- | -"])
@pytest.mark.parametrize(
    "drawn", [" text | answer\n------+--------\n {row}\n(1 row)\n", "| text | answer |\n|--|--|\n| {row} |\n"]
)
def test_a_row_that_looks_like_a_rule_or_a_count_is_kept(write_log, row, drawn):
    path = write_log([{"text": "a", "answer": "b"}])
    path.write_text(drawn.format(row=row))
    assert [f"{one.text} | {one.answer}" for one in read_log(path, Columns()).rows] == [row]


DUCK = """\
┌─────────┬─────────┐
│  text   │ answer  │
│ varchar │ varchar │
├─────────┼─────────┤
│ lamp on │ lights  │
{between}│ lamp on │ lights  │
├─────────┴─────────┤
│ 2 rows  2 columns │
└───────────────────┘
"""


def test_the_types_and_the_count_that_duckdb_draws_are_no_rows(write_log):
    path = write_log([{"text": "a", "answer": "b"}])
    path.write_text(DUCK.format(between=""))
    assert [(one.text, one.answer) for one in read_log(path, Columns()).rows] == READ


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (DUCK.format(between="│    ·    │    ·    │\n" * 3), ":6: stands for rows that are left out"),
        (" text  | answer\n-------+--------\n lamp +| lights\n on    | \n", ":3: has a cell that goes on"),
        (" text | answer\n------+--------\n lamp | lights+\n      | on\n", ":3: has a cell that goes on"),
    ],
)
def test_a_table_that_is_not_all_there_is_refused(write_log, text, problem):
    path = write_log([{"text": "a", "answer": "b"}])
    path.write_text(text)
    with pytest.raises(DataError, match=problem):
        read_log(path, Columns())


@pytest.mark.parametrize("more", [{"locale": "de"}, {"room": 3, "model": "x"}])
def test_an_object_with_a_message_and_more_stays_the_whole_question(write_log, more):
    asked = {"message": "lamp on", **more}
    log = read_log(write_log([{"text": asked, "answer": "lights"}] * 2), Columns())
    assert [one.text for one in log.rows] == [json.dumps(asked)] * 2


def test_a_row_of_dashes_that_somebody_wrote_is_kept(write_log):
    path = write_log([{"text": "a", "answer": "b"}])
    path.write_text("text,answer\nlamp on,lights\n---,---\n")
    assert [row.text for row in read_log(path, Columns()).rows] == ["lamp on", "---"]


def test_a_table_with_too_few_cells_names_its_line(write_log):
    path = write_log([{"text": "a", "answer": "b"}])
    path.write_text("| text | answer |\n|---|---|\n| lamp on |\n")
    with pytest.raises(DataError, match=":3: has 1 cells"):
        read_log(path, Columns())
