"""Texts through gateway, pool and log of a real cluster."""

import asyncio
import math
import uuid

import pytest

from cloud_worker.log.distillation_log import DistillationLog, records_of
from cloud_worker.testing import edge
from router.core.domain.chat import messages_from_json
from router.core.domain.query import FinishReason, GenerationLimits, Message, Query, Wanted
from router.core.domain.record import may_certify, may_teach
from router.core.domain.token_codec import unpack
from router.core.errors import BadInputError, CallerError

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]


@pytest.fixture
async def device(cluster):
    await asyncio.to_thread(cluster.port)  # a gateway that a test before this one killed is back
    async with edge(cluster.target, f"device-{uuid.uuid4().hex[:8]}") as device:
        yield device


def logged(cluster, caller):
    cluster.drain()
    return [row for row in records_of(DistillationLog(cluster.config.log_folder).read("talk")) if row.caller == caller]


async def test_a_text_its_reason_and_its_tokens_are_in_the_answer_where_wanted_and_in_the_log_always(cluster, device):
    wished = await device.ask(Query("wished", "talk", "lamp", wanted=Wanted(top_k=2, rationale=True)))
    assert (wished.text, wished.rationale, wished.provenance.model) == ("on", "dark room", "writer")
    assert wished.usage.tokens_out == len(wished.tokens) == 7
    assert [len(token.alternatives.top) for token in wished.tokens] == [2] * 7
    plain = await device.ask(Query("plain", "talk", "lamp"))
    assert (plain.text, plain.rationale, plain.tokens) == ("on", "", ())
    rows = {row.query_id: row for row in logged(cluster, device.device)}
    assert set(rows) == {"wished", "plain"}
    for row in rows.values():
        assert (row.answer, row.rationale, row.problem) == ("on", "dark room", "")
        assert [token.token for token in unpack(row.tokens)] == ["dark", "room", "the", "answer", "is", "on", "<end>"]
        for token in unpack(row.tokens):
            assert len(token.alternatives.top) == 5
            shares = [math.exp(value) for _, value in token.alternatives.top] + [math.exp(token.alternatives.tail)]
            assert sum(shares) == pytest.approx(1.0, abs=0.01)
        assert may_teach(row)


async def test_a_chat_is_answered_and_logged_as_a_chat(cluster, device):
    messages = (Message("user", "gadget"), Message("assistant", "unclear"), Message("user", "lamp"))
    answer = await device.ask(Query("chat", "talk", messages=messages))
    assert answer.text == "on"
    [row] = logged(cluster, device.device)
    assert row.text == "user: gadget\nassistant: unclear\nuser: lamp"
    assert messages_from_json(row.chat) == messages


async def test_an_answer_whose_reason_can_not_be_read_goes_out_and_is_no_lesson_but_may_certify(cluster, device):
    await device.sync()
    answer = await device.escalate("gadget", "talk")
    assert (answer.text, answer.provenance.logged) == ("unclear", True)
    [row] = logged(cluster, device.device)
    assert row.problem
    assert not may_teach(row)
    assert may_certify(row)


async def test_limits_are_the_tasks_unless_the_caller_names_them(cluster, device):
    short = await device.ask(Query("short", "talk", "long", limits=GenerationLimits(max_tokens=2)))
    assert (short.text, short.finish_reason) == ("a b", FinishReason.LENGTH)
    stopped = await device.ask(Query("stopped", "talk", "long", limits=GenerationLimits(stop=("d",))))
    assert stopped.text == "a b c"


@pytest.mark.parametrize(
    ("query", "named"),
    [
        (Query("q", "talk", "lamp " * 60), "input has 60 tokens"),
        (Query("q", "talk", "lamp", limits=GenerationLimits(stop=("never seen",))), "limits.stop holds 'never seen'"),
        (Query("q", "talk", "lamp", limits=GenerationLimits(max_tokens=-1)), "limits.max_tokens"),
        (Query("q", "talk", "lamp", limits=GenerationLimits(temperature=-1.0)), "limits.temperature"),
        (Query("q", "talk", messages=(Message("robot", "lamp"),)), "chat.messages"),
    ],
)
async def test_what_can_not_be_read_is_said_by_field_and_the_loop_goes_on(cluster, device, query, named):
    with pytest.raises(CallerError, match=named) as caught:
        await device.ask(query)
    assert caught.value.status == BadInputError.status
    assert logged(cluster, device.device) == []
    assert (await device.ask(Query("after", "talk", "lamp"))).text == "on"
