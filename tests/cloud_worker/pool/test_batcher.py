import asyncio

import pytest

from cloud_worker.pool.batcher import (
    FEW,
    MOST_TOGETHER_SECONDS,
    MOST_TRIES,
    TOGETHER_SECONDS,
    Gatherer,
    NotReachedError,
    UnderWay,
)
from cloud_worker.teachers import NoAnswer, OutOfOrder, Question, TeacherAnswer
from router.core.errors import DeadlineError, NotPossibleError, OverloadedError, UnavailableError


class PoolSimulator:
    """A pool in memory: answers in upper case, breaks when told, records every call."""

    def __init__(self):
        self.calls = []
        self.break_next = 0
        self.open = asyncio.Event()
        self.open.set()
        self.in_flight = self.most_in_flight = 0

    async def ask(self, questions):
        self.calls.append([question.text for question in questions])
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await self.open.wait()
            for position, question in enumerate(questions):
                if self.break_next and position == len(questions) // 2:
                    self.break_next -= 1
                    raise UnavailableError("killed")
                no = question.text.startswith("?")
                yield [(position, NoAnswer("not recorded") if no else TeacherAnswer(question.text.upper(), "v1"))]
        finally:
            self.in_flight -= 1


async def turns():
    """Let the loop run until what was asked is on its way."""
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
async def pool():
    return PoolSimulator()


@pytest.fixture
def under_way():
    return UnderWay()


@pytest.fixture
async def gatherer(pool, under_way):
    ask = lambda questions: pool.ask(questions)  # noqa: E731 - a test may put another in its place
    gatherer = Gatherer("big", ask, max_batch=8, max_calls=2, max_waiting=40, under_way=under_way)
    yield gatherer
    await gatherer.close()


class Clock:
    """The clock of a loop, which stands still and can be put forward."""

    def __init__(self, now):
        self.now = now

    def time(self):
        return self.now


@pytest.fixture
async def clock(monkeypatch):
    loop = asyncio.get_running_loop()
    clock = Clock(loop.time())
    monkeypatch.setattr(loop, "time", clock.time)
    return clock


async def see_a_call(gatherer, pool, clock, questions, seconds):
    """A call of so many questions that takes so long."""
    pool.open.clear()
    asks = [asyncio.create_task(gatherer.ask(Question(f"before {n}"), 60)) for n in range(questions)]
    await turns()
    clock.now += seconds
    pool.open.set()
    await asyncio.gather(*asks)
    pool.open.clear()
    pool.calls.clear()


async def test_everything_that_waits_goes_in_one_call(pool, gatherer):
    pool.open.clear()
    asks = [asyncio.create_task(gatherer.ask(Question(f"t{number}"), 10)) for number in range(18)]
    await turns()
    pool.open.set()
    answers = await asyncio.gather(*asks)
    assert [answer.text for answer in answers] == [f"T{number}" for number in range(18)]
    assert [len(call) for call in pool.calls] == [8, 8, 2]
    assert pool.most_in_flight == 2


async def test_a_call_that_breaks_is_asked_again_for_what_is_missing(pool, gatherer):
    pool.break_next = 1
    pool.open.clear()
    asks = [asyncio.create_task(gatherer.ask(Question(f"t{number}"), 10)) for number in range(6)]
    await turns()
    pool.open.set()
    assert [answer.text for answer in await asyncio.gather(*asks)] == [f"T{number}" for number in range(6)]
    assert [len(call) for call in pool.calls] == [6, 3]


async def test_a_pool_that_breaks_again_and_again_is_unavailable(pool, gatherer):
    pool.break_next = MOST_TRIES
    with pytest.raises(UnavailableError):
        await gatherer.ask(Question("t"), 10)
    assert len(pool.calls) == MOST_TRIES


async def test_the_deadline_ends_the_wait(pool, gatherer):
    pool.open.clear()
    with pytest.raises(DeadlineError):
        await gatherer.ask(Question("t"), 0.05)
    assert gatherer.waiting == 0


