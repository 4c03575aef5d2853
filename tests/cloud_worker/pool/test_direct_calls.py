"""A gateway asks copies by their sockets: real sockets, real pickles, teachers that can be held up."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import threading

import pytest

from cloud_worker.pool import direct_calls
from cloud_worker.pool.batcher import Gatherer
from cloud_worker.pool.direct_calls import ReplicaBrokeError, ReplicaConnection, Replicas
from cloud_worker.pool.replica_calls import ReplicaCalls
from cloud_worker.teachers import Question, TeacherAnswer

PATIENCE_SECONDS = 30.0


class Held:
    """A teacher that answers one question each time it is let, and records what it began."""

    def __init__(self, *, held=False):
        self.begun, self.turns, self.closed = [], threading.Semaphore(0 if held else 1_000_000), threading.Event()
        self.beginning = threading.Semaphore(0)

    def answer(self, questions):
        try:
            for question in questions:
                self.begun.append(question.text)
                self.beginning.release()
                assert self.turns.acquire(timeout=PATIENCE_SECONDS)
                if question.text == "break":
                    raise ValueError("broken")
                yield TeacherAnswer(question.text.upper(), "v1")
        finally:
            self.closed.set()

    async def until_begun(self):
        assert await asyncio.to_thread(self.beginning.acquire, timeout=PATIENCE_SECONDS)


@contextlib.asynccontextmanager
async def line_to(teacher, threads=1):
    calls = ReplicaCalls(teacher.answer, threads)
    line = ReplicaConnection(await calls.socket())
    await line.open()
    yield line
    line.close()


async def said(line, questions):
    return {position: reply.text async for pairs in line.ask(questions) for position, reply in pairs}


async def test_replies_come_back_each_with_its_place():
    async with line_to(Held()) as line:
        replies = await said(line, [Question(f"t{number}") for number in range(50)])
        assert replies == {number: f"T{number}" for number in range(50)}
        assert line.calls == 0


def test_it_works_in_the_loop_that_ray_brings_too():
    uvloop = pytest.importorskip("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test_replies_come_back_each_with_its_place())


async def test_many_calls_share_a_line_and_large_ones_pass():
    async with line_to(Held()) as line:
        texts = [f"{number} " + "x" * 300_000 for number in range(20)]
        replies = await asyncio.gather(*(said(line, [Question(text)]) for text in texts))
        assert [one[0] for one in replies] == [text.upper() for text in texts]


async def test_replies_of_a_slow_teacher_do_not_wait_for_each_other():
    teacher = Held(held=True)
    async with line_to(teacher) as line:
        pieces = line.ask([Question("a"), Question("b")])
        first = asyncio.ensure_future(anext(pieces))
        await teacher.until_begun()
        await asyncio.sleep(0.02)
        teacher.turns.release()
        assert [(position, reply.text) for position, reply in await first] == [(0, "A")]
        teacher.turns.release()
        await pieces.aclose()


async def test_a_call_that_is_broken_off_ends_the_teachers_work():
    teacher = Held(held=True)
    async with line_to(teacher) as line:
        asking = asyncio.create_task(said(line, [Question("a"), Question("b"), Question("c")]))
        await teacher.until_begun()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert (await said_soon(line, teacher)) == {0: "LATER"}
        assert teacher.begun == ["a", "later"]


async def said_soon(line, teacher):
    later = asyncio.create_task(said(line, [Question("later")]))
    for _ in range(3):
        teacher.turns.release()
    return await later


async def test_a_question_that_nobody_waits_for_is_not_begun_and_the_others_are():
    teacher = Held(held=True)
    async with line_to(teacher) as line:
        gatherer = Gatherer("big", line.ask, max_batch=8, max_calls=1, max_waiting=100)
        first = asyncio.create_task(gatherer.ask(Question("first"), 30))
        await teacher.until_begun()
        asks = [asyncio.create_task(gatherer.ask(Question(f"t{n}"), 60 + n)) for n in range(20)]
        await asyncio.sleep(0)
        teacher.turns.release()
        await first
        await teacher.until_begun()  # the first of a call of eight; the others wait beside it
        for ask in asks[1:8]:
            ask.cancel()
        await asyncio.gather(*asks[1:8], return_exceptions=True)
        await asyncio.sleep(0.05)  # the copy hears of it
        for _ in range(40):
            teacher.turns.release()
        await asyncio.gather(asks[0], *asks[8:])
        assert not {f"t{n}" for n in range(2, 8)} & set(teacher.begun)
        await gatherer.close()


async def test_questions_whose_time_is_over_are_not_begun():
    teacher = Held()
    async with line_to(teacher) as line:
        assert await said(line, [Question("a"), Question("b", milliseconds=-1.0), Question("c")]) == {0: "A", 2: "C"}
        assert teacher.begun == ["a", "c"]


async def test_a_gateway_that_is_gone_leaves_no_work_behind():
    teacher = Held(held=True)
    async with line_to(teacher) as line:
        asking = asyncio.create_task(said(line, [Question("a"), Question("b")]))
        await teacher.until_begun()
        line.close()
        with pytest.raises(ConnectionError):
            await asking
        assert not line.is_open
        await asyncio.sleep(0.05)
        teacher.turns.release()
        assert await asyncio.to_thread(teacher.closed.wait, PATIENCE_SECONDS)
        assert teacher.begun == ["a"]


async def test_a_teacher_that_breaks_says_so_and_the_line_goes_on():
    async with line_to(Held()) as line:
        with pytest.raises(ReplicaBrokeError):
            await said(line, [Question("a"), Question("break")])
        assert await said(line, [Question("a")]) == {0: "A"}


async def test_a_teacher_that_waits_for_others_is_asked_by_several_threads():
    teacher = Held(held=True)
    async with line_to(teacher, threads=3) as line:
        asking = asyncio.create_task(said(line, [Question(f"t{n}") for n in range(3)]))
        for _ in range(3):
            await teacher.until_begun()
        for _ in range(3):
            teacher.turns.release()
        assert len(await asking) == 3


async def test_the_least_busy_copy_is_asked_and_one_that_ends_is_asked_no_more():
    teachers = [Held(held=True), Held(held=True)]
    calls = [ReplicaCalls(teacher.answer, 1) for teacher in teachers]
    names = [await each.socket() for each in calls]
    asked = []

    async def find():
        asked.append(1)
        return [*names, "not on this machine"]

    copies = Replicas("big", find)
    assert copies.least_busy() is None  # before the first look ends
    await copies.refresh()
    first = copies.least_busy()
    asking = asyncio.create_task(said(first, [Question("a")]))
    await teachers[names.index(first.name)].until_begun()
    second = copies.least_busy()
    assert {first.name, second.name} == set(names)
    first.close()
    with pytest.raises(ConnectionError):
        await asking
    assert copies.least_busy() is second
    for teacher in teachers:
        teacher.turns.release()
    assert len(asked) == 1


async def test_a_look_that_fails_leaves_what_is_known(monkeypatch):
    monkeypatch.setattr(direct_calls, "CHECK_AGAIN_SECONDS", 0.0)
    calls = ReplicaCalls(Held().answer, 1)
    name, fails = await calls.socket(), []

    async def find():
        if fails:
            raise RuntimeError("Serve is away")
        return [name, RuntimeError("another copy is being replaced")]

    copies = Replicas("big", find)
    await copies.refresh()
    fails.append(1)
    await copies.refresh()
    assert copies.least_busy().name == name


STRANGER = """
import pickle, socket, sys
made = socket.socket(socket.AF_UNIX)
made.connect("\\0" + sys.argv[1])
data = pickle.dumps((0, 1, []))
try:
    made.sendall(len(data).to_bytes(4, "big") + data)
    said = made.recv(1)
except ConnectionError:
    said = b""
print(said)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
async def test_another_user_of_the_machine_is_not_heard():
    calls = ReplicaCalls(Held().answer, 1)
    name = await calls.socket()
    command = [shutil.which("python3", path="/usr/bin:/usr/local/bin") or "python3", "-c", STRANGER, name]
    said = {}
    for user in (65534, 0):
        asked = asyncio.to_thread(
            subprocess.run, command, user=user, cwd="/", capture_output=True, text=True, timeout=30, check=True
        )
        said[user] = (await asked).stdout.strip()
    assert said[65534] == "b''"
    assert said[0] != "b''"
