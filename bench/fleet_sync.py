"""What do many agents that report cost one gateway?

A Fleet service runs in a process of its own, over a store in SQLite. Agents report by their interval, spread over it,
all open at once as a fleet is: a late answer delays no other report. Told are the times of ``Sync`` in ms, and the
reports that got no answer within the time that an agent waits, and of the gateway's process the CPU seconds a second
per 1,000 agents and the memory per agent that came after the start. ``kept_up`` says whether all were answered.

    python -m bench.fleet_sync --agents 5000 --seconds 60
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import resource
import secrets
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from grpc import RpcError
from sqlalchemy import insert

from bench.fleet_size import prepare, said_by
from cloud_worker.config.cloud import read_config
from cloud_worker.fleet.service import FleetServicer
from cloud_worker.releases.publisher import Publisher
from cloud_worker.state import tallies
from cloud_worker.state.schema import DEVICES
from cloud_worker.state.store import Store
from edge_agent.upstream.target import SYNC_SECONDS
from router.core.policy.exploration import SEED_BYTES
from router.transport.channel import open_channel
from router.transport.fleet_wire import report_to_proto
from router.transport.server import Door
from router.transport.telemetry_names import META_DEVICE
from router.v1 import fleet_pb2_grpc

CHANNELS = 8  # that the agents share: what is measured is reports, not handshakes


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, default=5000)
    parser.add_argument("--tasks", type=int, default=3)
    parser.add_argument("--interval", type=float, default=10.0, help="seconds between two reports of an agent")
    parser.add_argument("--seconds", type=float, default=60.0)
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        path = prepare(Path(name), 0, chosen.tasks)
        _join(path, chosen.agents)
        context = multiprocessing.get_context("spawn")
        said, ending = context.Queue(), context.Event()
        gateway = context.Process(target=_serve, args=(path, said, ending))
        gateway.start()
        port = said.get()
        milliseconds, failed, seconds = asyncio.run(_ask(port, chosen))
        ending.set()
        cpu, grown = said.get()
        gateway.join()
    ordered = sorted(milliseconds) or [0.0]
    found = {
        "agents": chosen.agents,
        "tasks": chosen.tasks,
        "interval_seconds": chosen.interval,
        "sync_ms": {str(share): round(ordered[int(share * (len(ordered) - 1))], 1) for share in (0.5, 0.95, 0.99)},
        "answered": len(milliseconds),
        "unanswered": failed,
        "kept_up": not failed,
        "answered_per_second": round(len(milliseconds) / seconds, 1),
        "cpu_share_per_1000_agents": round(cpu / seconds / chosen.agents * 1000, 3),
        "kib_per_agent": round(grown / chosen.agents, 2),
    }
    print(json.dumps(found))


def _join(path: Path, agents: int) -> None:
    """Let all agents be known, as they are after their first report."""
    now = time.time()
    known = [{"id": f"device-{agent}", "seed": secrets.token_bytes(SEED_BYTES)} for agent in range(agents)]
    with Store(read_config(path).store_url).engine.begin() as connection:
        connection.execute(insert(DEVICES), [{**one, "first_seen": now, "last_seen": now} for one in known])
        for one in known:
            tallies.meet(connection, str(one["id"]), now)


async def _ask(port: int, chosen: Any) -> tuple[list[float], int, float]:
    """Milliseconds of each answer, how many reports got none, and how many seconds it all took."""
    channels = [open_channel(f"127.0.0.1:{port}", insecure=True) for _ in range(CHANNELS)]
    stubs = [fleet_pb2_grpc.FleetStub(channel) for channel in channels]
    milliseconds: list[float] = []
    failed = 0

    async def live(agent: int, until: float) -> None:
        nonlocal failed
        due, report = began + chosen.interval * agent / chosen.agents, 0
        while due < until:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            report += 1
            request = report_to_proto(said_by(agent, chosen.tasks, 1000 + report))
            started = time.perf_counter()
            try:
                metadata = ((META_DEVICE, f"device-{agent}"),)
                await stubs[agent % CHANNELS].Sync(request, metadata=metadata, timeout=SYNC_SECONDS)
                milliseconds.append(1000 * (time.perf_counter() - started))
            except RpcError:
                failed += 1
            due += chosen.interval

    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for agent in range(chosen.agents):
            group.create_task(live(agent, began + chosen.seconds))
    seconds = time.monotonic() - began
    for channel in channels:
        await channel.close(None)
    return milliseconds, failed, seconds


def _serve(path: Path, said: Any, ending: Any) -> None:
    """A gateway's Fleet service; says its port, and in the end its CPU seconds and the KiB that it grew by."""
    config = read_config(path)

    async def serve() -> None:
        door = Door("127.0.0.1:0", insecure=True)
        publisher = Publisher(config.releases_folder)
        servicer = FleetServicer(Store(config.store_url), config.fleet, True, config.tasks, publisher=publisher)
        fleet_pb2_grpc.add_FleetServicer_to_server(servicer, door.server)
        port = await door.start()
        before = resource.getrusage(resource.RUSAGE_SELF)
        said.put(port)
        await asyncio.to_thread(ending.wait)
        after = resource.getrusage(resource.RUSAGE_SELF)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        said.put((spent, after.ru_maxrss - before.ru_maxrss))
        await door.stop(0.1)

    asyncio.run(serve())


if __name__ == "__main__":
    main()
