import asyncio
import json
import os
import signal
import uuid
from dataclasses import replace

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cloud_worker.log.distillation_log import DistillationLog, records_of
from cloud_worker.pool.policies import PolicyState, Proved, StoredPolicy
from cloud_worker.pool.policy_store import PoolPolicies
from cloud_worker.pool.word_features import FEATURES, WordHead
from cloud_worker.state.store import Store
from cloud_worker.testing import edge
from router.core.domain.query import Attempt, Consent, Message, Query, Reason, Route, Tier, Wanted
from router.core.domain.record import Source
from router.core.domain.task import Way
from router.core.errors import (
    BadInputError,
    CallerError,
    ConflictingQueryError,
    DeadlineError,
    NotPossibleError,
    ServiceError,
    UnknownTaskError,
)
from router.core.policy.exploration import is_explored
from router.core.policy.pool_routing import PoolPolicy
from router.core.policy.pool_routing import Tier as CheaperTier
from router.core.release.manifest import read_manifest
from router.transport.channel import open_channel

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


@pytest.fixture
async def device(cluster):
    await asyncio.to_thread(cluster.port)  # a gateway that a test before this one killed is back
    async with edge(cluster.target, f"device-{uuid.uuid4().hex[:8]}") as device:
        yield device


def logged(cluster, caller, task="home"):
    cluster.drain()
    rows = records_of(DistillationLog(cluster.config.log_folder).read(task))
    return [row for row in rows if row.caller == caller]


def kill(cluster):
    pid = json.loads((cluster.config.run_folder / "gateway-0.json").read_text())["pid"]
    os.kill(pid, signal.SIGKILL)
    return pid


async def test_an_escalated_query_is_answered_by_the_reference_and_stands_in_the_log(cluster, device):
    await device.sync()
    attempt = Attempt(release=1, answer="label 9", score=0.3, reason=Reason.UNCONFIDENT, exploration=1.0)
    answer = await device.escalate("text 3", "home", attempt)
    said = answer.provenance
    assert (answer.text, said.tier, said.model, said.reason) == (
        "label 3",
        Tier.CLUSTER,
        "recorded",
        Reason.UNCONFIDENT,
    )
    assert said.logged
    assert said.covered
    assert said.explored
    [row] = logged(cluster, device.device)
    assert (row.text, row.answer, row.local_answer, row.source) == ("text 3", "label 3", "label 9", Source.ESCALATED)
    assert row.explored
    assert row.teacher_version == said.model_version


async def test_a_release_without_student_is_published_before_the_door_opens(device):
    orders = await device.sync()
    [home] = [order for order in orders.tasks if order.task == "home"]
    assert (home.release, home.exploration) == (0, 1.0)
    manifest = read_manifest(await device.fetch("home", 0, "manifest.json"))
    assert manifest.student is None
    assert manifest.task.name == "home"


async def test_a_draw_that_does_not_verify_makes_an_ordinary_row(cluster, device):
    store, rate = Store(cluster.config.store_url), 0.5
    store.update_task("home", exploration=rate)
    try:
        seed = (await device.sync()).seed
        ids = [uuid.uuid4().hex for _ in range(20)]
        for query_id in ids:
            claim = Attempt(answer="label 1", kept=True, explored=True, exploration=1.0)
            await device.ask(Query(query_id, "home", "text 1", attempt=claim))
    finally:
        store.update_task("home", exploration=1.0)
    rows = {row.query_id: row for row in logged(cluster, device.device)}
    assert {row.query_id for row in rows.values() if row.explored} == {i for i in ids if is_explored(seed, i, rate)}
    assert 0 < sum(row.explored for row in rows.values()) < 20
    assert {(row.exploration, row.propensity) for row in rows.values() if row.explored} == {(rate, rate)}
    assert {(row.exploration, row.propensity) for row in rows.values() if not row.explored} == {(0.0, 1.0)}