async def test_a_question_whose_caller_has_gone_is_not_asked(pool, gatherer):
    pool.open.clear()
    asks = [asyncio.create_task(gatherer.ask(Question(f"t{number}"), 10)) for number in range(17)]
    await turns()
    asks[16].cancel()
    await asyncio.gather(asks[16], return_exceptions=True)
    pool.open.set()
    await asyncio.gather(*asks[:16])
    assert [len(call) for call in pool.calls] == [8, 8]


async def test_above_the_limit_it_sheds_and_says_when_to_come_back(pool, gatherer):
    pool.open.clear()
    asks = [asyncio.create_task(gatherer.ask(Question(f"t{number}"), 10)) for number in range(40)]
    await turns()
    with pytest.raises(OverloadedError) as shed:
        await gatherer.ask(Question("one too many"), 10)
    assert 0.1 <= shed.value.retry_after <= 10
    pool.open.set()
    await asyncio.gather(*asks)


async def test_what_a_teacher_can_not_answer_is_said_and_not_asked_again(pool, gatherer):
    with pytest.raises(NotPossibleError, match="not recorded"):
        await gatherer.ask(Question("?"), 10)
    assert len(pool.calls) == 1


async def test_the_time_left_goes_inward(pool, gatherer):
    seen = []

    async def ask(questions):
        seen.extend(question.milliseconds for question in questions)
        yield [(0, TeacherAnswer("A", "v1"))]

    pool.ask = ask
    await gatherer.ask(Question("t"), 2.0)
    assert 1500 < seen[0] <= 2000


async def test_a_question_waits_for_a_copy_that_is_being_replaced_however_often_none_is_reached():
    refused = 0

    async def ask(questions):
        nonlocal refused
        if refused < 2 * MOST_TRIES:
            refused += 1
            raise NotReachedError("nobody there")
        yield [(position, TeacherAnswer("here again", "v1")) for position, _ in enumerate(questions)]

    gatherer = Gatherer("big", ask, max_batch=8, max_calls=2, max_waiting=100)
    assert (await gatherer.ask(Question("q"), 30.0)).text == "here again"
    assert refused == 2 * MOST_TRIES


async def test_a_teacher_that_is_out_of_order_is_told_once_and_its_questions_may_come_again(pool, gatherer, caplog):
    calls = []

    async def ask(questions):
        calls.append(len(questions))
        yield [(position, OutOfOrder("refuses (401): key 1234")) for position in range(len(questions))]

    pool.ask = ask
    for number in range(3):
        with pytest.raises(UnavailableError, match="out of order") as told:
            await gatherer.ask(Question(f"t{number}"), 10)
        assert "1234" not in str(told.value)
    assert calls == [1, 1, 1]
    assert [record.levelname for record in caplog.records] == ["ERROR"]


async def test_a_question_alone_waits_for_nothing_and_where_many_are_under_way_some_gather(
    pool, under_way, gatherer, clock
):
    pool.open.clear()
    asks = [asyncio.create_task(gatherer.ask(Question("t0"), 10))]
    await turns()
    assert pool.calls == [["t0"]]
    under_way.count = 8
    asks.append(asyncio.create_task(gatherer.ask(Question("t1"), 10)))
    await turns()
    clock.now += 0.9 * 8 * TOGETHER_SECONDS
    await turns()
    assert pool.calls == [["t0"]]
    asks += [asyncio.create_task(gatherer.ask(Question(f"t{number}"), 10)) for number in range(2, 7)]
    await turns()
    assert pool.calls == [["t0"], [f"t{number}" for number in range(1, 7)]]
    pool.open.set()
    await asyncio.gather(*asks)


async def test_where_few_are_under_way_none_waits_for_others(pool, under_way, gatherer):
    under_way.count = FEW
    pool.open.clear()
    ask = asyncio.create_task(gatherer.ask(Question("t0"), 10))
    await turns()
    assert pool.calls == [["t0"]]
    pool.open.set()
    await ask


async def test_what_gathers_goes_after_a_moment_also_when_no_more_comes(under_way, gatherer):
    under_way.count = 1000
    assert (await gatherer.ask(Question("t0"), 10)).text == "T0"


