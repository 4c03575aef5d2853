"""Replies of status 200 in the shapes that break clients: an answer is whole, or it is told why it is none."""

import json

import pytest

from router.core.domain.generation import Prompt, Written
from router.core.domain.query import FinishReason
from router.core.errors import HeadraceError, ModelError, UnavailableError
from router.students.writers.server_writer import ServedWriter
from router.students.writers.testing import FakeChatServer
from router.students.writers.whole_answer import answer_in, flaw_of


def choice(finish="stop", index=0, **message):
    return {"index": index, "message": {"role": "assistant", **message}, "finish_reason": finish}


@pytest.fixture(scope="module")
def server():
    with FakeChatServer(lambda text: "unused") as made:
        yield made


@pytest.fixture
def said(server):
    """What a server that replies so has written."""

    def write(*choices, **more):
        server.faults.body = json.dumps({"choices": list(choices), **more}).encode()
        return answer_in(ServedWriter(server.url, "tiny", seconds=5).write(Prompt("hello")))

    return write


@pytest.mark.parametrize(
    "content",
    [
        "\u200b",
        "\ufeff",
        "\u200d\u00a0\u2060",
        "\xad",
        "\u3164",
        "\u2800",
        "\x00",
        "\ufe0f",
        "<|im_end|>",
        " </s>\n",
        "\u2028",
    ],
)
def test_what_nobody_can_see_is_an_empty_answer(said, content):
    assert flaw_of(said(choice(content=content))) == "the answer is empty"


def test_tokens_that_only_end_an_answer_are_no_part_of_it(said):
    assert said(choice(content="lights on<|im_end|>\n</s>")).text == "lights on"


@pytest.mark.parametrize(
    ("message", "flaw"),
    [
        ({"content": "let me call the lamp"}, "holds none"),
        ({"content": "let me", "tool_calls": []}, "holds none"),
        ({"content": None, "tool_calls": [{"function": {"name": None, "arguments": "{}"}}]}, "by name"),
        ({"content": "on", "tool_calls": [{"function": {"name": " ", "arguments": "{}"}}]}, "by name"),
        ({"content": '{"name": "dim", "arguments": {}}'}, ""),
        ({"content": None, "tool_calls": [{"function": {"name": "dim", "arguments": "{}"}}]}, ""),
    ],
)
@pytest.mark.parametrize("finish", ["tool_calls", "function_call"])
def test_calls_that_got_lost_are_no_answer(said, finish, message, flaw):
    found = flaw_of(said(choice(finish, **message)))
    assert flaw in found
    assert bool(found) == bool(flaw)


def test_a_call_in_the_spelling_of_the_first_years_is_read(said):
    written = said(choice("function_call", content=None, function_call={"name": "dim", "arguments": '{"to": 3}'}))
    [call] = written.tool_calls
    assert (call.name, call.arguments, written.finish_reason) == ("dim", '{"to": 3}', FinishReason.TOOL_CALLS)


def test_of_several_choices_the_first_by_its_number_counts(said):
    assert said(choice(index=1, content="second"), choice(index=0, content="first")).text == "first"


def test_a_part_whose_text_is_an_object_is_read(said):
    assert said(choice(content=[{"type": "text", "text": {"value": "on"}}])).text == "on"


@pytest.mark.parametrize(
    ("content", "thought"),
    [
        ("<think >hm</think >on", "hm"),
        ('<thinking lang="en">hm</thinking>on', "hm"),
        ("<seed:think>hm</seed:think>on", "hm"),
        ("<longcat_think>hm</longcat_think>on", "hm"),
        ("\ufeff<think>hm</think>on", "hm"),
        ("<|START_THINKING|>hm<|END_THINKING|>on", "hm"),
        ("<|begin_of_thought|>hm<|end_of_thought|>on", "hm"),
        ("\u25c1think\u25b7hm\u25c1/think\u25b7on", "hm"),
        ("<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>on<|return|>", "hm"),
        ("<|channel|>final<|message|>on", ""),
        ("analysisThe user asks.assistantfinalon", "The user asks."),
        ("<think><think>inner</think>outer</think>on", "outer"),
        ("<think>about the <think> tag</think>on", "about the"),
    ],
)
def test_thoughts_are_told_from_the_answer_in_every_family_s_spelling(said, content, thought):
    written = said(choice(content=content))
    assert (written.text, flaw_of(written)) == ("on", "")
    assert thought in written.rationale