async def test_an_attempt_of_whoever_never_reported_says_nothing(cluster, device):
    forged = Attempt(
        release=1, answer="label 1", score=0.9, kept=True, explored=True, exploration=1.0, sequence_number=7
    )
    answer = await device.ask(Query("", "home", "text 1", attempt=forged))
    assert not answer.provenance.covered and not answer.provenance.explored
    [row] = logged(cluster, device.device)
    assert (row.source, row.explored, row.covered, row.sequence_number) == (Source.DIRECT, False, False, 0)
    assert Store(cluster.config.store_url).find_device(device.device) is None


async def test_a_proved_policy_lets_a_cheaper_teacher_answer_what_was_not_drawn(cluster, device):
    await device.sync()
    drawn = await device.escalate("text 3", "tiered", Attempt(exploration=1.0))
    assert drawn.provenance.model == "recorded"
    [row] = logged(cluster, device.device, "tiered")
    [said] = row.tried
    assert (said.teacher, said.answer, said.log_confidence) == ("small", "label 3", 0.0)
    store = Store(cluster.config.store_url)
    tier = CheaperTier("small", said.version, 0.1, -3.0, 1.5, 0.0, (0.0, 0.0), (0.1, 0.0))
    policy = PoolPolicy(Way.CASCADE, 0.2, (tier,))
    words = (WordHead(np.zeros(FEATURES, np.float32), 0.0),)
    version = row.teacher_version
    proved = Proved.of(cluster.config.task("tiered"), 1)
    stored = StoredPolicy("tiered", 1, 1, version, PolicyState.SERVING, policy, words, 1.0, 100, 300, 1, 1, 0.0)
    PoolPolicies(store.engine).add(replace(stored, proved=proved))
    async with asyncio.timeout(120):
        answer = drawn
        while answer.provenance.model != "small":  # until the gateway has looked again
            answer = await device.escalate("text 4", "tiered", Attempt(exploration=0.0))
    assert (answer.text, answer.provenance.covered, answer.provenance.logged) == ("label 4", True, True)
    assert (await device.escalate("text 5", "tiered", Attempt(exploration=1.0))).provenance.model == "recorded"
    rows = {row.text: row for row in logged(cluster, device.device, "tiered") if row.teacher == "small"}
    assert not rows["text 4"].is_reference


async def test_a_direct_query_is_neither_explored_nor_covered(cluster, device):
    answer = await device.ask(Query("", "home", "text 4"))
    assert answer.query_id
    assert not answer.provenance.covered
    [row] = logged(cluster, device.device)
    assert (row.source, row.explored, row.covered) == (Source.DIRECT, False, False)


async def test_asking_again_gives_the_same_answer_and_one_row(cluster, device):
    first = await device.ask(Query("again", "home", "text 5"))
    assert await device.ask(Query("again", "home", "text 5", attempt=Attempt(kept=True))) == first
    assert len(logged(cluster, device.device)) == 1


async def test_the_same_id_with_another_question_is_refused_and_is_its_callers_alone(cluster, device):
    await device.ask(Query("mine", "home", "text 5"))
    with pytest.raises(ConflictingQueryError, match="'mine'"):
        await device.ask(Query("mine", "home", "text 6"))
    async with edge(cluster.target, "somebody else") as other:
        assert (await other.ask(Query("mine", "home", "text 6"))).text == "label 6"


async def test_duplicates_in_flight_join(cluster, device):
    query = Query("joined", "home", "text 8")
    answers = await asyncio.gather(*(device.ask(query) for _ in range(20)))
    assert len({answer.usage for answer in answers}) == 1
    assert len(logged(cluster, device.device)) == 1


@pytest.mark.parametrize(
    ("task", "consent", "expected"),
    [
        ("home", Consent.AS_TASK, True),
        ("home", Consent.REFUSED, False),
        ("quiet", Consent.AS_TASK, False),
        ("quiet", Consent.GRANTED, True),
    ],
)
async def test_consent_decides_what_is_logged(cluster, device, task, consent, expected):
    answer = await device.ask(Query(uuid.uuid4().hex, task, "text 9", consent=consent))
    assert answer.provenance.logged is expected
    assert len(logged(cluster, device.device, task)) == expected


