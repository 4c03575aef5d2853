"""What do mutual TLS and signed releases cost? A local answer, an escalated one on a kept channel, and a report.

Two agents and two gateways run as processes of their own: one pair with mutual TLS, releases signed and believed by TUF
alone, and one in plain text with none of it. Queries go to both in turn, so that whatever else the machine does meets
both. An escalated answer passes the whole gateway (its teacher answers at once): draw, record into the spool, answer. A
local one is kept by a student of one layer. A report is the device's own ``Sync``, sent once the gateway's pause
between two groups of reports is over. Told are medians on the clock, the median over the pairs of one by the other, and
what agent and gateway take of the processor for each.

    python -m bench.mtls_overhead --queries 400
"""

from __future__ import annotations

import argparse
import asyncio
import json
import operator
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.fleet.report_groups import GROUP_SECONDS
from cloud_worker.gateway import actor
from cloud_worker.identity.authority import read_trust
from cloud_worker.identity.testing import PASSPHRASE, trusted_config
from cloud_worker.identity.tokens import Tokens
from cloud_worker.releases.first_release import publish_first_releases
from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.repository.testing import make_repository
from cloud_worker.state.store import Store
from cloud_worker.teachers.base import TeacherAnswer
from edge_agent.config import Config
from edge_agent.daemon import Daemon
from edge_agent.identity.files import IdentityFolder
from edge_agent.identity.status_file import read_status
from edge_agent.testing.cloud_simulator import CloudSimulator
from edge_agent.testing.tiny_releases import TASK, WORDS, tiny_release
from router.client.blocking_client import Client
from router.core.domain.task import Task
from router.core.release.reports import DeviceReport, TaskReport
from router.identity.bundle import read_bundle
from router.transport.channel import open_sync_channel
from router.transport.fleet_wire import report_to_proto
from router.transport.telemetry_names import META_DEVICE
from router.v1 import fleet_pb2_grpc

WAIT_SECONDS = 60.0
KINDS = ("plain", "secure")
HOME = Task("home", reference="big")


@dataclass(frozen=True)
class Pair:
    """An agent and its gateway.

    Attributes:
        port: Of the agent.
        gateway: Port of the gateway.
        pids: Their processes, the agent's first.
        data: The agent's data folder.
    """

    port: int
    gateway: int
    pids: tuple[int, int]
    data: Path


