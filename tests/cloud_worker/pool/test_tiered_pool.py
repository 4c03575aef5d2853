"""How a gateway asks the teachers of a task."""

import asyncio
import math
import time
from dataclasses import replace

import numpy as np
import pytest

from cloud_worker.pool.answer_records import Asked, question_of
from cloud_worker.pool.batcher import Gatherer
from cloud_worker.pool.policies import PolicyState, StoredPolicy
from cloud_worker.pool.tiered_pool import TieredPool, log_confidence
from cloud_worker.pool.word_features import FEATURES, WordHead
from cloud_worker.teachers import NoAnswer, NotNow, TeacherAnswer
from router.core.domain.query import Attempt, Distribution, Query, Route, TokenProbability
from router.core.domain.record import Tried
from router.core.domain.task import Cheaper, Privacy, Task, Way
from router.core.errors import NotPossibleError
from router.core.policy.pool_routing import PoolPolicy, Tier

TASK = Task("home", reference="big", cheaper=Cheaper(("small", "middle"), seconds=0.2))
SURE, UNSURE = math.log(0.999), math.log(0.3)


class TeacherSimulator:
    """Answers with its name, as sure as the text says; silent or failing when told."""

    def __init__(self, name, usd):
        self.name, self.usd, self.asked = name, usd, []
        self.silent = self.fails = False
        self.busy = 0.0

    async def ask(self, questions):
        for position, question in enumerate(questions):
            self.asked.append(question.text)
            if self.silent:
                await asyncio.Event().wait()
            if self.busy:
                yield [(position, NotNow("429", self.busy))]
                continue
            if self.fails:
                yield [(position, NoAnswer("can't"))]
                continue
            sure = SURE if self.name in question.text else UNSURE
            answer = TeacherAnswer(self.name, "v1", Distribution(((self.name, sure),), -5.0), usd=self.usd)
            yield [(position, answer)]


class ServingSimulator:
    def __init__(self, stored):
        self.stored = stored

    def of(self, task):
        return self.stored


def tier(name, going_on):
    return Tier(name, "v1", 0.1, -3.0, 1.5, 0.0, (0.0, 0.0), (going_on, 0.0))


def stored(way=Way.CASCADE):
    policy = PoolPolicy(way, 0.2, (tier("small", 0.1), tier("middle", 0.1)))
    words = (WordHead(np.zeros(FEATURES, np.float32), 0.0),) * 2
    return StoredPolicy("home", 1, 1, "v1", PolicyState.SERVING, policy, words, 1.0, 100, 300, 1, 1, 0.0)


@pytest.fixture
async def teachers():
    found = {name: TeacherSimulator(name, usd) for name, usd in (("small", 1.0), ("middle", 3.0), ("big", 10.0))}
    yield found


@pytest.fixture
def serving():
    return ServingSimulator(stored())


@pytest.fixture
async def pool(teachers, serving):
    gatherers = {
        name: Gatherer(name, teacher.ask, max_batch=4, max_calls=2, max_waiting=40)
        for name, teacher in teachers.items()
    }
    yield TieredPool(gatherers, serving)
    for gatherer in gatherers.values():
        await gatherer.close()


async def ask(pool, text, task=TASK, attempt=None, explored=False, **query):
    attempt = attempt or Attempt(exploration=0.05)
    asked = Asked(Query("q1", "home", text, attempt=attempt, **query), "kitchen", task, 1.0, explored)
    return await pool.ask(asked, question_of(asked), time.monotonic() + 10)


async def test_a_cheaper_teacher_that_is_sure_answers_and_the_dearer_ones_are_not_asked(pool, teachers):
    outcome = await ask(pool, "small talk")
    assert (outcome.teacher, outcome.answer.text, outcome.stands, outcome.usd) == ("small", "small", True, 1.0)
    assert (teachers["middle"].asked, teachers["big"].asked) == ([], [])


