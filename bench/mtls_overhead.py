"""What does mutual TLS cost an answer? Local ones, and escalated ones on a kept channel.

Two agents and two gateways run as processes of their own, one pair with mutual TLS and one in plain text; queries go to
both in turn, so that whatever else the machine does meets both. An escalated answer passes the whole gateway (its
teacher answers at once): draw, record into the spool, answer. A local one is kept by a student of one layer. Told are
medians on the clock, the median over the pairs of one answer by the other, and what agent and gateway take of the
processor for an answer.

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
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.gateway import actor
from cloud_worker.identity.authority import read_trust
from cloud_worker.identity.testing import PASSPHRASE, trusted_config
from cloud_worker.identity.tokens import Tokens
from cloud_worker.releases.first_release import publish_first_releases
from cloud_worker.releases.publisher import Publisher
from cloud_worker.state.store import Store
from cloud_worker.teachers.base import TeacherAnswer
from edge_agent.config import Config
from edge_agent.daemon import Daemon
from edge_agent.testing.cloud_simulator import CloudSimulator
from edge_agent.testing.tiny_releases import TASK, WORDS, tiny_release
from router.client.blocking_client import Client
from router.core.domain.task import Task

WAIT_SECONDS = 60.0
KINDS = ("plain", "tls")
HOME = Task("home", reference="big")


def measured(queries: int) -> dict[str, Any]:
    """Medians in milliseconds, and their ratios, over so many queries of each kind."""
    figures: dict[str, Any] = {"queries": queries}
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        folder = Path(name)
        asyncio.run(_install(folder / "installed"))
        with Processes() as processes:
            for what, text in (("escalated", "anything"), ("local", next(iter(WORDS)))):
                agents = {
                    kind: agent_and_gateway(processes, folder / what / kind, kind, folder, what) for kind in KINDS
                }
                figures |= _compare(what, agents, text, queries)
    return figures


def _compare(what: str, agents: dict[str, tuple[int, ...]], text: str, queries: int) -> dict[str, float]:
    times: dict[str, list[float]] = {kind: [] for kind in KINDS}
    clients = {kind: Client(f"127.0.0.1:{port}", insecure=True, deadline=30.0) for kind, (port, *_) in agents.items()}
    for client in clients.values():
        for _ in range(20):
            client.ask(text, HOME.name)
    before = {kind: _cpu_seconds(agents[kind][1:]) for kind in KINDS}
    for turn in range(queries):
        for kind in KINDS if turn % 2 else reversed(KINDS):
            began = time.perf_counter()
            answer = clients[kind].ask(text, HOME.name)
            times[kind].append((time.perf_counter() - began) * 1000)
            tier = "device" if what == "local" else "cluster"
            assert answer.provenance.tier.value == tier, answer.provenance
    cpu = {kind: 1000 * (_cpu_seconds(agents[kind][1:]) - before[kind]) / queries for kind in KINDS}
    for client in clients.values():
        client.close()
    plain, tls = (statistics.median(times[kind]) for kind in KINDS)
    return {
        f"{what}_plain_ms": round(plain, 3),
        f"{what}_tls_ms": round(tls, 3),
        f"{what}_ratio": round(tls / plain, 3),
        f"{what}_paired_ratio": round(statistics.median(map(operator.truediv, times["tls"], times["plain"])), 3),
        f"{what}_plain_cpu_ms": round(cpu["plain"], 3),
        f"{what}_tls_cpu_ms": round(cpu["tls"], 3),
        f"{what}_cpu_ratio": round(cpu["tls"] / cpu["plain"], 3),
    }


def _cpu_seconds(pids: Sequence[int]) -> float:
    """What processes have taken of the processor, in seconds."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def agent_and_gateway(processes: Processes, folder: Path, kind: str, whole: Path, what: str) -> tuple[int, ...]:
    """The port of an agent, its process and its gateway's; it escalates everything, or is alone with a student."""
    gateway = folder / "cloud"
    gateway.mkdir(parents=True)
    config = trusted_config(gateway, tasks=(HOME,))
    store = Store(config.store_url)
    store.declare_tasks(config.tasks)
    publish_first_releases(config.tasks, store, Publisher(config.releases_folder))
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
    if kind == "tls":
        root = read_trust(config.ca_folder).root_sha256
        token = Tokens(store.engine).create("kitchen", {}, root, "bench", time.time(), 3600)
        enrol = ("enroll", "--cloud", f"127.0.0.1:{told['enrolment']}", "--token", token)
        subprocess.run([*edge, *enrol, "-c", str(folder / "agent.toml")], check=True, capture_output=True)
    plain = () if kind == "tls" else ("--insecure",)
    processes.start(*edge, "run", "-c", str(folder / "agent.toml"), *plain)
    agent = told_in(data / "run" / "agent.json")
    return agent["port"], agent["pid"], told["pid"]


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
    until = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < until:
        try:
            return dict(json.loads(path.read_bytes()))
        except (OSError, ValueError):
            time.sleep(0.05)
    raise TimeoutError(f"{path} was not written")


async def _answers(questions: Sequence[Any]) -> AsyncIterator[list[tuple[int, TeacherAnswer]]]:
    yield [(place, TeacherAnswer("lights", "v1")) for place, _ in enumerate(questions)]


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
