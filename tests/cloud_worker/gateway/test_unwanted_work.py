"""Work that nobody waits for is stopped; what a teacher has answered is kept all the same."""

import asyncio
import time

import pytest

from cloud_worker.gateway.cascade_service import CascadeServicer
from cloud_worker.pool.answer_records import Outcome
from cloud_worker.teachers.base import TeacherAnswer
from router.core.domain.task import Task
from router.core.errors import DeadlineError
from router.transport import telemetry_names
from router.v1 import cascade_pb2


class SlowPool:
    """Answers when it is let; records what was stopped before."""

    def __init__(self):
        self.begun, self.stopped = [], []
        self.answering, self.changed = asyncio.Event(), asyncio.Event()

    async def ask(self, asked, question, deadline):
        self.begun.append(asked.query.id)
        self.changed.set()
        try:
            await self.answering.wait()
        except asyncio.CancelledError:
            self.stopped.append(asked.query.id)
            raise
        return Outcome(TeacherAnswer("on", "v1"), "big")


class Context:
    """Of one call, by one device."""

    def __init__(self, seconds):
        self.seconds = seconds

    def time_remaining(self):
        return self.seconds

    def invocation_metadata(self):
        return ((telemetry_names.META_DEVICE, "kitchen"),)


@pytest.fixture
async def door(parts_of_gateway):
    pool = SlowPool()
    parts = parts_of_gateway(Task("home", "big"), pool)
    yield CascadeServicer(parts), pool, parts.spool
    await parts.spool.close()


def asking(door, query_id="q1", text="lamp", seconds=30.0):
    request = cascade_pb2.AnswerRequest(query_id=query_id, task="home", text=text)
    return asyncio.create_task(door[0].Answer(request, Context(seconds)))


async def begun(pool):
    async with asyncio.timeout(120):
        await pool.changed.wait()
    pool.changed.clear()


async def test_a_call_that_is_cancelled_stops_its_work(door):
    _, pool, spool = door
    call = asking(door)
    await begun(pool)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    await asyncio.sleep(0)
    assert pool.stopped == ["q1"]
    assert await spool.find("kitchen", "q1", time.time()) is None


async def test_work_goes_on_while_anybody_waits_for_it(door):
    _, pool, _ = door
    first, second = asking(door), asking(door)
    await begun(pool)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    pool.answering.set()
    assert (await second).answer == "on"
    assert (pool.begun, pool.stopped) == (["q1"], [])


async def test_who_asks_again_after_a_cancelled_call_gets_an_answer_of_its_own(door):
    _, pool, _ = door
    first = asking(door)
    await begun(pool)
    first.cancel()
    again = asking(door)  # before the first has ended
    await begun(pool)
    pool.answering.set()
    assert (await again).answer == "on"
    assert (pool.begun, pool.stopped) == (["q1", "q1"], ["q1"])


async def test_a_deadline_that_passes_stops_the_work_too(door):
    _, pool, _ = door
    with pytest.raises(DeadlineError):
        await asking(door, seconds=0.05)
    await asyncio.sleep(0)
    assert pool.stopped == ["q1"]


async def test_what_was_answered_is_kept_also_for_a_caller_that_went_away(door, monkeypatch):
    _, pool, spool = door
    appending, append = asyncio.Event(), spool.append

    async def slow_append(*arguments):
        appending.set()
        await asyncio.sleep(0)
        await append(*arguments)

    monkeypatch.setattr(spool, "append", slow_append)
    pool.answering.set()
    call = asking(door)
    async with asyncio.timeout(120):
        await appending.wait()
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    assert (await asking(door)).answer == "on"
    assert pool.begun == ["q1"]
    assert await spool.find("kitchen", "q1", time.time()) is not None