async def test_what_is_taken_out_of_a_tasks_texts_is_a_part_of_its_teachers_versions(pool):
    plain = await ask(pool, "small talk", explored=True)
    hidden = await ask(pool, "small talk", replace(TASK, privacy=Privacy(("mail",))), explored=True)
    assert plain.answer.version != hidden.answer.version
    assert [said.version for said in plain.tried] != [said.version for said in hidden.tried]
    again = await ask(pool, "small talk", replace(TASK, privacy=Privacy(("mail",), ("acme",))), explored=True)
    assert again.answer.version == hidden.answer.version


async def test_one_that_is_not_sure_passes_the_query_on(pool, teachers):
    outcome = await ask(pool, "middle talk")
    assert (outcome.teacher, outcome.usd) == ("middle", 4.0)
    assert [said.teacher for said in outcome.tried] == ["small", "middle"]
    outcome = await ask(pool, "talk")
    assert (outcome.teacher, outcome.stands, outcome.usd) == ("big", False, 14.0)


async def test_an_explored_query_is_answered_by_the_reference_and_all_are_asked(pool):
    outcome = await ask(pool, "small talk", explored=True)
    assert (outcome.teacher, outcome.stands, outcome.usd) == ("big", True, 14.0)
    assert [(said.teacher, said.answer, said.log_confidence) for said in outcome.tried] == [
        ("small", "small", SURE),
        ("middle", "middle", UNSURE),
    ]
    assert not (await ask(pool, "talk", explored=True)).stands


@pytest.mark.parametrize(
    "query",
    [
        {"attempt": Attempt(kept=True, degraded=True)},
        {"route": Route.CLOUD_ONLY},
    ],
)
async def test_what_the_promise_does_not_cover_is_answered_by_the_reference_alone(pool, teachers, query):
    assert (await ask(pool, "small talk", **query)).teacher == "big"
    assert teachers["small"].asked == []


async def test_without_a_policy_the_reference_answers(pool, teachers, serving):
    serving.stored = None
    assert (await ask(pool, "small talk")).teacher == "big"
    assert teachers["small"].asked == []
    assert [said.teacher for said in (await ask(pool, "small talk", explored=True)).tried] == ["small", "middle"]


@pytest.mark.parametrize("trouble", ["silent", "fails"])
async def test_a_cheaper_teacher_that_is_late_or_fails_is_passed_over(pool, teachers, trouble):
    setattr(teachers["small"], trouble, True)
    outcome = await ask(pool, "small middle talk")
    assert (outcome.teacher, outcome.tried[0]) == ("middle", Tried("small", failed=True))
    assert [said.failed for said in (await ask(pool, "small talk", explored=True)).tried] == [True, False]


async def test_a_cheaper_teacher_of_another_version_decides_nothing(pool, serving):
    first, second = stored().policy.tiers
    serving.stored = replace(stored(), policy=PoolPolicy(Way.CASCADE, 0.2, (replace(first, version="v0"), second)))
    outcome = await ask(pool, "small talk")
    assert outcome.teacher == "big"


async def test_a_reference_that_fails_is_an_error_whatever_the_others_say(pool, teachers):
    teachers["big"].fails = True
    with pytest.raises(NotPossibleError):
        await ask(pool, "small talk", explored=True)


def test_a_written_answer_is_as_sure_as_its_least_sure_tokens():
    tokens = tuple(TokenProbability("x", value) for value in [-0.1] * 9 + [-3.0])
    assert log_confidence(TeacherAnswer("x", "v1", tokens=tokens)) == pytest.approx(-0.39)
    assert log_confidence(TeacherAnswer("x", "v1")) is None
    assert log_confidence(TeacherAnswer("x", "v1", tokens=(TokenProbability("x", -math.inf),))) == -100.0


@pytest.mark.parametrize("explored", [False, True])
async def test_a_cheaper_teacher_that_asked_to_be_left_alone_keeps_nobody_waiting(pool, teachers, explored):
    task = replace(TASK, cheaper=Cheaper(("small", "middle"), seconds=100.0))
    teachers["small"].busy = 4.0
    async with asyncio.timeout(3.5):
        for _ in range(2):
            outcome = await ask(pool, "small talk", task, explored=explored)
            assert (outcome.teacher, outcome.tried[0]) == ("big", Tried("small", failed=True))
    assert len(teachers["small"].asked) == 1
