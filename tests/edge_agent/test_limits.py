"""What a limit keeps on the device, what it holds back, and what it says of it."""

import asyncio
import time
from dataclasses import replace

import grpc
import pytest

from edge_agent.tasks.orders import load_orders
from edge_agent.tasks.quota import SHUT_SECONDS, Permit, Quota
from edge_agent.tasks.quota_store import load_spent
from edge_agent.testing.tiny_releases import TASK, WORDS, empty_release, tiny_release
from router.core.domain.query import Reason, Route, Tier
from router.core.domain.task import Task
from router.core.errors import SpentError
from router.core.policy.budget import Budget, Spent
from router.transport.channel import call_error

RARELY = 1e-9  # enough to cover queries, and too little to draw one here


async def limit(device, cloud, **limits):
    cloud.order("home", **limits)
    quota = device.daemon.tasks.get("home").quota
    wanted = Budget(limits.get("queries_per_minute"), limits.get("queries_per_day"))
    kept = device.folder / "standing.json"
    async with asyncio.timeout(120):
        while quota.budget != wanted or _budget_of(load_orders(kept)) != wanted:
            device.daemon.sync.poke()  # the agent's own report: another beside it could bring an older order last
            await asyncio.sleep(0.01)


def _budget_of(kept_orders):
    return next((Budget(one.queries_per_minute, one.queries_per_day) for one in kept_orders.orders), None)


async def test_what_a_limit_keeps_here_is_degraded_and_not_covered(warm, cloud):
    cloud.order("home", exploration=RARELY)
    await limit(warm, cloud, queries_per_minute=2)
    answers = [await warm.ask("novel") for _ in range(4)]
    assert [answer.provenance.tier for answer in answers] == [Tier.CLUSTER] * 2 + [Tier.DEVICE] * 2
    assert all(answer.provenance.covered for answer in answers[:2])
    assert [answer.provenance.reason for answer in answers[2:]] == [Reason.BUDGET] * 2
    assert all(answer.provenance.degraded and not answer.provenance.covered for answer in answers[2:])
    assert len(cloud.queries) == 2
    assert warm.daemon.report().outbox_pending == 0  # to send it later would spend as much


async def test_while_a_limit_is_spent_sure_answers_are_not_covered_either(warm, cloud):
    cloud.order("home", exploration=RARELY)
    await limit(warm, cloud, queries_per_day=0)
    unsure, sure = await warm.ask("novel"), await warm.ask("light")
    assert (unsure.provenance.covered, sure.provenance.covered) == (False, False)
    assert (sure.provenance.reason, sure.provenance.degraded) == (Reason.CONFIDENT, False)


async def test_what_leaves_names_how_many_drawn_queries_were_kept_before_it(warm, cloud):
    cloud.order("home", exploration=1.0)
    await cloud.until(lambda: cloud.last_tasks()[0].exploration == 1.0)
    for text in ("novel", "light", "novel", "light", "light", "novel"):
        await warm.ask(text)
    await cloud.until(lambda: len(cloud.queries) == 6)
    begin = min(query.attempt.sequence_number for query in cloud.queries)
    left = sorted(query.attempt.sequence_number - begin for query in cloud.queries if not query.attempt.kept)
    kept = sorted(query.attempt.sequence_number - begin for query in cloud.queries if query.attempt.kept)
    assert begin > 0
    assert (left, kept) == ([0, 1, 3], [1, 2, 3])


async def test_while_the_cloud_can_not_be_asked_sure_answers_are_not_covered_and_certify_nothing(
    warm, cloud, monkeypatch
):
    monkeypatch.setattr("edge_agent.upstream.target.DEFAULT_PUSHBACK_SECONDS", 60.0)
    cloud.order("home", exploration=1.0)
    await cloud.until(lambda: cloud.last_tasks()[0].exploration == 1.0)
    cloud.faults.pushback = -0.001  # shed, to come back at a time that is not told
    unsure, sure = await warm.ask("novel"), await warm.ask("light", query_id="sure")
    assert (unsure.provenance.covered, sure.provenance.covered) == (False, False)
    assert (sure.provenance.reason, sure.provenance.degraded) == (Reason.CONFIDENT, False)
    assert warm.daemon.report().outbox_pending == 2
    cloud.faults.pushback = None
    await warm.stop()  # so that it need not wait for a minute
    await warm.start()
    await cloud.until(lambda: {query.text for query in cloud.queries} == {"novel", "light"})
    sent = {query.text: query.attempt for query in cloud.queries}
    assert (sent["light"].explored, sent["light"].degraded) == (True, True)
    assert (await warm.ask("light")).provenance.covered


async def test_a_sure_answer_that_is_not_drawn_spends_nothing(warm, cloud):
    await limit(warm, cloud, queries_per_minute=1)
    for _ in range(3):
        assert (await warm.ask("light")).provenance.reason is Reason.CONFIDENT
    assert (await warm.ask("novel")).provenance.tier is Tier.CLUSTER


async def test_a_limit_leaves_the_draw_and_holds_back_the_sending(warm, cloud):
    cloud.order("home", exploration=1.0)
    await cloud.until(lambda: cloud.last_tasks()[0].exploration == 1.0)
    await limit(warm, cloud, queries_per_day=0)
    answer = await warm.ask("light", query_id="held")
    assert (answer.provenance.explored, answer.provenance.covered) == (True, False)
    assert warm.daemon.report().outbox_pending == 1
    assert not cloud.queries
    await limit(warm, cloud, queries_per_day=5)
    await warm.daemon.sender.drain_once()
    (sent,) = cloud.queries
    assert (sent.id, sent.attempt.explored, sent.attempt.degraded) == ("held", True, True)  # so that it can't certify


