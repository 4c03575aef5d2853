"""A teacher whose server asked to be left alone: until then nobody asks it, and callers hear when it makes sense."""

import asyncio
import gc
import weakref

import pytest

from cloud_worker.pool.batcher import Gatherer, NotReachedError
from cloud_worker.teachers import NotNow, Question, TeacherAnswer
from router.core.errors import BusyError


class BusyTeacher:
    """Asks to be left alone as often as ``waits`` has seconds; then it answers."""

    def __init__(self, *waits):
        self.waits = list(waits)
        self.asked_at = []
        self.asked = asyncio.Event()

    async def ask(self, questions):
        self.asked_at.append(asyncio.get_running_loop().time())
        self.asked.set()
        wait = self.waits.pop(0) if self.waits else None
        for position, question in enumerate(questions):
            yield [(position, NotNow("429", wait) if wait is not None else TeacherAnswer(question.text.upper(), "v1"))]


@pytest.fixture
async def gather():
    made = []

    def gather(teacher):
        made.append(Gatherer("big", teacher.ask, max_batch=8, max_calls=2, max_waiting=40))
        return made[-1]

    yield gather
    for one in made:
        await one.close()


async def test_a_question_with_time_waits_until_then(gather):
    teacher = BusyTeacher(0.7)
    gatherer = gather(teacher)
    first = asyncio.create_task(gatherer.ask(Question("a"), 30))
    await teacher.asked.wait()
    second = asyncio.create_task(gatherer.ask(Question("b"), 30))
    assert [(await one).text for one in (first, second)] == ["A", "B"]
    assert teacher.asked_at[1] - teacher.asked_at[0] >= 0.69
    assert len(teacher.asked_at) <= 3


async def test_a_question_that_can_not_wait_so_long_hears_so_at_once(gather):
    teacher = BusyTeacher(20.0)
    gatherer = gather(teacher)
    for _ in range(3):
        async with asyncio.timeout(5):
            with pytest.raises(BusyError, match=r"in \d+ s") as caught:
                await gatherer.ask(Question("a"), 10)
        assert 15 < caught.value.retry_after <= 20
    assert len(teacher.asked_at) == 1


async def test_who_waits_for_a_turn_already_hears_so_too(gather):
    gatherer = gather(BusyTeacher(20.0, 20.0))
    asks = [asyncio.create_task(gatherer.ask(Question(str(n)), 10)) for n in range(30)]
    async with asyncio.timeout(5):
        said = await asyncio.gather(*asks, return_exceptions=True)
    assert {type(one) for one in said} == {BusyError}


async def test_the_longest_of_several_times_counts(gather):
    teacher = BusyTeacher(0.2, 20.0)
    gatherer = gather(teacher)
    with pytest.raises(BusyError) as caught:
        await gatherer.ask(Question("a"), 10)
    assert caught.value.retry_after > 15
    assert len(teacher.asked_at) == 2


async def test_who_was_to_be_asked_again_when_the_teacher_wants_to_be_left_alone_hears_so_too(gather):
    teacher, broke = BusyTeacher(20.0), asyncio.Event()

    class Away(BusyTeacher):
        async def ask(self, questions):
            if not broke.is_set():
                broke.set()
                raise NotReachedError("away")
            async for replies in teacher.ask(questions):
                yield replies

    gatherer = gather(Away())
    first = asyncio.create_task(gatherer.ask(Question("a"), 10))
    await broke.wait()
    async with asyncio.timeout(5):
        said = await asyncio.gather(first, gatherer.ask(Question("b"), 10), return_exceptions=True)
    assert [type(one) for one in said] == [BusyError, BusyError]
    assert len(teacher.asked_at) == 1


async def test_questions_that_nobody_waits_for_are_not_held_while_the_teacher_is_left_alone(gather):
    gatherer = gather(BusyTeacher(20.0))
    with pytest.raises(BusyError):
        await gatherer.ask(Question("a"), 10)

    refs = [await given_up(gatherer) for _ in range(3)]
    gc.collect()
    assert [ref() for ref in refs] == [None] * 3


class Text(str):
    """One that can be watched."""


async def given_up(gatherer):
    """What watches the text of a question whose caller went away."""
    text = Text("b")
    asking = asyncio.create_task(gatherer.ask(Question(text), 30))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait([asking])
    return weakref.ref(text)
