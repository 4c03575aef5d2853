"""What waits is asked of the reference, until the reference's answer is logged."""

import asyncio
import time

import pytest

from edge_agent.identity.status_command import _show
from edge_agent.outbox import sender as teaching
from edge_agent.outbox.sender import HeldBack
from edge_agent.testing.tiny_releases import WORDS, tiny_release
from router.core.domain.task import Task


@pytest.fixture
async def exploring(warm, cloud):
    """An agent whose kept answers are all drawn."""
    cloud.order("home", exploration=1.0)
    await cloud.until(lambda: cloud.last_tasks()[0].exploration == 1.0)
    return warm


async def test_an_answer_that_was_not_logged_stays_and_is_asked_again(exploring, cloud):
    cloud.faults.unlogged = True
    await exploring.ask("light", query_id="q-1")
    await cloud.until(lambda: len(cloud.queries) >= 3)
    assert {query.id for query in cloud.queries} == {"q-1"}
    assert exploring.daemon.report().outbox_pending == 1
    assert exploring.report().explored_kept == 0
    cloud.faults.unlogged = False
    await cloud.until(lambda: cloud.last_tasks()[0].explored_kept == 1)
    assert exploring.daemon.report().outbox_pending == 0
    assert exploring.daemon.report().outbox_dropped == 0


async def test_while_nothing_is_logged_one_query_alone_is_sent_again(exploring, cloud):
    cloud.faults.unavailable = True
    for number in range(20):
        await exploring.ask("light", query_id=f"q-{number}")
    cloud.faults.unlogged, cloud.faults.unavailable = True, False
    cloud.queries.clear()
    await cloud.until(lambda: [query.id for query in cloud.queries[-3:]] == ["q-0"] * 3, seconds=120)
    cloud.faults.unlogged = False
    await cloud.until(lambda: cloud.reports[-1].outbox_pending == 0, seconds=120)
    assert exploring.report().explored_kept == 20


async def test_a_query_that_is_never_logged_leaves_in_the_end_and_is_counted(
    prompt_status, exploring, cloud, monkeypatch, capsys
):
    monkeypatch.setattr(teaching, "MOST_UNLOGGED", 3)
    cloud.faults.unlogged = True
    await exploring.ask("light")
    await cloud.until(lambda: cloud.reports[-1].outbox_dropped == 1, seconds=120)
    assert cloud.reports[-1].outbox_dropped_because == (("unlogged", 1),)
    assert exploring.daemon.report().outbox_pending == 0
    told = await exploring.status(lambda said: said["outbox_dropped"] == 1)
    assert (told["outbox_pending"], told["outbox_dropped_because"]) == (0, {"unlogged": 1})
    _show({**told, "running": True, "states": []})
    assert "  outbox: 0 queries wait, 1 dropped (unlogged 1)\n" in capsys.readouterr().out


async def test_what_waits_for_a_teacher_that_is_left_alone_is_not_sent_before_its_time(exploring, cloud):
    cloud.faults.busy["home"] = 3.0
    await exploring.ask("light", query_id="q-1")
    await cloud.until(lambda: len(cloud.queries) == 1)
    began = time.monotonic()
    cloud.faults.busy.clear()
    await exploring.ask("light", query_id="q-2")
    await cloud.until(lambda: cloud.last_tasks()[0].explored_kept == 2, seconds=120)
    assert time.monotonic() - began > 2


async def test_another_task_is_taught_while_the_teacher_of_one_is_left_alone(exploring, cloud):
    car = Task("car", "simulated")
    cloud.publish(*tiny_release(car, 5, {"brake": "stop", "gas": "go"}), exploration=1.0)
    await cloud.until(lambda: any(task.active_release == 5 for task in cloud.last_tasks()))
    cloud.faults.busy["home"] = 60.0
    await exploring.ask("light", query_id="q-1")
    await cloud.until(lambda: len(cloud.queries) == 1)
    while not isinstance(await exploring.daemon.sender.drain_once(), HeldBack):  # it holds back what waits
        pass
    began = time.monotonic()
    for number in range(4):
        await exploring.ask("brake", task="car", query_id=f"c-{number}")
        await cloud.until(lambda last=f"c-{number}": cloud.queries[-1].id == last, seconds=120)
    assert time.monotonic() - began < 25


async def test_a_task_that_is_logged_no_more_leaves_at_once(exploring, cloud):
    cloud.faults.unavailable = True
    await exploring.ask("light", query_id="q-1")
    cloud.publish(*tiny_release(Task("home", "simulated", log_by_default=False), 2, WORDS), exploration=1.0)
    cloud.faults.unlogged, cloud.faults.unavailable = True, False
    await cloud.until_active(2, seconds=120)
    await cloud.until(lambda: cloud.reports[-1].outbox_pending == 0, seconds=120)
    assert exploring.daemon.report().outbox_dropped == 0


async def test_another_task_goes_on_while_one_is_not_logged(exploring, cloud):
    cloud.faults.unlogged = True
    await exploring.ask("light", query_id="q-1")
    await cloud.until(lambda: len(cloud.queries) >= 2)
    car = Task("car", "simulated")
    cloud.publish(*tiny_release(car, 5, {"brake": "stop", "gas": "go"}), exploration=1.0)
    await cloud.until(lambda: any(task.active_release == 5 for task in cloud.last_tasks()))
    exploring.daemon.sender._unlogged["home"].until += 60
    cloud.faults.unlogged = False
    await exploring.ask("brake", task="car", query_id="q-2")
    await cloud.until(lambda: cloud.queries[-1].id == "q-2")
    async with asyncio.timeout(120):
        while exploring.daemon.report().outbox_pending != 1:  # noqa: ASYNC110 - the report has no event
            await asyncio.sleep(0.01)
