"""Children of the demo: started, started again, and ended, whatever happens."""

import asyncio
import contextlib
import os
import signal

import pytest

from demo import processes
from demo.processes import Stage
from router.errors import StartError

SLEEPER = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)
NO_ONE = "127.0.0.1:9"


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Modules that a stage can start with ``-m``."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for name, code in (("sleeper", SLEEPER), ("stubborn", STUBBORN), ("failing", "import sys; sys.exit('no luck')")):
        (tmp_path / f"{name}.py").write_text(code)
    return tmp_path


@contextlib.asynccontextmanager
async def staged(folder):
    stage = Stage(folder)
    try:
        yield stage
    finally:
        await stage.end()


async def until(holds, seconds=20.0):
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - another process's state has no event
            await asyncio.sleep(0.02)


def runs(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


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
