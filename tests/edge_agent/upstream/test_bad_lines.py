"""On a bad line every query is answered before its deadline, and afterwards all that was drawn has come, once."""

import asyncio
import time

import pytest

from edge_agent.testing.bad_line import BadLine, Line
from edge_agent.testing.tiny_releases import TASK, WORDS, tiny_release

DEADLINE_SECONDS = 3.0
WAVES, TOGETHER = 4, 10


@pytest.fixture
async def line(harness, cloud):
    """The line of an agent whose answers are all drawn."""
    cloud.publish(*tiny_release(TASK, 1, WORDS), exploration=1.0)
    async with BadLine(cloud.target) as line:
        await harness.start(target=line.target)
        await harness.until_serving()
        await cloud.until_active(1, 60)
        yield line
        await harness.stop()


@pytest.mark.parametrize("state", [state for state in Line if state is not Line.GOOD])
async def test_every_query_is_answered_in_time_and_what_was_drawn_comes_once(line, harness, cloud, state):
    await line.be(state)
    ids, longest = [], 0.0

    async def ask(number, text):
        nonlocal longest
        ids.append(f"q-{number}")
        began = time.monotonic()
        await harness.ask(text, query_id=ids[-1], seconds=DEADLINE_SECONDS)
        longest = max(longest, time.monotonic() - began)

    for wave in range(WAVES):
        texts = ("light" if number % 2 else "novel" for number in range(TOGETHER))
        await asyncio.gather(*(ask(wave * TOGETHER + number, text) for number, text in enumerate(texts)))
    assert longest <= DEADLINE_SECONDS
    await line.be(Line.GOOD)
    await cloud.until(lambda: bool(cloud.reports) and cloud.reports[-1].outbox_pending == 0 and came(cloud, ids), 90)
    assert harness.daemon.report().outbox_dropped == 0
    assert harness.report().failed == 0
    assert harness.report().answered == harness.report().explored == len(ids)


def came(cloud, ids):
    return {*ids} <= {query.id for query in cloud.queries}