async def test_an_explored_query_spends_like_any_other(warm, cloud):
    cloud.order("home", exploration=1.0)
    await cloud.until(lambda: cloud.last_tasks()[0].exploration == 1.0)
    await limit(warm, cloud, queries_per_day=1)
    assert (await warm.ask("light")).provenance.covered
    await cloud.until(lambda: len(cloud.queries) == 1)
    assert (await warm.ask("novel")).provenance.reason is Reason.BUDGET
    spent = warm.daemon.tasks.get("home").quota.spent
    assert (spent.queries, spent.held) == (1, 0)


async def test_what_catches_up_from_the_outbox_stops_at_the_limit(warm, cloud):
    cloud.order("home", exploration=1.0)
    await cloud.until(lambda: cloud.last_tasks()[0].exploration == 1.0)
    await limit(warm, cloud, queries_per_day=0)
    for position in range(3):
        await warm.ask("light", query_id=f"held-{position}")
    await limit(warm, cloud, queries_per_day=2)
    await warm.daemon.sender.drain_once()
    assert len(cloud.queries) == 2
    assert warm.daemon.report().outbox_pending == 1


async def test_queries_that_hurry_together_do_not_exceed_the_limit(warm, cloud):
    await limit(warm, cloud, queries_per_minute=2)
    answers = await asyncio.gather(*(warm.ask("novel") for _ in range(8)))
    assert sum(answer.provenance.tier is Tier.CLUSTER for answer in answers) == len(cloud.queries) == 2
    assert sum(answer.provenance.degraded for answer in answers) == 6


async def test_where_nothing_is_explored_nothing_is_covered(warm, cloud):
    cloud.order("home", exploration=0.0)
    await cloud.until(lambda: cloud.last_tasks()[0].exploration == 0.0)
    kept, escalated = await warm.ask("light"), await warm.ask("novel")
    assert (kept.provenance.covered, escalated.provenance.covered) == (False, False)
    assert (kept.provenance.degraded, escalated.provenance.degraded) == (False, False)


async def test_what_the_fleets_limit_keeps_here_is_degraded_at_once_and_not_covered(harness, cloud):
    cloud.publish(*tiny_release(TASK, 1, WORDS), exploration=RARELY)
    cloud.publish(*tiny_release(Task("car", "simulated"), 1, {"brake": "stop", "gas": "go"}))
    await harness.start()
    await cloud.until(lambda: {task.active_release for task in cloud.last_tasks()} == {1})
    await cloud.until(lambda: len(cloud.last_tasks()) == 2)
    cloud.faults.spent = True
    began = time.monotonic()
    answer = await harness.ask("novel")
    assert time.monotonic() - began < 2.0  # of 10 until the deadline: nothing is tried again
    said = answer.provenance
    assert (said.degraded, said.covered, said.reason) == (True, False, Reason.BUDGET)
    assert not (await harness.ask("light")).provenance.covered
    assert harness.daemon.report().outbox_pending == 0
    cloud.faults.spent = False
    assert (await harness.ask("novel", task="car")).provenance.tier is Tier.CLUSTER
    assert (await harness.ask("novel")).provenance.reason is Reason.BUDGET
    harness.daemon.tasks.get("home").quota.clock = lambda: time.time() + SHUT_SECONDS
    assert (await harness.ask("novel")).provenance.tier is Tier.CLUSTER


async def test_without_a_student_the_fleets_limit_is_told_at_once(cold, cloud):
    cloud.faults.spent = True
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await cold.ask("light")
    assert isinstance(call_error(caught.value), SpentError)


async def test_a_query_for_the_cloud_is_refused_with_a_time_to_come_back(warm, cloud):
    await limit(warm, cloud, queries_per_day=0)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await warm.ask("light", route=Route.CLOUD_ONLY)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert not cloud.queries


async def test_before_the_first_student_no_limit_holds(cold, cloud):
    await limit(cold, cloud, queries_per_day=0)
    assert (await cold.ask("light")).provenance.tier is Tier.CLUSTER


async def test_limits_go_on_when_a_release_without_a_student_serves_again(cold, cloud):
    cloud.publish(replace(empty_release(TASK), number=2), {}, exploration=1.0)
    await cloud.until_active(2)
    await limit(cold, cloud, queries_per_minute=1)
    assert (await cold.ask("light")).provenance.tier is Tier.CLUSTER
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await cold.ask("light", seconds=3.0)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_what_was_spent_survives_a_restart(warm, cloud):
    await limit(warm, cloud, queries_per_day=1)
    assert (await warm.ask("novel")).provenance.tier is Tier.CLUSTER
    await warm.stop()
    assert load_spent(warm.folder / "spent.json")["home"].queries == 1
    await warm.start()
    await warm.until_serving()  # the door opens before the student is loaded
    assert (await warm.ask("novel")).provenance.reason is Reason.BUDGET


def test_a_ledger_that_cannot_be_read_is_as_good_as_none(tmp_path):
    path = tmp_path / "spent.json"
    assert load_spent(path) == {}
    path.write_text("{]")
    assert load_spent(path) == {}


def test_permits_under_way_count_as_spent_until_they_are_closed():
    quota = Quota(Budget(per_minute=1), Spent(), lambda: 100.0)
    first = quota.permit()
    assert first.granted
    assert not quota.permit().granted
    first.close()
    again = quota.permit()
    assert again.granted
    again.use()
    again.close()
    assert not quota.permit().granted
    assert (quota.spent.held, quota.spent.queries) == (0, 1)


def test_a_permit_without_a_quota_is_free():
    permit = Permit()
    permit.use()
    permit.close()
    assert permit.granted
