"""What does a fleet cost the cloud by its size?

Devices report all the time while a refresher looks for work in another process, and then somebody asks for ``status``.
Told of each size: one report in milliseconds (median, with the fleet's limit that every answer has to know), the share
of a core that an idle refresher takes, the largest write-ahead log, and the seconds of one ``status``, on the clock and
of CPU.

    python -m bench.fleet_size --devices 20,200,2000 --tasks 50 --seconds 30
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cloud_worker.config.cloud import CloudConfig, read_config
from cloud_worker.fleet.service import FleetServicer
from cloud_worker.refresh.refresher import RefreshLoop
from cloud_worker.releases.first_release import publish_first_releases
from cloud_worker.releases.publisher import Publisher
from cloud_worker.state.database.wal_checkpoints import Checkpoints
from cloud_worker.state.states import ReleaseState
from cloud_worker.state.store import ReleaseRow, Store
from router.core.release.reports import DeviceReport, TaskReport
from router.transport import telemetry_names
from router.transport.channel import open_channel
from router.transport.fleet_wire import report_to_proto
from router.transport.server import Door
from router.v1 import fleet_pb2_grpc

_CONFIG = """
data = "data"
[[teachers]]
name = "big"
kind = "recorded"
answers = "answers.jsonl"
"""
_TASK = """
[[tasks]]
name = "task-{position:02}"
reference = "big"
[tasks.budget]
queries_per_day = 1000000
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure each size and print one JSON object last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", default="20,200,2000", help="sizes of the fleet")
    parser.add_argument("--tasks", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=30.0, help="of reports for each size")
    chosen = parser.parse_args(arguments)
    found = [_measure(int(size), chosen.tasks, chosen.seconds) for size in chosen.devices.split(",")]
    for one in found:
        print(one, file=sys.stderr)
    print(json.dumps({"tasks": chosen.tasks, "seconds": chosen.seconds, "sizes": found}))


def _measure(devices: int, tasks: int, seconds: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        path = prepare(Path(name), devices, tasks)
        config = read_config(path)
        said = multiprocessing.get_context("spawn").Queue()
        refresher = multiprocessing.get_context("spawn").Process(target=_refresh, args=(path, seconds, said))
        refresher.start()
        said.get()  # it is ready
        journal = _Journal(config.data / "fleet.sqlite-wal")
        milliseconds = _report(config, devices, tasks, seconds)
        idle = said.get()
        refresher.join()
        began, spent = time.perf_counter(), _of_children()
        subprocess.run(
            [sys.executable, "-m", "cloud_worker.cli", "status", "-c", str(path)],
            stdout=subprocess.DEVNULL,
            check=False,
        )
        return {
            "devices": devices,
            "sync_ms": round(statistics.median(milliseconds), 1),
            "sync_ms_p95": round(sorted(milliseconds)[int(0.95 * len(milliseconds))], 1),
            "syncs": len(milliseconds),
            "refresher_idle_share": round(idle, 3),
            "wal_mb": round(journal.end() / 1e6, 1),
            "status_seconds": round(time.perf_counter() - began, 1),
            "status_cpu_seconds": round(_of_children() - spent, 1),
        }


def prepare(folder: Path, devices: int, tasks: int) -> Path:
    """A cluster's folder with a store that knows the fleet."""
    (folder / "answers.jsonl").write_text('{"text": "lamp", "label": "lights"}\n')
    path = folder / "cloud.toml"
    path.write_text(_CONFIG + "".join(_TASK.format(position=position) for position in range(tasks)))
    config = read_config(path)
    config.data.mkdir()
    store = Store(config.store_url)
    store.declare_tasks(config.tasks)
    publisher = Publisher(config.releases_folder)
    publish_first_releases(config.tasks, store, publisher)
    for task in config.tasks:  # limits bind from the first release that follows on
        digest = publisher.publish(replace(publisher.manifest(task.name, 0), number=1), {})
        store.add_release(ReleaseRow(task.name, 1, ReleaseState.BUILDING, "", 0.0))
        store.promote(task.name, 1, digest)
    for device in range(devices):
        store.device(f"device-{device}")
        store.save_report(said_by(device, tasks, 1000), time.time())
    return path


def said_by(device: int, tasks: int, answered: int) -> DeviceReport:
    """What a device says that has answered so many queries of each task."""
    told = tuple(
        TaskReport(f"task-{position:02}", 1, answered=answered, kept=answered, covered=answered, exploration=0.05)
        for position in range(tasks)
    )
    return DeviceReport(f"device-{device}", "0.1", "Linux x86_64", tasks=told)


def _report(config: CloudConfig, devices: int, tasks: int, seconds: float) -> list[float]:
    """Milliseconds of each report over the real door, of devices chosen at random, one after the other."""
    import asyncio

    async def ask() -> list[float]:
        door = Door("127.0.0.1:0", insecure=True)
        servicer = FleetServicer(Store(config.store_url), config.fleet, insecure=True, tasks=config.tasks)
        fleet_pb2_grpc.add_FleetServicer_to_server(servicer, door.server)
        channel = open_channel(f"127.0.0.1:{await door.start()}", insecure=True)
        stub = fleet_pb2_grpc.FleetStub(channel)
        spent: list[float] = []
        draw, ends = random.Random(0), time.monotonic() + seconds
        while time.monotonic() < ends:
            device = draw.randrange(devices)
            request = report_to_proto(said_by(device, tasks, 1000 + len(spent)))
            began = time.perf_counter()
            await stub.Sync(request, metadata=((telemetry_names.META_DEVICE, f"device-{device}"),), timeout=60)
            spent.append(1000 * (time.perf_counter() - began))
        await channel.close(None)
        await door.stop(0.1)
        return spent

    return asyncio.run(ask())


def _refresh(path: Path, seconds: float, said: Any) -> None:
    """An idle refresher at its pace; says when it is ready, then the share of a core that it took."""
    config = read_config(path)
    refresher = RefreshLoop(config, lambda task, rows, recipe: None)
    checkpoints = Checkpoints(Store(config.store_url).engine)
    refresher.step()
    said.put("ready")
    began, spent = time.monotonic(), time.process_time()
    while time.monotonic() - began < seconds:
        time.sleep(config.refresh.poll_seconds)
        refresher.step()
        checkpoints.check()
    said.put((time.process_time() - spent) / (time.monotonic() - began))


def _of_children() -> float:
    """Seconds of CPU of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class _Journal:
    """The largest size in bytes that a file has had since."""

    def __init__(self, path: Path) -> None:
        self._path, self._most, self._ended = path, 0, threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def _sample(self) -> None:
        while not self._ended.wait(0.2):
            if self._path.is_file():
                self._most = max(self._most, self._path.stat().st_size)

    def end(self) -> int:
        self._ended.set()
        self._thread.join()
        return self._most


if __name__ == "__main__":
    main()
