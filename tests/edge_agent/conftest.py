"""A cloud in memory, and agents before it: in this process, or as a process of their own."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sqlite3
import sys
import time

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from edge_agent.config import Config
from edge_agent.daemon import Daemon
from edge_agent.identity import status_writer
from edge_agent.identity.status_file import read_status
from edge_agent.testing.cloud_simulator import CloudSimulator
from edge_agent.testing.tiny_releases import TASK, WORDS, empty_release, tiny_release
from router.core.domain.query import Query
from router.transport.channel import open_channel
from router.transport.wire import answer_from_proto, query_to_proto
from router.v1 import cascade_pb2_grpc

ANSWERS = {**WORDS, "novel": "lights", "odd": "music"}


class Harness:
    """An agent in this process, its cloud, and a caller; ``running`` is the agent's task while it runs."""

    def __init__(self, folder, cloud):
        self.folder = folder
        self.cloud = cloud
        self._stop = asyncio.Event()
        self.running = None
        self.channel = None
        self.workers = 1

    async def start(self, servers=(), door=(), target=None, others=(), releases=(), privacy=(), **outbox):
        config = Config(
            device="device-1",
            data=self.folder,
            workers=self.workers,
            door={"listen": "127.0.0.1:0", **dict(door)},
            upstream={"target": target or self.cloud.target, "others": others},
            outbox=outbox,
            privacy=dict(privacy),
            servers=servers,
            releases=dict(releases),
        )
        self.daemon = Daemon(config, insecure=True)
        self._stop.clear()
        self.running = asyncio.create_task(self.daemon.run(self._stop))
        async with asyncio.timeout(120):
            await self.daemon.opened.wait()
        self.channel = open_channel(f"127.0.0.1:{self.daemon.port}", insecure=True, attempts=1)
        return self

    async def start_installed(self, release, kept, servers=()):
        """Start with a release in place: the first that asks installs it, the others get a copy of what that left.

        Args:
            release: Its manifest and files.
            kept: Where the copy lies.
            servers: As in the configuration.
        """
        self.cloud.publish(*release)
        tasks = self.folder / "tasks"
        if kept.is_dir():
            shutil.copytree(kept, tasks)
        await self.start(servers)
        await self.until_serving()
        await self.cloud.until_active(release[0].number, 60)
        if not kept.is_dir():
            shutil.copytree(tasks, kept)
        return self

    async def until_serving(self, seconds=60):
        """Wait until health says that what is committed is opened."""
        watch = health_pb2_grpc.HealthStub(self.channel).Watch(
            health_pb2.HealthCheckRequest(service="headrace.v1.Cascade"), timeout=seconds
        )
        async for response in watch:
            if response.status == health_pb2.HealthCheckResponse.SERVING:
                break
        watch.cancel()

    async def stop(self):
        if self.running is not None:
            await self.channel.close(None)
            self._stop.set()
            await asyncio.wait_for(self.running, 120)
            self.running = None

    async def ask(self, text, *, seconds=10.0, metadata=(), query_id="", **fields):
        query = Query(query_id, fields.pop("task", "home"), text, **fields)
        stub = cascade_pb2_grpc.CascadeStub(self.channel)
        response = await stub.Answer(
            query_to_proto(query), timeout=seconds or None, wait_for_ready=True, metadata=tuple(metadata)
        )
        return answer_from_proto(response)

    def report(self):
        (task,) = self.daemon.report().tasks
        return task

    async def status(self, holds=lambda said: True):
        """What the status file says, once ``holds`` of it; see ``prompt_status``."""
        async with asyncio.timeout(120):
            while not ((said := read_status(self.folder)) and holds(said)):  # noqa: ASYNC110 - a file
                await asyncio.sleep(0.02)
        return said


@pytest.fixture
async def cloud():
    simulator = CloudSimulator(lambda text: ANSWERS.get(text.split()[0], "unknown"))
    await simulator.start()
    yield simulator
    await simulator.stop()


@pytest.fixture
async def harness(tmp_path, cloud):
    made = Harness(tmp_path / "device", cloud)
    yield made
    await made.stop()


@pytest.fixture
def prompt_status(monkeypatch):
    """Status files are written every moment."""
    monkeypatch.setattr(status_writer, "CHECK_SECONDS", 0.05)
    monkeypatch.setattr(status_writer, "FRESH_SECONDS", 0.0)