@pytest.mark.parametrize(("count", "seconds"), [(FEW + 1, (FEW + 1) * TOGETHER_SECONDS), (1000, MOST_TOGETHER_SECONDS)])
async def test_the_more_are_under_way_the_longer_they_gather(pool, under_way, gatherer, clock, count, seconds):
    under_way.count = count
    ask = asyncio.create_task(gatherer.ask(Question("t0"), 10))
    await turns()
    clock.now += 0.9 * seconds
    await turns()
    assert pool.calls == []
    clock.now += 0.2 * seconds
    await ask
    assert pool.calls == [["t0"]]


async def test_a_call_takes_no_more_than_the_tightest_deadline_lets_answer_and_that_goes_first(pool, gatherer, clock):
    await see_a_call(gatherer, pool, clock, 1, 2.5)  # half a second each from now on
    seconds = [30, 30, 30, 1.6, 30, 30]
    asks = [asyncio.create_task(gatherer.ask(Question(f"t{n}"), left)) for n, left in enumerate(seconds)]
    await turns()
    pool.open.set()
    await asyncio.gather(*asks)
    assert pool.calls[0] == ["t0", "t1", "t2"]
    assert pool.calls[1][0] == "t3"
    assert len(pool.calls[1]) <= 3


async def test_whoever_works_on_a_call_hears_which_questions_nobody_waits_for(pool, gatherer):
    unwanted, working, over = [], asyncio.Event(), asyncio.Event()

    async def ask(questions):
        questions.unwanted = unwanted.append
        working.set()
        try:
            await asyncio.Event().wait()
        finally:
            over.set()
        yield []

    pool.ask = ask
    asks = [asyncio.create_task(gatherer.ask(Question(f"t{n}"), 10 + n)) for n in range(3)]
    await working.wait()
    asks[1].cancel()
    await asyncio.gather(asks[1], return_exceptions=True)
    assert unwanted == [1]
    assert not over.is_set()
    for each in asks:
        each.cancel()
    await asyncio.gather(*asks, return_exceptions=True)
    async with asyncio.timeout(120):
        await over.wait()  # a call of such questions alone is broken off


async def test_a_flood_of_one_caller_delays_others_by_one_call_and_is_shed_first(pool, gatherer):
    pool.open.clear()
    flood = [asyncio.create_task(gatherer.ask(Question(f"f{n}"), 10, "flood")) for n in range(40)]
    await turns()
    other = asyncio.create_task(gatherer.ask(Question("other"), 10, "kitchen"))  # above what may wait
    await turns()
    pool.open.set()
    assert (await other).text == "OTHER"
    assert next(number for number, call in enumerate(pool.calls) if "other" in call) <= 2
    said = await asyncio.gather(*flood, return_exceptions=True)
    assert [isinstance(one, OverloadedError) for one in said].count(True) == 1


async def test_of_two_hundred_questions_of_one_device_no_other_device_notices_more_than_two_calls(pool):
    gatherer = Gatherer("big", pool.ask, max_batch=8, max_calls=1, max_waiting=1000)
    flood = [asyncio.create_task(gatherer.ask(Question(f"f{n}"), 60, "flood")) for n in range(200)]
    waited = []
    for number in range(10):
        began = len(pool.calls)
        await gatherer.ask(Question(f"other {number}"), 60, "kitchen")
        waited.append(len(pool.calls) - began)
    answered = sum(task.done() for task in flood)
    assert max(waited) <= 2
    assert 50 <= answered < 200  # the flood goes on meanwhile, with what is left of each call
    await asyncio.gather(*flood)
    assert sum(map(len, pool.calls)) == 210
    assert len(pool.calls) <= 210 / 8 + 2


async def test_a_question_whose_turn_comes_after_its_deadline_is_shed_at_once(pool, gatherer, clock):
    await see_a_call(gatherer, pool, clock, 8, 5.0)  # a second each from now on
    asks = [asyncio.create_task(gatherer.ask(Question(f"t{number}"), 10)) for number in range(32)]
    await turns()
    with pytest.raises(OverloadedError):  # two rounds of two calls with eight each are before it
        await gatherer.ask(Question("hasty"), 1.5)
    assert gatherer.waiting == 32
    other = asyncio.create_task(gatherer.ask(Question("of another"), 1.5, "another"))  # whose turn comes sooner
    await turns()
    pool.open.set()
    assert (await other).text == "OF ANOTHER"
    await asyncio.gather(*asks)
