"""What measures stalls sees them, and does not take a busy machine for one."""

import asyncio
import time


async def test_a_loop_that_is_held_up_is_seen(waits):
    pulse = waits.Pulse()
    beating = asyncio.create_task(pulse.beat())
    await asyncio.sleep(0.1)
    time.sleep(0.5)  # noqa: ASYNC251 - that is it
    await asyncio.sleep(0.1)
    beating.cancel()
    assert pulse.longest > 0.3


def test_a_watch_takes_off_what_was_waited_for_a_processor_and_no_more(waits):
    watch = waits.Stopwatch()
    time.sleep(0.3)
    seconds, own = watch.read()
    assert seconds >= 0.3
    assert 0.0 < own <= seconds


def test_threads_wait_side_by_side(waits):
    assert waits.longest_queued({"1": 1.0}, {"1": 1.5, "2": 0.25}) == 0.5
    assert waits.longest_queued({}, {}) == 0.0
