"""A network that loses three packets of ten, each way: real TCP between a device and its cloud, under load."""

import asyncio
import json
import sys

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

LOSS = 0.3
DEADLINE_SECONDS = 10.0
LOSSY_SECONDS = 60.0


async def test_where_packets_are_lost_every_query_is_answered_in_time_and_nothing_is_lost(
    house, networks, shared, capsys
):
    if why := networks.why_no_line():
        pytest.skip(why)
    with (
        networks.Network("headrace-cloud") as cloud,
        networks.Network("headrace-device") as device,
        networks.LossyLine(cloud, device, seed=1) as line,
    ):
        file = house.folder / "cloud.toml"
        file.write_text(file.read_text().replace('"127.0.0.1:0"', f'"{line.ENDS[0]}:0"'))
        await asyncio.to_thread(house.cloud, "ca", "init", "--root", "root", "--root-passphrase-file", "root.txt")
        await asyncio.to_thread(house.give_student, 0.5)
        _, gateway = await asyncio.to_thread(house.start_gateway, cloud.inside)
        door = await asyncio.to_thread(house.enrol, gateway, line.ENDS[0], device.inside)
        await asyncio.to_thread(house.start_agent, device.inside)
        await asyncio.to_thread(house.wait, lambda: house.release() == 1)
        load = shared("faults/load").Load(door, DEADLINE_SECONDS)
        await load.ask_for(2)
        before = dict(line.packets)
        line.loss = LOSS
        await load.ask_for(LOSSY_SECONDS)
        lossy = {kind: count - before.get(kind, 0) for kind, count in line.packets.items()}
        line.loss = 0.0
        await load.ask_while(lambda: house.status()["outbox_pending"] > 0 or house.status()["state"] != "ok", 180)
        with capsys.disabled():
            sys.stderr.write(f"\n{json.dumps(load.figures() | {'packets while lossy': lossy})}\n")
        assert lossy["lost"] > 100  # the line was what it says
        assert load.failures == []
        assert load.longest < DEADLINE_SECONDS
        assert house.status()["outbox_dropped"] == 0
        logged = house.logged()
        assert {name for name, times in logged.items() if times != 1} == set()
        assert set(logged) == load.owed
