"""A release stays once it has answered often enough; one whose agent ends again and again gives way."""

import asyncio
import contextlib

from edge_agent.releases import probation
from edge_agent.tasks.hosted_task import PROVEN_ANSWERS
from edge_agent.tasks.pointer import read_pointer
from edge_agent.testing.tiny_releases import TASK, WORDS, tiny_release
from router.core.domain.query import Tier

MORE_WORDS = {**WORDS, "novel": "lights"}


async def crash(harness):
    """End an agent in disorder."""
    harness.running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await harness.running
    await harness.channel.close(None)
    harness.running = None


async def installed(harness, cloud, number, words):
    cloud.publish(*tiny_release(TASK, number, words))
    await cloud.until_active(number)
    return harness.daemon.tasks.get("home")


async def test_a_release_is_proven_by_its_answers(warm, cloud):
    hosted = await installed(warm, cloud, 2, MORE_WORDS)
    for _ in range(PROVEN_ANSWERS - 1):
        await warm.ask("light")
    assert hosted.slots.on_probation
    await warm.ask("light")
    async with asyncio.timeout(120):
        while hosted.on_probation:  # noqa: ASYNC110 - a flag in memory
            await asyncio.sleep(0)
    assert not hosted.slots.on_probation


async def test_a_release_whose_agent_crashes_again_and_again_gives_way_and_is_not_tried_again(warm, cloud):
    hosted = await installed(warm, cloud, 2, MORE_WORDS)
    hosted.slots.prove()
    hosted = await installed(warm, cloud, 3, WORDS)
    for _ in range(4):
        await crash(warm)
        await warm.start()
    await warm.until_serving()
    reports = len(cloud.reports)
    await cloud.until(lambda: len(cloud.reports) > reports + 3)
    ((number, reason),) = cloud.last_tasks()[0].refused
    assert (number, reason.partition(":")[0]) == (3, "crash loop")
    answer = await warm.ask("novel")
    assert (answer.provenance.tier, answer.provenance.release) == (Tier.DEVICE, 2)
    await installed(warm, cloud, 4, WORDS)


async def test_orderly_ends_and_long_runs_count_against_no_release(warm, cloud, monkeypatch):
    hosted = await installed(warm, cloud, 2, MORE_WORDS)
    for _ in range(3):
        await crash(warm)
        await warm.start()
    await warm.stop()
    monkeypatch.setattr(probation, "CALM_SECONDS", 0.05)
    for _ in range(2):
        await warm.start()
        hosted = warm.daemon.tasks.get("home")
        async with asyncio.timeout(120):
            while read_pointer((hosted.slots.folder / "active").read_bytes()).starts:  # noqa: ASYNC110 - a file
                await asyncio.sleep(0.01)
        await crash(warm)
    await warm.start()
    await warm.until_serving()
    assert (await warm.ask("novel")).provenance.release == 2
