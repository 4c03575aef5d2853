"""Several gateways of one cloud: the first that can be asked is asked, and the first of all again once it can."""

import asyncio
import time

import pytest

from edge_agent.testing.cloud_simulator import CloudSimulator
from edge_agent.testing.tiny_releases import WORDS, empty_release, tiny_release
from edge_agent.upstream.client import Upstream
from edge_agent.upstream.target import Target
from router.core.domain.query import Query
from router.core.domain.task import Task
from router.core.errors import DeadlineError, OverloadedError, UnavailableError
from router.core.release.reports import DeviceReport
from router.transport.channel import open_bulk_channel, open_channel

TASK = Task("home", "simulated")


@pytest.fixture
async def second():
    simulator = CloudSimulator(lambda text: "second")
    await simulator.start()
    yield simulator
    await simulator.stop()


@pytest.fixture
async def both(cloud, second):
    """The next tier with two targets, over real connections."""
    for one in (cloud, second):
        one.answer = lambda text, one=one: "second" if one is second else "first"
        one.publish(*tiny_release(TASK, 1, WORDS))
    targets, channels = [], []
    for one in (cloud, second):
        channels += [open_channel(one.target, insecure=True), open_bulk_channel(one.target, insecure=True)]
        targets.append(Target(channels[-2], "device-1", target=one.target, bulk=channels[-1]))
    yield Upstream(targets)
    for channel in channels:
        await channel.close(None)


def ask(upstream, name, seconds=10.0):
    return upstream.ask(Query(name, "home", "novel"), seconds)


async def until_first(upstream, cloud):
    async with asyncio.timeout(120):
        number = 0
        while (await ask(upstream, f"back-{number}")).text != "first":
            number += 1
            await asyncio.sleep(0.05)
    assert upstream.in_use == cloud.target


async def test_a_gateway_that_is_killed_costs_no_answer_and_is_asked_again_when_it_is_back(both, cloud, second):
    assert (await ask(both, "q-1")).text == "first"
    await cloud.stop()
    assert [(await ask(both, f"q-{number}")).text for number in range(2, 9)] == ["second"] * 7
    assert (both.in_use, both.is_away, both.obstacle()) == (second.target, False, None)
    assert len({query.id for query in second.queries}) == len(second.queries) == 7
    assert await both.sync(DeviceReport("device-1"))
    assert [chunk async for chunk in both.fetch("home", 1, "manifest.json", 0)]
    assert len(second.reports) == 1 and second.fetches
    await cloud.start()
    await until_first(both, cloud)


async def test_a_device_that_nobody_asks_reports_to_the_first_again_too(both, cloud, second):
    await cloud.stop()
    async with asyncio.timeout(4):  # it is not waited for
        await both.sync(DeviceReport("device-1"))
    assert both.in_use == second.target
    await cloud.start()
    async with asyncio.timeout(120):
        while both.in_use != cloud.target:
            await both.sync(DeviceReport("device-1"))
            await asyncio.sleep(0.05)


async def test_a_gateway_that_swallows_calls_is_left_alone_and_its_probes_cost_no_answer(both, cloud, second):
    cloud.faults.hang = True
    for number in range(5):
        with pytest.raises(DeadlineError):
            await ask(both, f"lost-{number}", 0.3)
    began = time.monotonic()
    asked = len(cloud.queries)
    while len(cloud.queries) < asked + 1:  # a probe
        assert (await ask(both, f"q-{time.monotonic()}", 1.0)).text == "second"
        assert time.monotonic() - began < 60
        await asyncio.sleep(0.02)
    cloud.faults.hang = False
    await until_first(both, cloud)


async def test_a_patient_query_waits_at_no_gateway_alone(both, cloud):
    cloud.faults.hang = True
    answer = await both.ask_patiently(Query("q-1", "home", "novel"), 4.0)
    assert answer.text == "second"


async def test_where_all_are_away_a_patient_query_waits_for_the_first_that_comes(both, cloud, second):
    await cloud.stop()
    await second.stop()
    with pytest.raises(UnavailableError):
        await ask(both, "q-1")
    assert both.is_away
    waiting = asyncio.create_task(both.ask_patiently(Query("patient", "home", "novel"), 30.0))
    await asyncio.sleep(0)
    await second.start()
    assert (await waiting).text == "second"
    assert not both.is_away


async def test_what_was_shed_is_not_carried_on_and_the_next_goes_elsewhere(both, cloud, second):
    cloud.faults.pushback = 0.02
    with pytest.raises(OverloadedError):
        await ask(both, "q-1")
    assert cloud.queries and not second.queries
    cloud.queries.clear()
    both.breaker.pushed_back(time.monotonic(), 60.0)
    assert (await ask(both, "q-2")).text == "second"
    assert not cloud.queries


async def test_an_agent_drains_its_outbox_through_the_second_and_says_so(harness, cloud, second, prompt_status):
    for one in (cloud, second):
        one.publish(empty_release(TASK), {}, exploration=1.0)
    await harness.start(others=(second.target,))
    await cloud.until_active(0)
    await cloud.stop()
    assert (await harness.ask("novel", query_id="q-1")).text == "second"
    await second.until(lambda: bool(second.reports))
    await harness.status(lambda said: said["upstream"] == second.target)
    await harness.daemon.outbox.keep(Query("q-2", "home", "old"), numbered=False)
    await second.until(lambda: any(query.id == "q-2" for query in second.queries))
