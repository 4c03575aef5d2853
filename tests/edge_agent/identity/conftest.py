import asyncio

import pytest

from cloud_worker.gateway.testing import trusted_fleet
from edge_agent.config import Config
from edge_agent.daemon import Daemon
from edge_agent.identity.enrolling import enrol
from edge_agent.identity.files import IdentityFolder
from edge_agent.identity.status_file import read_status


@pytest.fixture
async def fleet(tmp_path):
    (tmp_path / "cloud").mkdir()
    async with trusted_fleet(tmp_path / "cloud") as fleet:
        yield fleet


class SecureAgent:
    """An agent of an enrolled device, in this process, and its fleet."""

    def __init__(self, folder, fleet):
        self.folder, self.fleet = folder, fleet
        self.identity = IdentityFolder(folder)
        self._stop, self._running = asyncio.Event(), None

    async def start(self, device="kitchen", target=None, others=(), workers=1, **door):
        if not self.identity.exists:
            await enrol(self.identity, self.fleet.enrolment, self.fleet.token(device))
        config = Config(
            device=device,
            data=self.folder,
            workers=workers,
            door={"listen": "127.0.0.1:0", **door},
            upstream={"target": target or self.fleet.target, "others": others},
        )
        self.daemon = Daemon(config, insecure=False)
        self._stop.clear()
        self._running = asyncio.create_task(self.daemon.run(self._stop))
        async with asyncio.timeout(120):
            await self.daemon.opened.wait()
        return self

    async def stop(self):
        if self._running is not None:
            self._stop.set()
            await asyncio.wait_for(self._running, 120)
            self._running = None

    async def until_state(self, *expected, seconds=60.0):
        """Wait until the agent says these states, in order, of itself; its status."""
        said = None
        async with asyncio.timeout(seconds):
            while said is None or tuple(one["state"] for one in said["states"]) != expected:
                said = await asyncio.to_thread(read_status, self.folder)
                await asyncio.sleep(0.05)
        return said

    async def until_ordered(self, task):
        """The task once the cloud has ordered a release of it; an agent says that it is well before it has asked."""
        async with asyncio.timeout(120):
            while (hosted := self.daemon.tasks.get(task)) is None or hosted.order is None:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        return hosted

    async def until_serving(self, task):
        """The task once its release is in place and the updater has said so."""
        hosted = await self.until_ordered(task)
        async with asyncio.timeout(60):
            while hosted.serving is None or hosted.staged:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        return hosted


@pytest.fixture
async def agent(tmp_path, fleet, monkeypatch):
    monkeypatch.setattr("edge_agent.identity.status_writer.CHECK_SECONDS", 0.05)
    monkeypatch.setattr("edge_agent.identity.renewal.CHECK_SECONDS", 0.1)
    made = SecureAgent(tmp_path / "device", fleet)
    yield made
    await made.stop()
