"""A device whose clock is ten years off, either way, as a process whose every look at the time is off."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

LIBRARY = next(iter(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None)
DEADLINE_SECONDS = 10.0


@pytest.mark.skipif(LIBRARY is None, reason="needs libfaketime, of the package faketime")
@pytest.mark.parametrize(("off", "state"), [("+10y", "clock_ahead"), ("-10y", "clock_behind")])
async def test_a_clock_that_is_years_off_is_told_costs_no_answer_and_is_forgiven_once_it_is_set(
    house, shared, tmp_path, capsys, off, state
):
    clock = tmp_path / "clock"
    clock.write_text("+0\n")
    inside = (
        *("env", f"LD_PRELOAD={LIBRARY}", f"FAKETIME_TIMESTAMP_FILE={clock}"),
        *("FAKETIME_CACHE_DURATION=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"),
    )
    await asyncio.to_thread(house.cloud, "ca", "init", "--root", "root", "--root-passphrase-file", "root.txt")
    await asyncio.to_thread(house.give_student, 0.5)
    _, gateway = await asyncio.to_thread(house.start_gateway)
    door = await asyncio.to_thread(house.enrol, gateway)
    agent, _ = await asyncio.to_thread(house.start_agent, inside)
    await asyncio.to_thread(house.wait, lambda: house.release() == 1)
    agent.kill()
    agent.wait()
    clock.write_text(f"{off}\n")
    await asyncio.to_thread(house.start_agent, inside)
    load = shared("faults/load").Load(door, DEADLINE_SECONDS)
    await load.ask_first(60)
    asking = asyncio.create_task(load.ask_for(10))
    await asyncio.to_thread(house.until_first_state, state)
    await asking
    clock.write_text("+0\n")
    await load.ask_while(lambda: house.status()["state"] != "ok" or house.status()["outbox_pending"] > 0, 120)
    with capsys.disabled():
        sys.stderr.write(f"\n{off}: {json.dumps(load.figures())}\n")
    assert load.failures == []
    assert load.longest < DEADLINE_SECONDS
    assert house.status()["outbox_dropped"] == 0
    logged = house.logged()
    assert {name for name, times in logged.items() if times != 1} == set()
    assert set(logged) == load.owed