def measured(queries: int) -> dict[str, Any]:
    """Medians in milliseconds, and their ratios, over so many of each kind."""
    figures: dict[str, Any] = {"queries": queries}
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        folder = Path(name)
        asyncio.run(_install(folder / "installed"))
        with Processes() as processes:
            for what, text in (("escalated", "anything"), ("local", next(iter(WORDS)))):
                pairs = {kind: agent_and_gateway(processes, folder / what / kind, kind, folder, what) for kind in KINDS}
                figures |= _compare_answers(what, pairs, text, queries)
                if what == "escalated":
                    assert [_are_signed(pairs[kind].data) for kind in KINDS] == [False, True]
                    figures |= _compare_reports(pairs, queries // 4)
    return figures


def _compare_answers(what: str, pairs: dict[str, Pair], text: str, queries: int) -> dict[str, float]:
    clients = {kind: Client(f"127.0.0.1:{pair.port}", insecure=True, deadline=30.0) for kind, pair in pairs.items()}
    tier = "device" if what == "local" else "cluster"

    def ask(kind: str) -> float:
        began = time.perf_counter()
        answer = clients[kind].ask(text, HOME.name)
        assert answer.provenance.tier.value == tier, answer.provenance
        return time.perf_counter() - began

    found = _compare(what, ask, {kind: pair.pids for kind, pair in pairs.items()}, queries)
    for client in clients.values():
        client.close()
    return found


def _compare_reports(pairs: dict[str, Pair], reports: int) -> dict[str, float]:
    """Report as the agent does, over a channel of its identity."""

    def channel_of(kind: str) -> grpc.Channel:
        target = f"127.0.0.1:{pairs[kind].gateway}"
        if kind == "plain":
            return open_sync_channel(target, insecure=True)
        return open_sync_channel(target, identity=read_bundle(IdentityFolder(pairs[kind].data).path))

    channels = {kind: channel_of(kind) for kind in KINDS}
    stubs = {kind: fleet_pb2_grpc.FleetStub(channel) for kind, channel in channels.items()}
    request = report_to_proto(DeviceReport("kitchen", tasks=(TaskReport(HOME.name),)))

    def report(kind: str) -> float:
        time.sleep(1.2 * GROUP_SECONDS)
        began = time.perf_counter()
        assert stubs[kind].Sync(request, metadata=((META_DEVICE, "kitchen"),), timeout=WAIT_SECONDS).tasks
        return time.perf_counter() - began

    found = _compare("sync", report, {kind: pair.pids[1:] for kind, pair in pairs.items()}, reports)
    for channel in channels.values():
        channel.close()
    return found


def _compare(what: str, do: Callable[[str], float], pids: Mapping[str, Sequence[int]], times: int) -> dict[str, float]:
    """Do it with both kinds in turn, so many times; ``do`` gives seconds."""
    taken: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(20):
        for kind in KINDS:
            do(kind)
    before = {kind: _cpu_seconds(pids[kind]) for kind in KINDS}
    for turn in range(times):
        for kind in KINDS if turn % 2 else reversed(KINDS):
            taken[kind].append(1000 * do(kind))
    cpu = {kind: 1000 * (_cpu_seconds(pids[kind]) - before[kind]) / times for kind in KINDS}
    plain, secure = (statistics.median(taken[kind]) for kind in KINDS)
    return {
        f"{what}_plain_ms": round(plain, 3),
        f"{what}_secure_ms": round(secure, 3),
        f"{what}_ratio": round(secure / plain, 3),
        f"{what}_paired_ratio": round(statistics.median(map(operator.truediv, taken["secure"], taken["plain"])), 3),
        f"{what}_plain_cpu_ms": round(cpu["plain"], 3),
        f"{what}_secure_cpu_ms": round(cpu["secure"], 3),
        f"{what}_cpu_ratio": round(cpu["secure"] / max(cpu["plain"], 1e-9), 3),
    }


def _are_signed(data: Path) -> bool:
    """Whether the agent takes signed releases alone; then it has verified what serves."""
    status = _waited_for(lambda: read_status(data))
    if status["signed"]:
        _waited_for((data / "repository" / "metadata" / "timestamp.json").is_file)
    return bool(status["signed"])


def _waited_for(look: Callable[[], Any]) -> Any:
    until = time.monotonic() + WAIT_SECONDS
    while not (found := look()):
        if time.monotonic() > until:
            raise TimeoutError("a daemon has not told in time what it was to tell")
        time.sleep(0.05)
    return found


def _cpu_seconds(pids: Sequence[int]) -> float:
    """What processes have taken of the processor, in seconds."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def agent_and_gateway(processes: Processes, folder: Path, kind: str, whole: Path, what: str) -> Pair:
    """An agent that escalates everything, or is alone with a student, and its gateway."""
    gateway = folder / "cloud"
    gateway.mkdir(parents=True)
    config = trusted_config(gateway, tasks=(HOME,))
    store = Store(config.store_url)
    store.declare_tasks(config.tasks)
    publish_first_releases(config.tasks, store, Publisher(config.releases_folder))
    if kind == "secure":
        make_repository(config)
    processes.start(sys.executable, "-m", "bench.mtls_overhead", "--gateway", str(gateway), "--kind", kind)
    told = told_in(config.run_folder / "gateway-0.json")
    port = told["port"] if what == "escalated" else 1
    data = folder / "device"
    if what == "local":
        shutil.copytree(whole / "installed", data)
    (folder / "agent.toml").write_text(
        f'device = "kitchen"\ndata = "device"\ndoor.listen = "127.0.0.1:0"\nupstream.target = "127.0.0.1:{port}"\n'
    )
    edge = (sys.executable, "-m", "edge_agent.cli")
    if kind == "secure":
        root = read_trust(config.ca_folder).root_sha256
        token = Tokens(store.engine).create("kitchen", {}, root, "bench", time.time(), 3600)
        enrol = ("enroll", "--cloud", f"127.0.0.1:{told['enrolment']}", "--token", token)
        subprocess.run([*edge, *enrol, "-c", str(folder / "agent.toml")], check=True, capture_output=True)
    plain = () if kind == "secure" else ("--insecure",)
    processes.start(*edge, "run", "-c", str(folder / "agent.toml"), *plain)
    agent = told_in(data / "run" / "agent.json")
    return Pair(agent["port"], told["port"], (agent["pid"], told["pid"]), data)


async def _install(data: Path) -> None:
    """Leave a data folder in which a student is in place."""
    cloud = CloudSimulator(lambda text: "unknown")
    await cloud.start()
    manifest, files = tiny_release(TASK, 1, WORDS)
    cloud.publish(manifest, files)
    upstream = {"target": cloud.target}
    daemon = Daemon(
        Config(device="kitchen", data=data, door={"listen": "127.0.0.1:0"}, upstream=upstream), insecure=True
    )
    stop = asyncio.Event()
    running = asyncio.create_task(daemon.run(stop))
    await cloud.until_active(manifest.number)
    stop.set()
    await running
    await cloud.stop()


def told_in(path: Path) -> dict[str, int]:
    """What a daemon has written of itself, as soon as it has."""

    def read() -> dict[str, int] | None:
        try:
            return dict(json.loads(path.read_bytes()))
        except (OSError, ValueError):
            return None

    return dict(_waited_for(read))


async def _answers(questions: Sequence[Any]) -> AsyncIterator[list[tuple[int, TeacherAnswer]]]:
    yield [(position, TeacherAnswer("lights", "v1")) for position, _ in enumerate(questions)]


async def _serve(folder: Path, kind: str) -> None:
    """A whole gateway, but for its teacher."""
    config = _config_in(folder)
    gateway = actor.Gateway(config, actor.GATEWAY, kind == "plain", lambda name: _answers)
    await gateway.port()
    await asyncio.Event().wait()


def _config_in(folder: Path) -> CloudConfig:
    """As ``trusted_config`` made it, without making the authority again."""
    made = CloudConfig(
        data=folder / "data",
        door={"listen": "127.0.0.1:0"},
        identity={"listen": "127.0.0.1:0", "passphrase_file": folder / "issuing.txt"},
        teachers=({"name": "big", "kind": "recorded", "answers": str(folder / "answers.jsonl")},),
        tasks=(HOME,),
    )
    assert (folder / "issuing.txt").read_bytes() == PASSPHRASE
    return made


class Processes:
    """Processes that end with the context."""

    def __enter__(self) -> Processes:
        self._started: list[subprocess.Popen[bytes]] = []
        return self

    def start(self, *command: str) -> None:
        """Start one, without its words."""
        self._started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    def __exit__(self, *_: object) -> None:
        for process in self._started:
            process.terminate()
        for process in self._started:
            process.wait(30)


def main() -> None:
    """Measure, and print the figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=400, help="queries of each kind")
    parser.add_argument("--gateway", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--kind", choices=KINDS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.gateway is not None:
        asyncio.run(_serve(options.gateway, options.kind))
        return
    print(json.dumps(measured(options.queries)))


if __name__ == "__main__":
    main()
