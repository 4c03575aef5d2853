"""Children of the demo: started, started again, and ended, whatever happens."""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from demo import processes
from demo.processes import staged
from router.core.errors import StartError

ROOT = Path(__file__).parents[2]
SLEEPER = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)
PARENT = """
import asyncio
from pathlib import Path
from demo.processes import staged

async def main():
    async with staged(Path(".")) as stage:
        await stage.start("cloud", "sleeper")
        while "up" not in Path("cloud.log").read_text():
            await asyncio.sleep(0.02)
        print(stage.pid("cloud"), flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""
NO_ONE = "127.0.0.1:9"


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Modules that a stage can start with ``-m``."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), str(ROOT))))
    for name, code in (("sleeper", SLEEPER), ("stubborn", STUBBORN), ("failing", "import sys; sys.exit('no luck')")):
        (tmp_path / f"{name}.py").write_text(code)
    return tmp_path


async def until(holds, seconds=120.0):
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - another process's state has no event
            await asyncio.sleep(0.02)


def runs(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE  # of an orphan whom nobody asks
    except psutil.NoSuchProcess:
        return False


async def up(programs, name):
    await until(lambda: "up" in (programs / f"{name}.log").read_text())


async def test_what_is_kept_is_started_again_after_a_kill(programs):
    async with staged(programs) as stage:
        await stage.start("edge-1", "sleeper")
        stage.keep("edge-1", "sleeper")
        first = stage.pid("edge-1")
        os.kill(first, signal.SIGKILL)
        await until(lambda: stage.restarts == 1 and stage.pid("edge-1") != first)
        assert runs(stage.pid("edge-1"))


async def test_no_child_is_left_when_it_ends(programs):
    async with staged(programs) as stage:
        await stage.start("edge-1", "sleeper")
        stage.keep("edge-1", "sleeper")
        await stage.start("cloud", "sleeper")
        pids = [stage.pid(name) for name in ("edge-1", "cloud")]
    assert not any(runs(pid) for pid in pids)
    assert stage.restarts == 0


async def test_a_child_that_will_not_end_is_killed(programs, monkeypatch):
    monkeypatch.setattr(processes, "STOP_SECONDS", 0.2)
    async with staged(programs) as stage:
        await stage.start("cloud", "stubborn")
        await up(programs, "cloud")
        pid = stage.pid("cloud")
    assert not runs(pid)


async def test_a_child_that_fails_at_its_start_is_named_with_its_last_words(programs):
    async with staged(programs) as stage:
        await stage.start("cloud", "failing")
        with pytest.raises(StartError, match=r"(?s)cloud ended with 1.*no luck"):
            await stage.serving("cloud", NO_ONE, 20)


async def test_a_child_that_never_serves_is_named(programs):
    async with staged(programs) as stage:
        await stage.start("cloud", "sleeper")
        with pytest.raises(StartError, match="does not serve after"):
            await stage.serving("cloud", NO_ONE, 0.3)


async def test_a_child_that_keeps_ending_at_its_start_ends_all_with_its_last_words(programs, monkeypatch):
    monkeypatch.setattr(processes, "RESTART_SECONDS", 0.0)
    pids = []
    with pytest.raises(StartError, match=r"(?s)edge-1 ended with 1, 3 times in a row.*no luck"):
        async with staged(programs) as stage:
            await stage.start("cloud", "sleeper")
            pids.append(stage.pid("cloud"))
            await stage.start("edge-1", "failing")
            stage.keep("edge-1", "failing")
            await asyncio.sleep(100)
    assert not runs(pids[0])


async def test_what_is_killed_is_never_given_up(programs, monkeypatch):
    monkeypatch.setattr(processes, "RESTART_SECONDS", 0.0)
    async with staged(programs) as stage:
        await stage.start("edge-1", "sleeper")
        stage.keep("edge-1", "sleeper")
        for count in range(1, processes.MOST_SOON + 2):
            os.kill(stage.pid("edge-1"), signal.SIGKILL)
            await until(lambda count=count: stage.restarts == count and runs(stage.pid("edge-1")))


async def test_what_fails_inside_is_raised_as_it_is(programs):
    with pytest.raises(KeyError, match="inside"):
        async with staged(programs) as stage:
            await stage.start("cloud", "sleeper")
            raise KeyError("inside")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent's death")
async def test_no_child_outlives_a_demo_that_was_killed(programs):
    (programs / "parent.py").write_text(PARENT)
    command = (sys.executable, "-m", "parent")
    parent = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, cwd=programs)
    pid = int(await parent.stdout.readline())
    assert runs(pid)
    parent.kill()
    await parent.wait()
    await until(lambda: not runs(pid))


async def test_a_second_interrupt_leaves_no_child_either(programs):
    async def held():
        async with staged(programs) as stage:
            await stage.start("cloud", "stubborn")
            await up(programs, "cloud")
            pids.append(stage.pid("cloud"))
            stages.append(stage)

    pids, stages = [], []
    task = asyncio.create_task(held())
    await until(lambda: stages)
    task.cancel()  # while it waits for its child to end in order
    with contextlib.suppress(asyncio.CancelledError):
        await task
    stages[0].kill()
    await until(lambda: not runs(pids[0]))
