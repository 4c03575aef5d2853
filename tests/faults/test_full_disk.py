"""A device whose disk is full while it is asked: a small one of its own, in memory."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

DEADLINE_SECONDS = 10.0
DISK_BYTES = 24 * 1024 * 1024


@pytest.fixture
def disk(tmp_path):
    """The folder that the device's data will lie in, as a disk of its own."""
    folder = tmp_path / "device" / "agent-data"
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "headrace-test", folder]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a disk in memory needs Linux, and root: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


async def test_a_full_disk_is_told_costs_no_answer_and_loses_nothing(disk, house, shared, capsys):
    await asyncio.to_thread(house.cloud, "ca", "init", "--root", "root", "--root-passphrase-file", "root.txt")
    await asyncio.to_thread(house.give_student, 0.5)
    _, gateway = await asyncio.to_thread(house.start_gateway)
    door = await asyncio.to_thread(house.enrol, gateway)
    await asyncio.to_thread(house.start_agent)
    await asyncio.to_thread(house.wait, lambda: house.release() == 1)
    load = shared("faults/load").Load(door, DEADLINE_SECONDS)
    await load.ask_first(60)
    filler = disk / "filler"
    fill(filler)
    asking = asyncio.create_task(load.ask_for(10))
    await asyncio.to_thread(house.until_first_state, "disk_full")
    await asking
    filler.unlink()
    await load.ask_while(lambda: house.status()["state"] != "ok" or house.status()["outbox_pending"] > 0, 120)
    with capsys.disabled():
        sys.stderr.write(f"\n{json.dumps(load.figures())}\n")
    assert load.failures == []
    assert house.status()["outbox_dropped"] == 0
    logged = house.logged()
    assert {name for name, times in logged.items() if times != 1} == set()
    assert set(logged) == load.owed


def fill(path):
    """Write until nothing more goes."""
    for size in (1 << 20, 4096, 1):
        with contextlib.suppress(OSError), path.open("ab", buffering=0) as file:
            while True:
                file.write(os.urandom(size))
