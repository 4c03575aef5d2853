import asyncio
import signal
import subprocess
import sys

import pytest

from cloud_worker.running.takeover import Turn

HOLDER = """
import asyncio, pathlib, sys, time
from cloud_worker.running.takeover import Turn
async def hold():
    await Turn(pathlib.Path(sys.argv[1])).taken()
    print("mine", flush=True)
    time.sleep(60)
asyncio.run(hold())
"""


@pytest.fixture
def holder(tmp_path):
    command = [sys.executable, "-c", HOLDER, tmp_path / "turn"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "mine\n"
        yield process
        process.kill()


async def test_who_waits_takes_over_when_the_other_is_killed(tmp_path, holder):
    turn = Turn(tmp_path / "turn")
    waiting = asyncio.create_task(turn.taken())
    done, _ = await asyncio.wait({waiting}, timeout=0.3)
    assert not done
    assert not turn.is_mine
    holder.send_signal(signal.SIGKILL)
    await asyncio.wait_for(waiting, 120)
    assert turn.is_mine


async def test_who_ends_its_turn_lets_the_next_one_have_it(tmp_path):
    first, second = Turn(tmp_path / "turn"), Turn(tmp_path / "turn")
    await first.taken()
    waiting = asyncio.create_task(second.taken())
    first.end()
    await asyncio.wait_for(waiting, 120)
    assert (first.is_mine, second.is_mine) == (False, True)


async def test_who_gave_up_waiting_does_not_take_it_later(tmp_path):
    first, second = Turn(tmp_path / "turn"), Turn(tmp_path / "turn")
    await first.taken()
    waiting = asyncio.create_task(second.taken())
    await asyncio.sleep(0)
    waiting.cancel()
    second.end()
    first.end()
    await asyncio.gather(waiting, return_exceptions=True)
    assert not second.is_mine
