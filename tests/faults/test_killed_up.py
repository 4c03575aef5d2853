"""``kill -9`` of ``up`` at any instant, and another ``up`` at once: it serves, and nothing of the first one is left."""

import os
import signal
import subprocess
import time

import psutil
import pytest

from cloud_worker.running.process_lock import who_runs
from cloud_worker.startup.leftovers import MARK, end_leftovers

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

INSTANTS = ("starting: Ray", "Ray ", "starting: Gateway", "ready")


def started_and_killed(cloud_folder, instant):
    """Kill an ``up`` as soon as it says ``instant``; how long that took."""
    began = time.monotonic()
    with subprocess.Popen(cloud_folder.command("up", "--insecure"), stderr=subprocess.PIPE, text=True) as up:
        for line in up.stderr:
            if line.startswith(instant):
                break
        os.kill(up.pid, signal.SIGKILL)
        up.stderr.close()
    return time.monotonic() - began


@pytest.mark.slow
@pytest.mark.parametrize("instant", INSTANTS)
def test_a_second_up_serves_at_once(cloud_folder, instant):
    started_and_killed(cloud_folder, instant)
    up = cloud_folder.run("up", "--insecure", "--detach")
    assert up.returncode == 0, up.stderr
    assert cloud_folder.ask() == "light_on"
    pid, _ = who_runs(cloud_folder.run_folder)
    running = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    assert cloud_folder.run("down").returncode == 0
    assert psutil.wait_procs(running, timeout=120)[1] == []
    assert end_leftovers(cloud_folder.run_folder) == 0


def test_what_a_killed_one_left_is_ended_and_nothing_else(tmp_path):
    mine, other = tmp_path / "mine", tmp_path / "mine too"
    for folder in (mine, other):
        folder.mkdir()
    sleepers = [
        subprocess.Popen(["sleep", "60"], env={**os.environ, MARK: str(folder)}) for folder in (mine, mine, other)
    ]
    try:
        assert end_leftovers(mine.resolve()) == 0  # our own children are of no earlier one
    finally:
        for sleeper in sleepers:
            sleeper.kill()
            sleeper.wait()


def test_an_orphan_is_ended(tmp_path):
    script = "sleep 60 > /dev/null & echo $!"
    done = subprocess.run(
        ["sh", "-c", script], env={**os.environ, MARK: str(tmp_path)}, stdout=subprocess.PIPE, text=True, check=True
    )
    orphan = int(done.stdout)
    assert end_leftovers(tmp_path) == 1
    assert not psutil.pid_exists(orphan) or psutil.Process(orphan).status() == psutil.STATUS_ZOMBIE


def test_a_lock_that_is_released_a_moment_later_is_waited_for(tmp_path):
    script = f"""
import pathlib, time
from cloud_worker.running.process_lock import sole
with sole(pathlib.Path({str(tmp_path)!r})):
    print("held", flush=True)
    time.sleep(0.5)
"""
    import sys

    from cloud_worker.running.process_lock import sole

    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with sole(tmp_path):
            assert who_runs(tmp_path)[0] == os.getpid()