@pytest.mark.parametrize(
    "content",
    [
        "<thinking><thinking>inner</thinking>outer text",
        "<seed:think>hm",
        "<|START_THINKING|>hm",
        "\u25c1think\u25b7hm",
        "<|channel|>analysis<|message|>hm",
        "<|channel|>commentary to=functions.dim <|message|>{}",
    ],
)
def test_a_thought_that_does_not_end_leaves_no_answer(said, content):
    written = said(choice(content=content))
    assert (written.text, written.finish_reason) == ("", FinishReason.LENGTH)


@pytest.mark.parametrize(
    "text", ["analysis of the lamp", "a <thinker> sits", "the final channel", "[1] on", "<b>on</b>"]
)
def test_words_that_only_remind_of_a_thought_stay(text):
    assert answer_in(Written(text)).text == text


@pytest.mark.parametrize(
    ("finish", "flaw"),
    [
        ("FINISH_REASON_STOP", ""),
        (" stop", ""),
        ("end_of_turn", ""),
        ("content_filtered", "filtered"),
        ("guardrail_intervened", "filtered"),
        ("SPII", "filtered"),
        ("sensitive", "filtered"),
        ("ERROR_TOXIC", "filtered"),
        ("model_context_window_exceeded", "broke off"),
        ("max_length", "broke off"),
    ],
)
def test_the_words_of_providers_for_an_end_are_known(said, finish, flaw):
    found = flaw_of(said(choice(finish, content="half")))
    assert flaw in found
    assert bool(found) == bool(flaw)


@pytest.mark.parametrize(
    "finish", ["insufficient_system_resource", "pause_turn", "MALFORMED_FUNCTION_CALL", "error_finish", "", "[]"]
)
def test_any_other_word_for_an_end_is_a_broken_answer(said, finish):
    with pytest.raises(UnavailableError, match="broke off"):
        said(choice(finish, content="half"))


@pytest.mark.parametrize(
    "body",
    [
        {"choices": {"0": choice(content="x")}},
        {"choices": "x"},
        {"choices": None, "error": None},
        {"choices": [None]},
        {"choices": [{"message": None, "finish_reason": "stop"}]},
        {"choices": [{"delta": {"content": "x"}, "finish_reason": "stop"}]},
        {"choices": [choice(content=True)]},
        {"choices": [choice(content=None, tool_calls={"function": {"name": "dim"}})]},
        {"errors": [{"message": "x"}]},
        {"success": False, "msg": "quota"},
        "internal error",
        [{"choices": []}],
    ],
)
def test_another_shape_is_the_operator_s_to_look_into(server, body):
    server.faults.body = json.dumps(body).encode()
    with pytest.raises(ModelError):
        ServedWriter(server.url, "tiny").write(Prompt("hello"))


@pytest.mark.parametrize(
    "body",
    [b"<html>502</html>", b"upstream connect error", b'data: {"choices": []}\n\ndata: [DONE]\n', b'{"choices": [{"mes'],
)
def test_what_is_no_json_is_no_answer(server, body):
    server.faults.body = body
    with pytest.raises(HeadraceError, match="can't be read"):
        ServedWriter(server.url, "tiny").write(Prompt("hello"))


def test_an_error_within_a_message_is_one(said):
    with pytest.raises(UnavailableError, match="busy"):
        said(choice(content="half", error={"code": 502, "message": "upstream"}))