@pytest.fixture
async def cold(harness, cloud):
    """An agent without a student."""
    cloud.publish(empty_release(TASK), {}, exploration=1.0)
    await harness.start()
    await cloud.until_active(0)
    await cloud.until(lambda: harness.daemon.tasks.get("home").serving is not None)
    return harness


@pytest.fixture(scope="session")
def kept(tmp_path_factory):
    """Where releases lie that were installed once, for ``start_installed``."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
async def warm(harness, kept):
    """An agent with a student that knows single words."""
    return await harness.start_installed(tiny_release(TASK, 1, WORDS), kept / "words")


class SlowLine:
    """A line between device and cloud: so many bytes a second each way, for all connections together, with a buffer."""

    BUFFER_BYTES, SEGMENT_BYTES = 64 * 1024, 2 * 1024

    def __init__(self, target, rate):
        self._host, _, port = target.rpartition(":")
        self._port, self._rate = int(port), rate
        self._lanes = [asyncio.Queue(self.BUFFER_BYTES // self.SEGMENT_BYTES) for _ in "ud"]
        self._tasks = set()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.target = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        for lane in self._lanes:
            self._spawn(self._drain(lane))
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for task in self._tasks:
            task.cancel()

    def _spawn(self, work):
        self._tasks.add(task := asyncio.create_task(work))
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, reader, writer):
        there, back = await asyncio.open_connection(self._host, self._port)
        self._spawn(self._read(reader, back, self._lanes[0]))
        self._spawn(self._read(there, writer, self._lanes[1]))

    async def _read(self, reader, writer, lane):
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(self.SEGMENT_BYTES):
                await lane.put((writer, data))
        await lane.put((writer, b""))

    async def _drain(self, lane):
        free_at = 0.0
        while True:
            writer, data = await lane.get()
            free_at = max(free_at, time.monotonic()) + len(data) / self._rate
            await asyncio.sleep(free_at - time.monotonic())
            with contextlib.suppress(ConnectionError):
                writer.write(data) if data else writer.close()


@pytest.fixture
def slow_line():
    return SlowLine


class EdgeProcess:
    """``headrace-edge run`` as a process."""

    def __init__(self, folder, target):
        self.folder = folder
        self.data = folder / "data"
        self.config = folder / "edge.toml"
        self.config.write_text(
            f'device = "device-1"\ndata = "data"\n[door]\nlisten = "127.0.0.1:0"\n[upstream]\ntarget = "{target}"\n'
        )
        self.becoming = ()  # a command before it, to be somebody else
        self.process = None

    async def start(self, *arguments):
        run_file = self.data / "run" / "agent.json"
        run_file.unlink(missing_ok=True)
        self.process = await asyncio.create_subprocess_exec(
            *self.becoming, sys.executable, "-m", "edge_agent.cli", "run",
            "--config", str(self.config), "--insecure", *arguments,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(120):
            while not run_file.exists():
                assert self.process.returncode is None
                await asyncio.sleep(0.01)
        self.channel = open_channel(f"127.0.0.1:{json.loads(run_file.read_text())['port']}", insecure=True, attempts=1)
        return self

    async def written(self, rows):
        """Return when this many queries lie in the outbox's file."""
        with contextlib.closing(sqlite3.connect(self.data / "outbox.sqlite")) as file:
            async with asyncio.timeout(120):
                while file.execute("SELECT count(*) FROM waiting").fetchone()[0] < rows:  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0.01)

    async def until_proven(self):
        """Return when no release of its tasks is on probation any more."""
        async with asyncio.timeout(120):
            while any(json.loads(one.read_bytes())["probation"] for one in self.committed()):  # noqa: ASYNC110 - a file
                await asyncio.sleep(0.01)

    def committed(self):
        """The files that say which release of a task is committed."""
        found = list(self.data.glob("tasks/*/active"))
        assert found
        return found

    async def kill(self):
        await self.end(signal.SIGKILL)

    async def stop(self):
        return await self.end(signal.SIGTERM)

    async def end(self, number):
        """Send a signal; returns what it has written to standard error."""
        if self.process is None:
            return ""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, number)
        _, said = await asyncio.wait_for(self.process.communicate(), 120)
        self.process = None
        await self.channel.close(None)
        return said.decode()

    ask = Harness.ask
    until_serving = Harness.until_serving


@pytest.fixture
async def edge(tmp_path, cloud):
    made = EdgeProcess(tmp_path, cloud.target)
    yield made
    await made.kill()
