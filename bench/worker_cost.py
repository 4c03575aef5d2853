"""What does an answer take of the processor where several processes answer behind one port?

An agent of one, two and three processes, each a process tree of its own over a copy of the same data folder, asked by
32 lanes on 24 connections, in turn. Told are the processor time of an answer in milliseconds, all processes of the
agent together, answers a second, and the resident memory of each process in MB.

    python -m bench.worker_cost --seconds 4
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from bench.parts.installed_agent import TASK, TEXTS, WAIT_SECONDS, Processes, compact_release, install, told
from bench.parts.open_loop import OpenLoop
from edge_agent.identity.status_file import read_status
from router.v1 import cascade_pb2

LANES, CONNECTIONS, TURNS = 32, 24, 2
PROCESSES = (1, 2, 3)


def message(number: int) -> bytes:
    """One query."""
    text = TEXTS[number % len(TEXTS)]
    return cascade_pb2.AnswerRequest(query_id=f"cost-{number}", task=TASK.name, text=text).SerializeToString()


def seconds_of(tree: list[psutil.Process]) -> float:
    """What processes have taken of the processor."""
    return sum(sum(process.cpu_times()[:2]) for process in tree)


def wait_ready(data: Path, workers: int) -> None:
    """Return when an agent says that its workers are ready.

    Raises:
        TimeoutError: It does not.
    """
    until = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < until:
        said = (read_status(data) or {}).get("workers")
        if said is not None and len(said) == workers and all(one["ready"] for one in said):
            return
        time.sleep(0.1)
    raise TimeoutError("the workers are not ready")


def measured(folder: Path, processes: int, seconds: float) -> dict[str, Any]:
    """The figures of an agent of so many processes."""
    with Processes() as running:
        running.agent(folder, [f"workers = {processes}"])
        here = told(folder / "data" / "run" / "agent.json")
        wait_ready(folder / "data", processes - 1)
        owner = psutil.Process(here["pid"])
        tree = [owner, *owner.children()]
        load = OpenLoop(here["port"], CONNECTIONS, message)
        load.in_lanes(LANES, seconds / 2)
        before = seconds_of(tree)
        answers = len(load.in_lanes(LANES, seconds).seconds)
        took = seconds_of(tree) - before
        load.close()
        return {
            "cpu_ms": round(1000 * took / answers, 3),
            "answers_per_second": round(answers / seconds, 1),
            "resident_mb": [round(process.memory_info().rss / 1e6) for process in tree],
        }


def main() -> None:
    """Measure, and print the figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each turn")
    options = parser.parse_args()
    found: dict[int, list[dict[str, Any]]] = {processes: [] for processes in PROCESSES}
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        base = Path(name)
        asyncio.run(install(base / "data", *compact_release()))
        for turn in range(TURNS):
            for processes in PROCESSES:
                folder = base / f"{turn}-{processes}"
                shutil.copytree(base / "data", folder / "data")
                found[processes].append(measured(folder, processes, options.seconds))
                print(processes, found[processes][-1], flush=True)
    print(json.dumps({"question": "worker_cost", "seconds": options.seconds, "by_processes": found}))


if __name__ == "__main__":
    main()
