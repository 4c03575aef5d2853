import time
from collections import Counter
from dataclasses import replace

import pytest

from edge_agent.answering.answer_memory import AnswerMemory
from edge_agent.testing.tiny_releases import TASK, empty_release, tiny_release
from router.core.domain.query import (
    Answer,
    Consent,
    GenerationLimits,
    Message,
    Provenance,
    Query,
    Reason,
    Route,
    Tier,
    Wanted,
)
from router.core.domain.task import Mode, Objective
from router.core.monitoring.remembered_answers import MemoryBounds
from router.core.policy.deferral import Action, Decision
from router.core.privacy.erasure import Erasure, digest_of
from router.core.release.orders import CONTRACT

EASY = replace(TASK, objective=Objective(max_disagreement=0.3))  # ten repeats prove it
RELEASE = empty_release(EASY)
ENOUGH = 14
UNSURE = Decision(Action.DEFER, Reason.UNCONFIDENT)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def said(text="lights", version="1", **fields):
    provenance = Provenance(Tier.CLUSTER, "simulated", version, logged=True, reason=Reason.NO_STUDENT)
    return Answer("x", text, replace(provenance, **fields))


def asked(text, **fields):
    return Query("1", "home", text, **fields)


def proven(manifest=RELEASE, clock=time.monotonic, **bounds):
    memory = AnswerMemory("kitchen", MemoryBounds(**bounds), clock)
    for _ in range(2):
        for number in range(ENOUGH):
            memory.learn(asked(f"text {number}"), manifest, said())
    return memory


def recalls(memory, query, manifest=RELEASE, exploration=0.1):
    return memory.recall(query, manifest, exploration, UNSURE) is not None


def test_nothing_is_given_before_the_reference_was_seen_to_repeat_itself():
    memory = AnswerMemory("kitchen")
    memory.learn(asked("light"), RELEASE, said())
    assert not recalls(memory, asked("light"))
    assert recalls(proven(), asked("text 1"))


def test_a_burst_of_one_text_proves_nothing():
    memory = AnswerMemory("kitchen")
    for _ in range(90):
        memory.learn(asked("light"), RELEASE, said())
    assert not recalls(memory, asked("light"))


def test_what_is_given_says_who_remembered_it():
    answer = proven().recall(replace(asked("text 1"), id="2"), RELEASE, 0.1, UNSURE)
    provenance = answer.provenance
    assert (answer.query_id, answer.text, provenance.tier, provenance.reason) == (
        "2",
        "lights",
        Tier.DEVICE,
        Reason.REMEMBERED,
    )
    assert (provenance.node, provenance.model, provenance.logged) == ("kitchen", "simulated", False)


@pytest.mark.parametrize("reason", [Reason.OPERATOR, Reason.ROUTE])
def test_it_stands_in_for_want_of_an_answer_alone(reason):
    memory = proven()
    assert memory.recall(asked("text 1"), RELEASE, 0.1, UNSURE)
    assert not memory.recall(asked("text 1"), RELEASE, 0.1, Decision(Action.DEFER, reason))
    assert not memory.recall(asked("text 1"), RELEASE, 0.1, Decision(Action.DEGRADE, Reason.UNREACHABLE))


def test_where_everything_is_explored_the_reference_answers():
    assert not recalls(proven(), asked("text 1"), exploration=1.0)


@pytest.mark.parametrize(
    "other",
    [
        {"tenant": "b"},
        {"subject": "b"},
        {"limits": GenerationLimits(max_tokens=3)},
        {"response_schema": "{}"},
        {"wanted": Wanted(top_k=2)},
        {"conversation": "c"},
        {"route": Route.LOCAL_ONLY},
        {"consent": Consent.REFUSED},
    ],
)
def test_another_question_of_the_same_text_is_not_the_same(other):
    assert not recalls(proven(), asked("text 1", **other))


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ({"conversation": "c"}, {}),
        ({"route": Route.CLOUD_ONLY}, {}),
        ({"consent": Consent.REFUSED}, {}),
        ({}, {"logged": False}),
        ({}, {"tier": Tier.SITE}),
        ({}, {"model": "cheaper"}),
        ({}, {"text": "\u200b\n"}),
    ],
)
def test_what_may_not_be_held_is_not(query, answer):
    memory = proven()
    memory.learn(asked("light", **query), RELEASE, said(**answer))
    assert len(memory.held) == ENOUGH


def test_chats_and_what_stays_on_the_device_are_not_held():
    memory = proven()
    memory.learn(Query("1", "home", messages=(Message("user", "light"),)), RELEASE, said())
    memory.learn(asked("light"), empty_release(replace(EASY, local_only=True)), said())
    assert len(memory.held) == ENOUGH


def test_another_version_of_reference_or_task_ends_what_is_held():
    memory = proven()
    assert not recalls(memory, asked("text 1"), empty_release(replace(EASY, version=2)))
    memory.learn(asked("light"), RELEASE, said(version="2"))
    assert (len(memory.held), recalls(memory, asked("text 1"))) == (1, False)


