"""How long does a bad release live in a fleet, and how many devices ever run it?

Simulated agents report over gRPC to a real Fleet service, while the loop that leads rollouts looks at them every second
as in a cluster. A release is certified that makes agents crash, answers slowly or is refused; told are, of each fault,
how many devices ever ran it, and the seconds from the first order until the rollout was halted and until all devices
ran the former release again. A good release beside them shows how long the steps themselves take.

    python -m bench.bad_release --devices 50 --sync-seconds 1
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cloud_worker.config.cloud import CloudConfig, read_config
from cloud_worker.config.testing import cloud_toml
from cloud_worker.fleet.rollouts.store import Rollout, Rollouts
from cloud_worker.fleet.service import FleetServicer
from cloud_worker.refresh.actor import ROLLOUT_SECONDS
from cloud_worker.refresh.parts import RefreshParts
from cloud_worker.releases.first_release import publish_first_releases
from cloud_worker.state.lineages import Lineages
from cloud_worker.state.states import ReleaseState
from cloud_worker.state.store import ReleaseRow
from cloud_worker.testing import EdgeSimulator, edge
from edge_agent.testing.tiny_releases import WORDS, tiny_release
from router.core.certification.certificate_validity import content_of
from router.core.release.orders import Watch
from router.core.release.reports import DeviceReport, TaskReport
from router.core.release.rollout import RolloutState
from router.core.statistics.e_process import Certificate, attempt_alpha
from router.transport.server import Door
from router.v1 import fleet_pb2_grpc

FAULTS = ("refused", "crashing", "slow", "none")
BAD = 1
ANSWERS = 40  # of each device between two reports
_CONFIG = cloud_toml("""[fleet]
sync_seconds = {sync}
[rollout]
step_seconds = {step}
""")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure each fault and print one JSON object last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=50)
    parser.add_argument("--sync-seconds", type=float, default=1.0)
    parser.add_argument("--step-seconds", type=float, default=2.0)
    parser.add_argument("--faults", default=",".join(FAULTS))
    chosen = parser.parse_args(arguments)
    found = []
    for fault in chosen.faults.split(","):
        found.append(asyncio.run(_measure(fault, chosen.devices, chosen.sync_seconds, chosen.step_seconds)))
        print(found[-1], file=sys.stderr)
    print(json.dumps({"devices": chosen.devices, "sync_seconds": chosen.sync_seconds, "faults": found}))


@dataclass
class Fleet:
    """The devices, and when each ran what.

    Attributes:
        fault: Of the bad release.
        runs: The release of each device.
        contents: The content that each release has.
        had: Devices that ran the bad release, or refused it.
        first: When the first device was told of it, by the monotonic clock; 0 before.
        interval: Seconds between two reports of a device.
    """

    fault: str
    runs: dict[str, int]
    contents: dict[int, int]
    interval: float
    had: set[str] = field(default_factory=set)
    first: float = 0.0


async def _measure(fault: str, devices: int, sync: float, step: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        config = _prepare(Path(name), sync, step)
        parts = RefreshParts.of(config)
        parts.store.declare_tasks(config.tasks)
        publish_first_releases(config.tasks, parts.store, parts.publisher)
        door = Door("127.0.0.1:0", insecure=True)
        servicer = FleetServicer(parts.store, config.fleet, True, config.tasks, publisher=parts.publisher)
        fleet_pb2_grpc.add_FleetServicer_to_server(servicer, door.server)
        target = f"127.0.0.1:{await door.start()}"
        fleet = Fleet(fault, {f"device-{number}": 0 for number in range(devices)}, {0: 0, BAD: BAD}, sync)
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
            simulators = [await stack.enter_async_context(edge(target, device)) for device in fleet.runs]
            ready = [asyncio.Event() for _ in simulators]
            agents = [group.create_task(_live(one, fleet, event)) for one, event in zip(simulators, ready, strict=True)]
            for event in ready:
                await event.wait()
            _certify(parts, config)
            told = await _lead(parts, fleet)
            for agent in agents:
                agent.cancel()
        await door.stop(0.1)
        return told


async def _lead(parts: RefreshParts, fleet: Fleet) -> dict[str, Any]:
    """Look at the rollout as the actor does, until it has ended and all devices run what serves."""
    halted = 0.0
    while True:
        await asyncio.to_thread(parts.rollouts.step, time.time())
        rollout, champion = _rollout(parts), parts.store.champion("home")
        fleet.contents[champion] = content_of(parts.publisher.manifest("home", champion))
        now = time.monotonic()
        halted = halted or (now if rollout.state in {RolloutState.HALTED, RolloutState.ROLLED_BACK} else 0.0)
        if rollout.ended is not None and set(fleet.runs.values()) == {champion}:
            return {
                "fault": fleet.fault,
                "ended": rollout.state.value,
                "step": rollout.step,
                "devices_that_had_it": len(fleet.had),
                "seconds_to_halt": round(halted - fleet.first, 1) if halted else None,
                "seconds_to_all": round(now - fleet.first, 1),
                "content_of_all": fleet.contents[champion],
                "why": rollout.why,
            }
        await asyncio.sleep(ROLLOUT_SECONDS)


async def _live(device: EdgeSimulator, fleet: Fleet, ready: asyncio.Event) -> None:
    """Report, and do what is told, until cancelled."""
    life, healthy, answered = 0, 0, 0
    refused: tuple[tuple[int, str], ...] = ()
    while True:
        runs = fleet.runs[device.device]
        is_bad = fleet.contents.get(runs) == BAD
        crashes = is_bad and fleet.fault == "crashing"
        life, healthy = (life + 1, 0) if crashes else (life, healthy + ANSWERS)
        answered = 0 if crashes else answered + ANSWERS
        task = TaskReport("home", runs, answered=answered, kept=answered, healthy_answers=healthy, refused=refused)
        task = replace(task, p95_milliseconds=400.0 if is_bad and fleet.fault == "slow" else 4.0)
        orders = await device.sync(DeviceReport(device.device, tasks=(task,), life=f"{device.device}-{life}"), 60.0)
        [order] = orders.tasks
        if order.release != runs:
            is_bad = order.release == BAD
            fleet.first = fleet.first or (time.monotonic() if is_bad else 0.0)
            fleet.had |= {device.device} if is_bad else set()
            if is_bad and fleet.fault == "refused":
                refused = ((BAD, "its golden inputs answer otherwise"),)
            else:
                fleet.runs[device.device], healthy = order.release, 0
        ready.set()
        await asyncio.sleep(orders.interval_seconds)


def _prepare(folder: Path, sync: float, step: float) -> CloudConfig:
    (folder / "answers.jsonl").write_text('{"text": "lamp", "label": "lights"}\n')
    path = folder / "cloud.toml"
    path.write_text(_CONFIG.format(sync=sync, step=step))
    config = read_config(path)
    config.data.mkdir()
    return config


def _certify(parts: RefreshParts, config: CloudConfig) -> None:
    """Let a release serve as the refresher does once it is certified."""
    task, store = config.task("home"), parts.store
    alpha = attempt_alpha(task.at_device.assurance, 1)
    proof = Certificate(task.at_device.max_disagreement, alpha, 412, 1, 9.0, attempt=1)
    manifest, files = tiny_release(task, BAD, WORDS)
    digest = parts.publisher.publish(replace(manifest, certificate=proof, judged_by=task.judge.value), files)
    store.add_release(ReleaseRow("home", BAD, ReleaseState.BUILDING, digest, 1.0))
    Lineages(store.engine).hold_judge(task, task.judge.value)
    parts.opening.of_certified("home", BAD)
    store.promote("home", BAD, digest, watch=Watch.QUIET, exploration=task.exploration.floor)


def _rollout(parts: RefreshParts) -> Rollout:
    return Rollouts(parts.store.engine).history("home")[-1]


if __name__ == "__main__":
    main()
