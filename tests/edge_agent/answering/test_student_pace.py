import asyncio
import time
from collections import Counter
from dataclasses import replace

import grpc

from edge_agent.answering.student_runner import FAST_SECONDS, SHORT_TEXT, Pace
from edge_agent.upstream import client
from router.core.domain.prediction import Prediction
from router.core.domain.query import Message, Query, Reason, Route, Tier
from router.core.errors import OverloadedError
from router.transport.channel import call_error


class Timed:
    """A student that takes so long by the clock; ``share`` of it has the processor."""

    def __init__(self, seconds, share=1.0):
        self.now, self.computed, self.seconds, self.share = 0.0, 0.0, seconds, share

    def predict(self, query):
        self.now += self.seconds
        self.computed += self.share * self.seconds
        return Prediction("lights", 0.9)


def pace_of(student, runs):
    pace = Pace(lambda: student.now, lambda: student.computed)
    for _ in range(runs):
        pace.predicted(student, Query("1", "home", "light"))
    return pace


def test_a_student_is_fast_once_it_has_been_seen_to_be():
    student, query = Timed(FAST_SECONDS / 4), Query("1", "home", "light")
    assert not Pace(lambda: student.now).is_fast(student, query)
    assert pace_of(student, 1).is_fast(student, query)
    assert not pace_of(Timed(4 * FAST_SECONDS), 1).is_fast(student, query)


def test_a_busy_device_makes_no_student_slow():
    student, query = Timed(4 * FAST_SECONDS, share=0.1), Query("1", "home", "light")
    pace = pace_of(student, 10)
    assert pace.is_fast(student, query)
    assert pace.expected(student) > FAST_SECONDS  # whoever waits in line waits by the clock


def test_long_texts_and_chats_leave_the_event_loop_to_others_however_fast_the_student_is():
    student = Timed(FAST_SECONDS / 4)
    pace = pace_of(student, 1)
    assert not pace.is_fast(student, Query("1", "home", "l" * (SHORT_TEXT + 1)))
    assert not pace.is_fast(student, Query("1", "home", messages=(Message("user", "light"),)))


def test_a_student_that_has_become_slow_goes_back_to_its_thread():
    student = Timed(FAST_SECONDS / 4)
    pace = pace_of(student, 10)
    student.seconds = 50 * FAST_SECONDS
    pace.predicted(student, Query("1", "home", "light"))
    assert not pace.is_fast(student, Query("1", "home", "light"))


class Slow:
    """A student that takes its time."""

    def predict(self, query):
        time.sleep(0.1)
        return Prediction("lights", 0.99)


async def outcomes(agent, **fields):
    """How many of twenty queries at once were answered, by which tier, and what the others heard."""
    serving = agent.daemon.tasks.get("home").serving
    agent.daemon.tasks.get("home").serving = replace(serving, student=Slow())
    await agent.ask("light")
    asked = (agent.ask("light", query_id=str(number), **fields) for number in range(20))
    found = await asyncio.gather(*asked, return_exceptions=True)
    refused = [call_error(one) for one in found if isinstance(one, grpc.aio.AioRpcError)]
    return Counter(one.provenance.tier for one in found if not isinstance(one, Exception)), refused


async def test_a_query_whose_turn_would_come_late_asks_the_next_tier(warm, cloud):
    tiers, refused = await outcomes(warm)
    assert not refused
    assert 5 <= tiers[Tier.DEVICE] <= 9
    assert tiers[Tier.CLUSTER] == 20 - tiers[Tier.DEVICE] == len(cloud.queries)


async def test_one_that_no_other_tier_may_see_is_told_when_to_come_back(warm, cloud):
    tiers, refused = await outcomes(warm, route=Route.LOCAL_ONLY)
    assert tiers[Tier.DEVICE] + len(refused) == 20
    assert 5 <= tiers[Tier.DEVICE] <= 9
    assert {type(error) for error in refused} == {OverloadedError}
    assert all(0.4 < error.retry_after < 2 for error in refused)
    assert not cloud.queries


async def test_no_more_than_so_many_are_on_their_way_to_the_next_tier(warm, cloud, monkeypatch):
    monkeypatch.setattr(client, "MOST_ASKED", 2)
    cloud.faults.delay = 0.3
    found = await asyncio.gather(*(warm.ask("novel", query_id=str(number)) for number in range(6)))
    kept = [one.provenance for one in found if one.provenance.tier is Tier.DEVICE]
    assert [(one.degraded, one.reason) for one in kept] == [(True, Reason.REFUSED)] * 4
