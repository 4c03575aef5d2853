"""``kill -9`` of an agent at any instant of an update: it always starts on a whole release that was signed."""

import asyncio
import contextlib
import hashlib
import json
import os
import random
import signal
import sys
from collections import Counter

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from edge_agent.tasks.hosted_task import PROVEN_ANSWERS
from edge_agent.testing.cloud_simulator import CloudSimulator
from edge_agent.testing.signed_repository import SignedRepository
from edge_agent.testing.tiny_releases import TASK, WORDS, tiny_release
from router.core.domain.query import Query, Tier
from router.core.release.manifest import digest
from router.core.release.orders import Order
from router.transport.channel import open_channel
from router.transport.wire import answer_from_proto, query_to_proto
from router.v1 import cascade_pb2_grpc

PADDING = 300_000  # bytes, so that a download takes a while
PHASES = ("before anything was kept", "downloading", "staged, not committed", "committed")


class Device:
    """``headrace-edge run`` as a process, with a root of the repository."""

    def __init__(self, folder, cloud, repository):
        self.data, self._config, self._process = folder / "data", folder / "edge.toml", None
        (folder / "root.json").write_bytes(repository.first_root)
        self._config.write_text(
            'device = "device-1"\ndata = "data"\n[door]\nlisten = "127.0.0.1:0"\n'
            f'[upstream]\ntarget = "{cloud.target}"\n[releases]\ntrusted_root = "root.json"\n'
        )

    async def start(self):
        run_file = self.data / "run" / "agent.json"
        run_file.unlink(missing_ok=True)
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "edge_agent.cli", "run", "--config", str(self._config), "--insecure"),
            stderr=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(240):
            while not run_file.exists():
                assert self._process.returncode is None
                await asyncio.sleep(0.01)
        port = json.loads(run_file.read_text())["port"]
        self._channel = open_channel(f"127.0.0.1:{port}", insecure=True, attempts=1)
        request = health_pb2.HealthCheckRequest(service="headrace.v1.Cascade")
        watch = health_pb2_grpc.HealthStub(self._channel).Watch(request, timeout=240)
        async for response in watch:
            if response.status == health_pb2.HealthCheckResponse.SERVING:
                break
        watch.cancel()

    async def kill(self):
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)
            await asyncio.wait_for(self._process.wait(), 120)
            await self._channel.close(None)
            self._process = None

    async def ask(self, text):
        stub = cascade_pb2_grpc.CascadeStub(self._channel)
        request = query_to_proto(Query("", "home", text))
        return answer_from_proto(await stub.Answer(request, timeout=60, wait_for_ready=True))

    def committed(self):
        """Number of the release that is committed, every byte of it compared here, and by this test's own code."""
        folder = self.data / "tasks" / "home"
        pointer = json.loads((folder / "active").read_bytes())
        manifest = (folder / pointer["slot"] / "manifest.json").read_bytes()
        assert hashlib.sha256(manifest).hexdigest() == pointer["manifest_sha256"]
        said = json.loads(manifest)
        for name, file in said["files"].items():
            content = (folder / pointer["slot"] / name).read_bytes()
            assert (len(content), hashlib.sha256(content).hexdigest()) == (file["size"], file["sha256"])
        return said["number"], pointer["manifest_sha256"]

    def is_staged(self, number):
        """Whether a release lies whole in a slot."""
        return self._slot_of(number) != ""

    def is_committed(self, number):
        """Whether that slot is the one that is committed."""
        slot = self._slot_of(number)
        return slot != "" and json.loads((self.data / "tasks" / "home" / "active").read_bytes())["slot"] == slot

    def _slot_of(self, number):
        for slot in "abc":
            with contextlib.suppress(OSError, ValueError):
                manifest = (self.data / "tasks" / "home" / slot / "manifest.json").read_bytes()
                if json.loads(manifest)["number"] == number:
                    return slot
        return ""

    def phase(self, number):
        """How far the update to a release had come."""
        folder = self.data / "tasks" / "home"
        if self.committed()[0] == number:
            return PHASES[3]
        if self.is_staged(number):
            return PHASES[2]
        padding = tiny_release(TASK, number, WORDS, padding=PADDING)[0].files["padding.bin"].sha256
        return PHASES[1] if (folder / "parts" / padding).exists() else PHASES[0]


@pytest.fixture
async def cloud():
    simulator = CloudSimulator(lambda text: "unknown")
    await simulator.start()
    yield simulator
    await simulator.stop()


def is_over(cloud, number):
    """Whether a device has installed a release, or refused it since it was killed too often with it on probation."""
    return any(task.active_release == number or number in dict(task.refused) for task in cloud.last_tasks())


async def kill_again_and_again(folder, cloud, rounds, seed):
    """Kill an agent once in each of so many updates; returns how far they had come."""
    repository, chance, signed, phases = SignedRepository(), random.Random(seed), {}, Counter()
    repository.sign_task(TASK)
    device = Device(folder, cloud, repository)
    cloud.faults.chunk_delay = 0.05

    def publish(number):
        manifest, files = tiny_release(TASK, number, WORDS, padding=PADDING)
        data = repository.sign_release(manifest, files)
        repository.publish()
        signed[digest(data)] = number
        cloud.files.put("", 0, repository.at_gateway())
        cloud.offer(Order("home", number, digest(data), 0.0, may_leave=True), {**files, "manifest.json": data})

    loop = asyncio.get_running_loop()
    publish(1)
    await device.start()
    await cloud.until_active(1, 90)
    began = loop.time()
    publish(2)
    await cloud.until_active(2, 90)
    takes = loop.time() - began
    try:
        for number in range(3, 3 + rounds):
            for _ in range(PROVEN_ANSWERS if chance.random() < 0.5 else 1):
                answer = await device.ask("light")
                assert (answer.text, answer.provenance.tier) == ("lights", Tier.DEVICE)
            publish(number)
            after, most = chance.choice([(None, takes), (device.is_staged, 0.7 * takes), (device.is_committed, 0.05)])
            async with asyncio.timeout(240):
                while after and not (after(number) or is_over(cloud, number)):  # noqa: ASYNC110 - files
                    await asyncio.sleep(0.001)
            await asyncio.sleep(chance.uniform(0, most))
            await device.kill()
            phases[device.phase(number)] += 1
            serves, sha256 = device.committed()
            assert signed[sha256] == serves
            await device.start()
            if chance.random() < 0.7:  # else the next release comes while this one is on its way
                await cloud.until(lambda: is_over(cloud, number), 90)  # noqa: B023 - used at once
            answer = await device.ask("light")
            assert (answer.text, answer.provenance.tier) == ("lights", Tier.DEVICE)
    finally:
        await device.kill()
    print(f"seed {seed}: {rounds} kills; an update takes {takes:.2f} s; {dict(phases)}")
    return phases


@pytest.mark.timeout(600)
async def test_an_agent_that_is_killed_while_it_updates_starts_on_a_whole_signed_release(tmp_path, cloud):
    await kill_again_and_again(tmp_path, cloud, 1, 1)


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_fifty_four_kills_at_random_instants_of_an_update(tmp_path, cloud):
    phases = await kill_again_and_again(tmp_path, cloud, 54, 7)
    assert all(phases[phase] for phase in PHASES)
