"""What an agent hears of its answers, and what it passes on."""

import grpc
import pytest

from edge_agent.answering.feedback_relay import REMEMBERED_SECONDS, FeedbackRelay
from router.core.domain.feedback import UNKNOWN_ANSWER, Feedback, Opinion
from router.core.domain.query import Answer, Attempt, Consent, Provenance, Query, Route, Tier
from router.core.errors import OverloadedError, UnknownTaskError
from router.transport.feedback_wire import feedback_to_proto
from router.transport.telemetry_names import META_DEVICE
from router.v1 import cascade_pb2_grpc

ADA, EVE = ((META_DEVICE, "ada"),), ((META_DEVICE, "eve"),)


async def give(agent, feedback, who=ADA):
    stub = cascade_pb2_grpc.CascadeStub(agent.channel)
    await stub.Feedback(feedback_to_proto(feedback), timeout=60, metadata=who)


async def refused(agent, feedback, who=ADA):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await give(agent, feedback, who)
    return caught.value.code(), caught.value.details()


async def test_of_a_local_answer_the_cloud_is_told_what_was_said(warm, cloud):
    await warm.ask("light", query_id="local", metadata=ADA)
    await give(warm, Feedback("local", "home", Opinion.WRONG, "music", "no"))
    [passed] = cloud.feedback
    assert (passed.query_id, passed.opinion, passed.correction, passed.comment) == (
        "local",
        Opinion.WRONG,
        "music",
        "no",
    )
    assert (passed.attempt.kept, passed.attempt.release, passed.attempt.answer) == (True, 1, "lights")


async def test_of_an_escalated_answer_the_cloud_knows_itself(warm, cloud):
    await warm.ask("novel", query_id="up", metadata=ADA)
    await give(warm, Feedback("up", "home", Opinion.RIGHT))
    assert cloud.feedback == [Feedback("up", "home", Opinion.RIGHT)]


async def test_only_who_asked_is_heard_and_all_others_hear_the_same(warm, cloud):
    await warm.ask("light", query_id="local", metadata=ADA)
    claim = Attempt(release=1, answer="lights", kept=True)
    heard = [
        await refused(warm, Feedback("local", "home", Opinion.WRONG), EVE),
        await refused(warm, Feedback("never", "home", Opinion.WRONG)),
        await refused(warm, Feedback("local", "garden", Opinion.WRONG)),
    ]
    assert set(heard) == {(grpc.StatusCode.NOT_FOUND, UNKNOWN_ANSWER)}
    for query_id, who in (("local", EVE), ("local", ADA), ("never", ADA)):
        code, _ = await refused(warm, Feedback(query_id, "home", Opinion.WRONG, attempt=claim), who)
        assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert not cloud.feedback


async def test_of_what_may_not_leave_nothing_goes_up(warm, cloud):
    await warm.ask("light", query_id="here", metadata=ADA, route=Route.LOCAL_ONLY)
    await warm.ask("light", query_id="quiet", metadata=ADA, consent=Consent.REFUSED)
    await give(warm, Feedback("here", "home", Opinion.WRONG, "a secret"))
    await give(warm, Feedback("quiet", "home", Opinion.WRONG, "a secret"))
    assert not cloud.feedback


async def test_while_the_cloud_is_away_the_caller_hears_so(warm, cloud):
    await warm.ask("light", query_id="local", metadata=ADA)
    cloud.faults.unavailable = True
    code, _ = await refused(warm, Feedback("local", "home", Opinion.WRONG))
    assert code is grpc.StatusCode.UNAVAILABLE
    cloud.faults.unavailable = False
    await give(warm, Feedback("local", "home", Opinion.WRONG))
    assert len(cloud.feedback) == 1


async def test_malformed_feedback_names_its_field(warm):
    code, details = await refused(warm, Feedback("", "home", Opinion.WRONG))
    assert (code, details) == (grpc.StatusCode.INVALID_ARGUMENT, "query_id is empty; it stands in the answer")


class Relay:
    """A relay with a clock of its own, and what it passed on."""

    def __init__(self, most=10):
        self.now = 0.0
        self.passed = []
        self.relay = FeedbackRelay(self._send, lambda: self.now, most)

    async def _send(self, feedback, seconds):
        self.passed.append(feedback)

    def answered(self, query_id, who="ada"):
        answer = Answer(query_id, "lights", Provenance(Tier.DEVICE, "tiny", "1", release=1))
        self.relay.note(Query(query_id, "home", "light"), who, answer, may_go=True)

    async def give(self, query_id, who="ada"):
        await self.relay.take(Feedback(query_id, "home", Opinion.WRONG), who, 1.0)


async def test_an_answer_is_forgotten_after_a_day_or_when_there_are_too_many():
    relay = Relay(most=3)
    for number in range(5):
        relay.answered(f"q{number}")
    await relay.give("q4")
    with pytest.raises(UnknownTaskError):
        await relay.give("q1")
    relay.now = REMEMBERED_SECONDS + 1
    with pytest.raises(UnknownTaskError):
        await relay.give("q4")


async def test_who_joined_an_answer_is_heard_too():
    relay = Relay()
    relay.answered("q", "ada")
    relay.answered("q", "bob")
    await relay.give("q", "ada")
    await relay.give("q", "bob")
    assert len(relay.passed) == 2


async def test_who_says_too_much_is_told_to_wait():
    relay = Relay()
    relay.answered("q")
    for _ in range(60):
        await relay.give("q")
    with pytest.raises(OverloadedError, match="faster than it is taken"):
        await relay.give("q")