def test_a_text_that_was_answered_in_two_ways_is_asked_from_then_on():
    memory = proven()
    memory.learn(asked("text 1"), RELEASE, said("music"))
    assert (recalls(memory, asked("text 1")), recalls(memory, asked("text 2"))) == (False, True)


def test_it_is_bounded_expires_and_forgets():
    assert len(proven(answers=3).held) == 3
    small = proven(bytes=64 * 1024)
    for number in range(500):
        small.learn(asked(f"more {number}"), RELEASE, said())
    assert small.held.bytes <= 64 * 1024
    clock = Clock()
    memory = proven(seconds=60, clock=clock)
    clock.now = 61.0
    assert not recalls(memory, asked("text 1"))
    memory = proven()
    memory.learn(asked("light", subject="ann"), RELEASE, said())
    assert (memory.erase(digest_of("ann")), len(memory.held)) == (1, ENOUGH)
    assert (memory.erase(""), len(memory.held), memory.held.bytes) == (ENOUGH, 0, 0)
    assert not recalls(AnswerMemory("kitchen", MemoryBounds(answers=0)), asked("text 1"))


def test_the_release_in_place_does_not_matter():
    manifest, _ = tiny_release(EASY, 3, {"light": "lights"})
    assert proven().recall(asked("text 1"), manifest, 0.1, UNSURE).provenance.release == 3


async def asked_often(agent, cloud):
    """What came of texts asked three times each by an agent without a student."""
    for _ in range(2):
        for number in range(ENOUGH):
            await agent.ask(f"light {number}")
    before = len(cloud.queries)
    return before, [await agent.ask(f"light {number}", query_id=f"q{number}") for number in range(ENOUGH)]


async def test_an_agent_without_a_student_answers_repeats_and_teaches_the_drawn_ones(harness, cloud):
    cloud.publish(RELEASE, {}, exploration=0.5)
    await harness.start()
    await cloud.until_active(0)
    await cloud.until(lambda: harness.daemon.tasks.get("home").serving is not None)
    before, answers = await asked_often(harness, cloud)
    assert {answer.provenance.reason for answer in answers} == {Reason.REMEMBERED}
    assert {answer.text for answer in answers} == {"lights"}
    assert all(answer.provenance.covered for answer in answers)
    drawn = sorted(answer.query_id for answer in answers if answer.provenance.explored)
    assert 0 < len(drawn) < ENOUGH
    await cloud.until(lambda: harness.daemon.report().outbox_pending == 0)
    taught = [query for query in cloud.queries[before:] if query.id.startswith("q")]
    assert sorted(query.id for query in taught) == drawn
    attempt = taught[0].attempt
    assert (attempt.kept, attempt.explored, attempt.degraded, attempt.answer) == (True, True, False, "lights")
    assert (attempt.score, attempt.reason) == (None, Reason.REMEMBERED)
    assert attempt.sequence_number > 0
    cloud.erasures = [Erasure(7)]
    await cloud.until(lambda: not cloud.erasures)
    assert len(harness.daemon.memory.held) == 0
    assert (await harness.ask("light 2")).provenance.tier is Tier.CLUSTER


async def test_a_cloud_that_would_not_count_what_is_remembered_is_asked_every_time(harness, cloud, caplog):
    cloud.contract = 0  # as of before there was a memory
    cloud.publish(RELEASE, {}, exploration=0.5)
    await harness.start()
    await cloud.until_active(0)
    await cloud.until(lambda: harness.daemon.tasks.get("home").serving is not None)
    _, answers = await asked_often(harness, cloud)
    assert {answer.provenance.tier for answer in answers} == {Tier.CLUSTER}
    assert [one.message for one in caplog.records if "older than this agent" in one.message] != []
    cloud.contract = CONTRACT
    await cloud.until(lambda: harness.daemon.tasks.cloud_counts_memory)
    assert (await harness.ask("light 1")).provenance.tier is Tier.DEVICE


async def test_where_everything_escalates_nothing_is_given_from_memory(harness, cloud):
    cloud.publish(RELEASE, {}, exploration=0.5)
    await harness.start()
    await cloud.until_active(0)
    await cloud.until(lambda: harness.daemon.tasks.get("home").serving is not None)
    await asked_often(harness, cloud)
    assert (await harness.ask("light 1")).provenance.tier is Tier.DEVICE
    cloud.order("home", mode=Mode.ESCALATE_ALL)
    await cloud.until(lambda: harness.daemon.tasks.get("home").is_overridden)
    assert (await harness.ask("light 1")).provenance.tier is Tier.CLUSTER


async def test_a_reference_that_contradicts_itself_is_asked_every_time(harness, cloud):
    often = Counter()

    def answer(text):
        often[text] += 1
        return "music" if often[text] == 2 and int(text.split()[1]) % 2 else "lights"

    cloud.answer = answer
    cloud.publish(RELEASE, {}, exploration=0.1)
    await harness.start()
    await cloud.until_active(0)
    await cloud.until(lambda: harness.daemon.tasks.get("home").serving is not None)
    _, answers = await asked_often(harness, cloud)
    assert {answer.provenance.tier for answer in answers} == {Tier.CLUSTER}
