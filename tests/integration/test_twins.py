"""Two agents with one name, as processes with data folders of their own, before a real gateway's fleet service."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from types import SimpleNamespace

import pytest
from rich.console import Console

from cloud_worker.config.sections import Fleet
from cloud_worker.fleet.service import FleetServicer
from cloud_worker.fleet.twins import Incarnations
from cloud_worker.gateway.releases_service import ReleasesServicer
from cloud_worker.releases.first_release import publish_first_releases
from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.released_files import ReleasedFiles
from cloud_worker.reports.devices import show_devices
from cloud_worker.state.store import Store
from router.core.domain.task import Task
from router.transport.server import Door
from router.v1 import fleet_pb2_grpc, release_pb2_grpc

TASK = Task("home", reference="big")


@pytest.fixture
async def fleet(tmp_path):
    store, publisher = Store(f"sqlite:///{tmp_path / 'fleet.sqlite'}"), Publisher(tmp_path / "releases")
    store.declare_tasks([TASK])
    publish_first_releases([TASK], store, publisher)
    door = Door("127.0.0.1:0", insecure=True)
    servicer = FleetServicer(store, Fleet(sync_seconds=0.2), insecure=True, tasks=[TASK], publisher=publisher)
    fleet_pb2_grpc.add_FleetServicer_to_server(servicer, door.server)
    release_pb2_grpc.add_ReleasesServicer_to_server(ReleasesServicer(ReleasedFiles(publisher)), door.server)
    port = await door.start()
    yield SimpleNamespace(store=store, target=f"127.0.0.1:{port}", folder=tmp_path)
    await door.stop(0.1)


class Card:
    """One agent's process, on a folder of its own, with the name that every card has."""

    def __init__(self, fleet, name):
        self.folder = fleet.folder / name
        self.folder.mkdir()
        self.config = self.folder / "edge.toml"
        self.config.write_text(
            f'device = "kitchen"\ndata = "data"\n[door]\nlisten = "127.0.0.1:0"\n'
            f'[upstream]\ntarget = "{fleet.target}"\n'
        )

    async def __aenter__(self):
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "edge_agent.cli", "run", "--config", str(self.config), "--insecure", "--json",
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        return self

    async def __aexit__(self, *_):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGKILL)
        await self.process.wait()

    async def hears(self, words):
        """Until its log says so."""
        async with asyncio.timeout(120):
            while words not in (line := (await self.process.stderr.readline()).decode()):
                assert line, "the agent has ended"
        return json.loads(line)

    async def stop(self):
        """End in order; what it logged since."""
        os.kill(self.process.pid, signal.SIGTERM)
        _, said = await asyncio.wait_for(self.process.communicate(), 120)
        return said.decode()


async def until(holds):
    async with asyncio.timeout(120):
        while not holds():  # noqa: ASYNC110 - another process's state, and no event tells
            await asyncio.sleep(0.05)


def lives(fleet):
    with fleet.store.engine.connect() as connection:
        return connection.exec_driver_sql("SELECT count(*) FROM device_lives").scalar()


def report(fleet):
    return next((device.report for device in fleet.store.devices()), None)


async def test_two_agents_with_one_name_hear_it_both_and_everybody_is_told(fleet):
    async with Card(fleet, "one") as one, Card(fleet, "two") as two:
        for card in (one, two):
            heard = await card.hears("the cloud says")
            assert heard["level"] == "warning" and "give each device its own name" in heard["message"]
        await until(lambda: report(fleet).state == "twins")
        said = [await card.stop() for card in (one, two)]
        assert not any("the cloud says" in lines for lines in said)  # once is enough
    assert list(Incarnations(fleet.store.engine).spans()) == ["kitchen"]
    console = Console(record=True, width=200)
    device = {"device": "kitchen", "state": "twins", "said": "twins", "last_seen": 0.0, "tasks": []}
    show_devices(console, [device])
    assert "give each device its own name" in console.export_text()


async def test_an_agent_that_is_started_again_or_killed_is_no_twin(fleet):
    card = Card(fleet, "one")
    seen = set()
    for end in (Card.stop, Card.__aexit__, Card.stop):
        async with card:
            await until(lambda: report(fleet) is not None and report(fleet).life not in seen)
            seen.add(report(fleet).life)
            first = fleet.store.devices()[0].last_seen
            await until(lambda at=first: fleet.store.devices()[0].last_seen > at)
            await end(card)
    assert len(seen) == 3 and report(fleet).state == "ok" and lives(fleet) == 3
    assert Incarnations(fleet.store.engine).spans() == {}
