"""The same question asked twice is answered once."""

import asyncio

import pytest

from edge_agent.answering.answer_cache import KEPT_SECONDS, RecentAnswers
from router.core.domain.query import Answer, Provenance, Query, Tier
from router.core.errors import ConflictingQueryError, UnavailableError


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class Work:
    def __init__(self):
        self.count = 0
        self.gate = asyncio.Event()

    async def __call__(self):
        self.count += 1
        await self.gate.wait()
        return Answer("q", f"answer {self.count}", Provenance(Tier.DEVICE, "m"))


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def recent(clock):
    return RecentAnswers(clock, most=3)


@pytest.fixture
def work():
    return Work()


async def test_a_repeated_query_gets_the_stored_answer(recent, work):
    work.gate.set()
    first = await recent.once(Query("q", "home", "light"), work)
    assert await recent.once(Query("q", "home", "light"), work) is first
    assert work.count == 1


async def test_a_query_under_way_is_joined(recent, work):
    calls = [asyncio.create_task(recent.once(Query("q", "home", "light"), work)) for _ in range(5)]
    await asyncio.sleep(0)
    work.gate.set()
    assert len({id(answer) for answer in await asyncio.gather(*calls)}) == 1
    assert work.count == 1


async def test_the_same_id_with_another_question_is_refused(recent, work):
    work.gate.set()
    await recent.once(Query("q", "home", "light"), work)
    with pytest.raises(ConflictingQueryError, match="'q' came before with another question"):
        await recent.once(Query("q", "home", "song"), work)


async def test_an_error_is_not_stored(recent, work):
    async def fail():
        raise UnavailableError("away")

    with pytest.raises(UnavailableError, match="away"):
        await recent.once(Query("q", "home", "light"), fail)
    work.gate.set()
    assert (await recent.once(Query("q", "home", "light"), work)).text == "answer 1"


async def test_who_joined_a_call_that_was_cancelled_may_ask_again(recent, work):
    first = asyncio.create_task(recent.once(Query("q", "home", "light"), work))
    await asyncio.sleep(0)
    second = asyncio.create_task(recent.once(Query("q", "home", "light"), work))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(UnavailableError, match="ask again"):
        await second


async def test_a_joiner_that_leaves_does_not_disturb_the_first(recent, work):
    first = asyncio.create_task(recent.once(Query("q", "home", "light"), work))
    await asyncio.sleep(0)
    second = asyncio.create_task(recent.once(Query("q", "home", "light"), work))
    await asyncio.sleep(0)
    second.cancel()
    work.gate.set()
    assert (await first).text == "answer 1"


async def test_answers_are_forgotten_after_ten_minutes(recent, work, clock):
    work.gate.set()
    await recent.once(Query("q", "home", "light"), work)
    clock.now = KEPT_SECONDS
    assert (await recent.once(Query("q", "home", "light"), work)).text == "answer 2"


async def test_the_oldest_go_when_there_are_too_many(recent, work):
    work.gate.set()
    for name in "abcd":
        await recent.once(Query(name, "home", "light"), work)
    assert work.count == 4
    await recent.once(Query("d", "home", "light"), work)
    assert work.count == 4
    await recent.once(Query("a", "home", "light"), work)
    assert work.count == 5


async def test_what_is_forgotten_is_answered_anew_and_what_is_under_way_is_still_joined(recent, work):
    asking = asyncio.create_task(recent.once(Query("slow", "home", "light"), work))
    await asyncio.sleep(0)
    recent.forget_all()
    joined = asyncio.create_task(recent.once(Query("slow", "home", "light"), work))
    await asyncio.sleep(0)
    work.gate.set()
    assert await asking is await joined and work.count == 1
    recent.forget_all()
    await recent.once(Query("slow", "home", "light"), work)
    assert work.count == 2
