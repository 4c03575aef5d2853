"""Feedback as programs and shells give it, to targets of which one gave the answer."""

import asyncio
import json
import socket

import pytest
from typer.testing import CliRunner

from router.cli import app
from router.client.async_client import AsyncClient
from router.client.blocking_client import Client
from router.core.domain.feedback import Feedback, Opinion, unknown_answer
from router.core.errors import BadInputError, UnavailableError, UnknownTaskError
from router.transport.feedback_wire import feedback_from_proto
from router.transport.server import Door, caller_of
from router.v1 import cascade_pb2, cascade_pb2_grpc


class Target(cascade_pb2_grpc.CascadeServicer):
    """Gave the answers in ``given``; ``heard`` holds who said what."""

    def __init__(self, *given):
        self.given = given
        self.heard = []

    async def Feedback(self, request, context):  # noqa: N802 - the contract's name
        if request.query_id not in self.given:
            raise unknown_answer()
        self.heard.append((caller_of(context, insecure=True), feedback_from_proto(request)))
        return cascade_pb2.FeedbackResponse()


@pytest.fixture
async def targets():
    """Two tiers: the first gave the answer a, the second the answer b."""
    tiers = [Target("a"), Target("b")]
    doors = [Door("127.0.0.1:0", insecure=True) for _ in tiers]
    for door, tier in zip(doors, tiers, strict=True):
        cascade_pb2_grpc.add_CascadeServicer_to_server(tier, door.server)
        tier.target = f"127.0.0.1:{await door.start()}"
    yield tiers
    for door in doors:
        await door.stop(0)


def nobody():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


async def test_whichever_target_gave_the_answer_hears_of_it(targets):
    async with AsyncClient([one.target for one in targets], insecure=True, device="ada") as client:
        await client.feedback("b", "home", "wrong", correction="lights", comment="I said lamp")
    assert targets[1].heard == [("ada", Feedback("b", "home", Opinion.WRONG, "lights", "I said lamp"))]
    assert not targets[0].heard


async def test_it_goes_without_an_event_loop_too(targets):
    def give():
        with Client([one.target for one in targets], insecure=True, device="ada") as client:
            client.feedback("b", "home", "right")

    await asyncio.to_thread(give)
    assert targets[1].heard == [("ada", Feedback("b", "home", Opinion.RIGHT))]


async def test_an_answer_that_no_target_gave_is_unknown(targets):
    async with AsyncClient([one.target for one in targets], insecure=True) as client:
        with pytest.raises(UnknownTaskError):
            await client.feedback("c", "home", "right")


async def test_a_target_that_is_away_may_be_the_one_that_answered(targets):
    async with AsyncClient([nobody(), targets[0].target], insecure=True, deadline=5) as client:
        await client.feedback("a", "home", "right")
        with pytest.raises(UnavailableError):
            await client.feedback("c", "home", "right")
    assert len(targets[0].heard) == 1


async def test_what_is_wrong_with_it_is_said_before_anything_is_sent(targets):
    async with AsyncClient(targets[0].target, insecure=True) as client:
        with pytest.raises(BadInputError, match="verdict"):
            await client.feedback("a", "home", "perhaps")
        with pytest.raises(BadInputError, match="deadline"):
            await client.feedback("a", "home", "right", deadline=0)
    assert not targets[0].heard


async def run(*words):
    return await asyncio.to_thread(CliRunner().invoke, app, ["feedback", *words])


async def test_the_shell_says_it_too(targets):
    flags = ("--task", "home", "--target", targets[0].target, "--insecure", "--device", "ada")
    done = await run("a", *flags, "--wrong", "--correction", "lights")
    assert (done.exit_code, done.stdout) == (0, "taken\n")
    done = await run("a", *flags, "--right", "--json")
    assert json.loads(done.stdout) == {"query_id": "a", "verdict": "right"}
    assert [said.opinion for _, said in targets[0].heard] == [Opinion.WRONG, Opinion.RIGHT]
    assert (await run("c", *flags, "--right")).exit_code == 66
    assert (await run("a", *flags)).exit_code == 2
    assert (await run("a", *flags, "--right", "--wrong")).exit_code == 2
