"""Do memory, descriptors and files stay flat at an agent and its gateway under steady load?

An agent with a compact student before a gateway without Ray, its spool drained by a process of its own, as the log's
writer does it. Of the queries, which come at a rate (or as fast as 32 lanes get answers, ``--rate 0``), every other
one may not leave and is the student's, and every other one is escalated. Looked at all along: resident memory,
descriptors and threads of agent and gateway, files and bytes of the agent's data folder, bytes of the spool. Told of
what comes after eleven minutes, when what is kept for ten has filled (of a shorter run, after its first third): the
slope of each for a minute, the median of the slopes between any two looks, with its 95 % interval (Sen 1968).

    python -m bench.steady_agent --seconds 1260 --rate 50
    python -m bench.steady_agent --seconds 960 --rate 0
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from scipy.stats import theilslopes

from bench.local_answer import percentile
from bench.parts.cloud_doors import config_in
from bench.parts.installed_agent import TASK, Processes, compact_release, install, told
from bench.parts.load import TEXTS
from bench.parts.open_loop import OpenLoop
from router.v1 import cascade_pb2

LOOKS = 240
FILLED_SECONDS = 660.0
LANES = 32


def message(number: int) -> bytes:
    """One query: of the student alone, or of the cloud."""
    route = cascade_pb2.ROUTE_LOCAL_ONLY if number % 2 else cascade_pb2.ROUTE_AUTO
    return cascade_pb2.AnswerRequest(
        query_id=f"steady-{number}",
        task=TASK.name,
        text=f"text {number % TEXTS}",
        route=route,
        consent=cascade_pb2.CONSENT_GRANTED,
    ).SerializeToString()


def looked(processes: dict[str, psutil.Process], agent: Path, spool: Path) -> dict[str, float]:
    """What is there now."""
    found: dict[str, float] = {}
    for name, process in processes.items():
        found[f"{name}_mb"] = process.memory_info().rss / 1e6
        found[f"{name}_descriptors"] = process.num_fds()
        found[f"{name}_threads"] = process.num_threads()
    sizes = []
    for file in agent.rglob("*"):
        with suppress(OSError):
            sizes += [file.stat().st_size] if file.is_file() else []
    found |= {"agent_files": len(sizes), "agent_files_mb": sum(sizes) / 1e6}
    found["spool_mb"] = sum(file.stat().st_size for file in spool.iterdir()) / 1e6
    return found


def slopes(looks: list[tuple[float, dict[str, float]]]) -> dict[str, list[float]]:
    """Of each figure its slope for a minute, and the ends of its interval."""
    minutes = [at / 60 for at, _ in looks]
    found: dict[str, list[float]] = {}
    for name in looks[0][1]:
        values = [seen[name] for _, seen in looks]
        slope, _, low, high = theilslopes(values, minutes) if len(set(values)) > 1 else (0.0, 0.0, 0.0, 0.0)
        found[name] = [round(float(value), 3) for value in (slope, low, high)]
    return found


def measured(folder: Path, seconds: float, rate: float) -> dict[str, Any]:
    """The figures of one load."""
    cloud, device = folder / "cloud", folder / "device"
    config = config_in(cloud)
    device.mkdir()
    asyncio.run(install(device / "data", *compact_release()))
    with Processes() as processes:
        processes.start(sys.executable, "-m", "bench.saturation", "--serve", str(cloud))
        gateway = told(cloud / "gateway.json")
        processes.start(sys.executable, "-m", "bench.steady_agent", "--drain", str(cloud))
        processes.agent(device, target=f"127.0.0.1:{gateway['port']}")
        agent = told(device / "data" / "run" / "agent.json")
        pids = {"agent": psutil.Process(agent["pid"]), "gateway": psutil.Process(gateway["pid"])}
        load = OpenLoop(agent["port"], 4, message)
        load.in_lanes(1, 2.0)
        looks: list[tuple[float, dict[str, float]]] = []
        done = threading.Event()

        def look() -> None:
            began = time.monotonic()
            while not done.wait(seconds / LOOKS):
                looks.append((time.monotonic() - began, looked(pids, device / "data", config.spool_folder)))

        looking = threading.Thread(target=look)
        looking.start()
        outcome = load.at_rate(rate, seconds) if rate else load.in_lanes(LANES, seconds)
        done.set()
        looking.join()
        load.close()
    warm_up = FILLED_SECONDS if seconds > FILLED_SECONDS else seconds / 3
    return {
        "seconds": seconds,
        "rate": round(outcome.offered / seconds, 1),
        "statuses": dict(outcome.statuses),
        "p50_ms": round(1000 * percentile(outcome.seconds, 0.5), 2),
        "p99_ms": round(1000 * percentile(outcome.seconds), 2),
        "end": {name: round(value, 2) for name, value in looks[-1][1].items()},
        "warm_up_minutes": round(warm_up / 60, 1),
        "slope_a_minute": slopes([look for look in looks if look[0] >= warm_up]),
    }


def _drain(folder: Path) -> None:
    from cloud_worker.log.distillation_log import DistillationLog
    from cloud_worker.log.drainer import Drainer
    from cloud_worker.releases.recovered_state import open_store
    from cloud_worker.state.repeated_rows import Repeats

    config = config_in(folder)
    drainer = Drainer(config.spool_folder, DistillationLog(config.log_folder), Repeats(open_store(config).engine))
    while True:
        drainer.drain()
        time.sleep(config.log.drain_seconds)


def main() -> None:
    """Measure, and print the figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=50.0, help="queries a second; 0 is as many as 32 lanes get")
    parser.add_argument("--drain", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.drain is not None:
        _drain(options.drain)
        return
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        print(json.dumps({"question": "steady_agent", **measured(Path(name), options.seconds, options.rate)}))


if __name__ == "__main__":
    main()