@pytest.mark.parametrize(
    ("query", "error", "named"),
    [
        (Query("q", "nowhere", "text 1"), UnknownTaskError, "home, private, quiet"),
        (Query("q", "", "text 1"), BadInputError, "task"),
        (Query("q", "home", "  "), BadInputError, "input"),
        (Query("q", "home", "x" * 1001), BadInputError, "1000"),
        (Query("q" * 65, "home", "text 1"), BadInputError, "query_id"),
        (Query("q", "home", messages=(Message("user", "text 1"),)), BadInputError, "chat"),
        (Query("q", "home", "text 1", route=Route.LOCAL_ONLY), NotPossibleError, "may not leave"),
        (Query("q", "private", "text 1"), NotPossibleError, "may not leave"),
        (Query("q", "home", "never recorded"), NotPossibleError, "no recorded answer"),
    ],
)
async def test_what_can_not_be_answered_says_why_and_leaves_no_row(cluster, device, query, error, named):
    with pytest.raises(CallerError, match=named) as caught:
        await device.ask(query)
    assert caught.value.status == error.status
    assert logged(cluster, device.device) == []


async def test_a_distribution_comes_only_where_it_is_wanted(device):
    assert (await device.ask(Query("plain", "home", "text 2"))).distribution.top == ()
    wanted = await device.ask(Query("top", "home", "text 2", wanted=Wanted(top_k=3)))
    assert wanted.distribution.top == (("label 2", 0.0),)


async def test_a_deadline_is_kept(device):
    with pytest.raises(DeadlineError):
        await device.ask(Query("late", "home", "text 2"), seconds=0.0005)


async def test_the_door_says_that_it_serves(cluster):
    channel = open_channel(cluster.target, insecure=True)
    health = health_pb2_grpc.HealthStub(channel)
    for service in ("", "headrace.v1.Cascade", "headrace.v1.Fleet", "headrace.v1.Releases"):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=service), timeout=60)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    await channel.close(None)


async def test_garbage_is_refused_in_public_words(cluster):
    channel = open_channel(cluster.target, insecure=True)
    call = channel.unary_unary("/headrace.v1.Cascade/Answer", request_serializer=bytes, response_deserializer=bytes)
    with pytest.raises(grpc.RpcError) as caught:
        await call(b"\xff\xff\xff garbage", timeout=60)
    assert "Traceback" not in str(caught.value.details())
    assert "/" not in str(caught.value.details())
    await channel.close(None)


def kill_writer(cluster):
    import ray  # once the session's cluster has prepared the environment

    ray.kill(cluster.log_writer, no_restart=False)


async def stream(device, count, errors):
    """Ask ``count`` questions a few at a time; what does not come back goes to ``errors``."""
    gate = asyncio.Semaphore(8)

    async def one(number):
        async with gate:
            try:
                await device.escalate(f"text {number % 2000}", "home", seconds=60)
            except ServiceError as error:
                errors.append(error)

    await asyncio.gather(*(one(number) for number in range(count)))


async def test_a_killed_gateway_comes_back_on_its_port_and_loses_nothing(cluster, device):
    await device.sync()
    before = await device.ask(Query("kept through the kill", "home", "text 7"))
    errors = []
    asking = asyncio.create_task(stream(device, 300, errors))
    await device.heard(50)
    kill(cluster)
    await asking
    assert f"127.0.0.1:{cluster.port()}" == cluster.target
    assert {error.status for error in errors} <= {"UNAVAILABLE"}
    async with edge(cluster.target, device.device) as again:  # a channel that has not run out of retries
        async with asyncio.timeout(120):
            await again.channel.channel_ready()  # channels of one process share the pause before they dial again
        assert await again.ask(Query("kept through the kill", "home", "text 7")) == before
    answered = {query_id for query_id, answer in device.answers.items() if answer.provenance.logged}
    rows = [row.query_id for row in logged(cluster, device.device)]
    assert len(rows) == len(set(rows))
    assert answered <= set(rows)


async def test_a_killed_writer_loses_and_doubles_nothing(cluster, device):
    await device.sync()
    errors = []
    asking = asyncio.create_task(stream(device, 300, errors))
    await device.heard(100)
    kill_writer(cluster)
    await asking
    assert errors == []
    rows = [row.query_id for row in logged(cluster, device.device)]
    assert sorted(rows) == sorted(device.answers)
