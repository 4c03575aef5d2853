"""What does a door do when more is asked than it can answer?

An agent with a compact student, or a gateway with a teacher that answers at once, is first asked by 32 lanes: its
capacity. Then calls come at a rate, whatever becomes of those before, at shares and multiples of that capacity; and in
bursts. Told are, of each load: calls offered, answered and refused a second, the median and 99th percentile of the
answered ones in milliseconds, of the refused ones the 99th, and the longest time in which nobody was answered. The
caller shares the machine with the door, so that the highest rates are what both can make of it.

    python -m bench.saturation --seconds 8
    python -m bench.saturation --door gateway
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.local_answer import percentile
from bench.parts.installed_agent import TASK, TEXTS, Processes, compact_release, install, told
from bench.parts.open_loop import OpenLoop, Outcome
from router.io.atomic_write import write_whole
from router.v1 import cascade_pb2

LANES, CONNECTIONS = 32, 16
TIMES = (0.5, 1.0, 2.0, 5.0, 20.0)  # of the capacity
BURST, BURST_SECONDS = 1000, 2.0


def figures_of(outcome: Outcome) -> dict[str, Any]:
    """The figures of one load."""
    refused = outcome.offered - len(outcome.seconds)
    found = {
        "offered_per_second": round(outcome.offered / outcome.length, 1),
        "answered_per_second": round(len(outcome.seconds) / outcome.length, 1),
        "refused_share": round(refused / max(1, outcome.offered), 3),
        "longest_silence_ms": round(1000 * outcome.longest_silence, 1),
        "statuses": dict(sorted(outcome.statuses.items())),
    }
    if outcome.seconds:
        found["p50_ms"] = round(1000 * percentile(outcome.seconds, 0.5), 1)
        found["p99_ms"] = round(1000 * percentile(outcome.seconds), 1)
    if outcome.refused_seconds:
        found["refused_p99_ms"] = round(1000 * percentile(outcome.refused_seconds), 1)
    return found


def measured(port: int, message: Callable[[int], bytes], seconds: float, times: Sequence[float]) -> dict[str, Any]:
    """The figures of one door, by load."""
    load = OpenLoop(port, CONNECTIONS, message)
    load.in_lanes(LANES, 2.0)
    capacity = len(load.in_lanes(LANES, seconds).seconds) / seconds
    found: dict[str, Any] = {"capacity_per_second": round(capacity, 1)}
    for one in times:
        found[f"x{one:g}"] = figures_of(load.at_rate(one * capacity, seconds))
        print(f"x{one:g}", found[f"x{one:g}"], flush=True)
    found["bursts"] = figures_of(load.in_bursts(BURST, BURST_SECONDS, 3 * BURST_SECONDS))
    print("bursts", found["bursts"], flush=True)
    load.close()
    return found


def _asking(task: str, texts: Sequence[str], consent: cascade_pb2.Consent.ValueType) -> Callable[[int], bytes]:
    def message(number: int) -> bytes:
        text = texts[number % len(texts)]
        return cascade_pb2.AnswerRequest(
            query_id=f"load-{number}", task=task, text=text, consent=consent
        ).SerializeToString()

    return message


def _of_agent(folder: Path, processes: Processes, more: Sequence[str]) -> tuple[int, Callable[[int], bytes]]:
    asyncio.run(install(folder / "data", *compact_release()))
    processes.agent(folder, more)
    port = told(folder / "data" / "run" / "agent.json")["port"]
    return port, _asking(TASK.name, TEXTS, cascade_pb2.CONSENT_UNSPECIFIED)


def _of_gateway(folder: Path, processes: Processes) -> tuple[int, Callable[[int], bytes]]:
    from bench.parts.load import TEXTS as KNOWN

    processes.start(sys.executable, "-m", "bench.saturation", "--serve", str(folder))
    port = told(folder / "gateway.json")["port"]
    return port, _asking("home", [f"text {number}" for number in range(KNOWN)], cascade_pb2.CONSENT_GRANTED)


async def _serve(folder: Path) -> None:
    """A gateway in this process, with its durable spool, until it is ended."""
    from bench.parts.cloud_doors import TEACHER, config_in
    from cloud_worker.startup.in_process import serving_config
    from cloud_worker.teachers.recorded import RecordedTeacher

    config = config_in(folder)
    teacher = RecordedTeacher(TEACHER, Path(config.teachers[0].answers))
    async with serving_config(config, [teacher]) as target:
        write_whole(
            folder / "gateway.json", json.dumps({"pid": os.getpid(), "port": int(target.rpartition(":")[2])}).encode()
        )
        await asyncio.Event().wait()


def main() -> None:
    """Measure, and print the figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--door", choices=("agent", "gateway"), default="agent")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each load")
    parser.add_argument("--times", type=float, nargs="+", default=TIMES, help="multiples of the capacity")
    parser.add_argument("--more", action="append", default=[], help="a line of the agent's TOML file")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        with suppress(KeyboardInterrupt):
            asyncio.run(_serve(options.serve))
        return
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name, Processes() as processes:
        folder = Path(name)
        port, message = (
            _of_gateway(folder, processes) if options.door == "gateway" else _of_agent(folder, processes, options.more)
        )
        found = measured(port, message, options.seconds, options.times)
    print(json.dumps({"question": "saturation", "door": options.door, "seconds": options.seconds, **found}))


if __name__ == "__main__":
    main()
