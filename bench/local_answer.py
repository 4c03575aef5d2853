"""What does a local answer over gRPC cost beside its parts: the student's own run, and an echo of the same messages?

The agent and a bare grpc.aio echo are processes of their own, and one client, a third, asks both in turn, so that
whatever else the machine does meets both. The student runs bare in the client, tokenizing included, between the calls.
At 1 each answer is waited for; at 32 as many lanes ask at once, agent and echo in turns of some hundred answers. Told
are medians and 99th percentiles in milliseconds, answers a second, and what agent and echo take of the
processor for an answer.

    python -m bench.local_answer --queries 2000
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from grpc import aio

from bench.parts.installed_agent import TASK, TEXTS, Processes, compact_release, install, told
from router.io.atomic_write import write_whole
from router.students.onnx_student import Student
from router.v1 import cascade_pb2, cascade_pb2_grpc

LANES = 32
TURN = 640  # answers of one side, at LANES
GOALS = {"median_ratio": 1.25, "p99_ratio": 2.0, "throughput_share": 0.8}


class Echo(cascade_pb2_grpc.CascadeServicer):
    """Answers at once, with a message as large as an agent's."""

    async def Answer(self, request: cascade_pb2.AnswerRequest, context: Any) -> cascade_pb2.AnswerResponse:  # noqa: N802
        """Say the same to everything."""
        response = cascade_pb2.AnswerResponse(query_id=request.query_id, answer="intent_17", confidence=0.93)
        provenance = response.provenance
        provenance.model, provenance.model_version, provenance.node = "compact", "random", "kitchen"
        provenance.release, provenance.tier, provenance.reason = 1, 1, 1  # type: ignore[assignment]
        return response


async def _echo(told_at: Path) -> None:
    server = aio.server(options=[("grpc.so_reuseport", 0)])
    cascade_pb2_grpc.add_CascadeServicer_to_server(Echo(), server)  # type: ignore[abstract] # it streams nothing
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    write_whole(told_at, json.dumps({"pid": os.getpid(), "port": port}).encode())
    await server.wait_for_termination()


class Asker:
    """Asks one server, with ids that never repeat."""

    def __init__(self, name: str, port: int) -> None:
        self._channel = aio.insecure_channel(f"127.0.0.1:{port}")
        self._stub = cascade_pb2_grpc.CascadeStub(self._channel)
        self._name = name
        self._asked = 0

    async def ask(self) -> float:
        """Seconds that one answer took."""
        self._asked += 1
        text = TEXTS[self._asked % len(TEXTS)]
        request = cascade_pb2.AnswerRequest(query_id=f"{self._name}-{self._asked}", task=TASK.name, text=text)
        began = time.perf_counter()
        response = await self._stub.Answer(request, timeout=30)
        took = time.perf_counter() - began
        assert response.answer, response
        return took

    async def burst(self, answers: int, lanes: int) -> tuple[float, list[float]]:
        """Seconds that so many answers took in so many lanes, and each of them."""
        took: list[float] = []

        async def lane() -> None:
            for _ in range(answers // lanes):
                took.append(await self.ask())

        began = time.perf_counter()
        await asyncio.gather(*(lane() for _ in range(lanes)))
        return time.perf_counter() - began, took

    async def close(self) -> None:
        """Hang up."""
        await self._channel.close(None)


async def _compared(
    ports: dict[str, int], bare: Callable[[str], object], pids: dict[str, int], queries: int
) -> dict[str, Any]:
    askers = {name: Asker(name, port) for name, port in ports.items()}
    for asker in askers.values():
        await asker.burst(320, LANES)
    alone = await _alone(askers, bare, queries)
    crowd = await _crowd(askers, pids, queries)
    for asker in askers.values():
        await asker.close()
    run_throughput = 1000 / alone["run_median_ms"]
    slower = min(crowd["echo_per_second"], run_throughput)
    parts = {what: alone[f"echo_{what}_ms"] + alone[f"run_{what}_ms"] for what in ("median", "p99")}
    return {
        **alone,
        **crowd,
        "median_ratio": alone["agent_median_ms"] / parts["median"],
        "p99_ratio": alone["agent_p99_ms"] / parts["p99"],
        "run_per_second": run_throughput,
        "throughput_share": crowd["agent_per_second"] / slower,
    }


async def _alone(askers: dict[str, Asker], bare: Callable[[str], object], queries: int) -> dict[str, float]:
    times: dict[str, list[float]] = {"agent": [], "echo": [], "run": []}
    for turn in range(queries):
        for name in ("agent", "echo") if turn % 2 else ("echo", "agent"):
            times[name].append(await askers[name].ask())
        began = time.perf_counter()
        bare(TEXTS[turn % len(TEXTS)])
        times["run"].append(time.perf_counter() - began)
    figures: dict[str, float] = {}
    for name, took in times.items():
        figures |= {f"{name}_median_ms": 1000 * statistics.median(took), f"{name}_p99_ms": 1000 * percentile(took)}
    return figures


async def _crowd(askers: dict[str, Asker], pids: dict[str, int], queries: int) -> dict[str, float]:
    seconds, times = dict.fromkeys(askers, 0.0), {name: list[float]() for name in askers}
    before, turns = {name: cpu_seconds(pids[name]) for name in askers}, max(2, queries // TURN)
    for turn in range(turns):
        for name in askers if turn % 2 else reversed(askers):
            took, each = await askers[name].burst(TURN, LANES)
            seconds[name] += took
            times[name] += each
    figures = {f"{name}_per_second": turns * TURN / seconds[name] for name in askers}
    figures |= {f"{name}_p99_ms_at_{LANES}": 1000 * percentile(times[name]) for name in askers}
    for name in askers:
        figures[f"{name}_cpu_ms"] = 1000 * (cpu_seconds(pids[name]) - before[name]) / (turns * TURN)
    return figures


def percentile(times: Sequence[float], share: float = 0.99) -> float:
    """What ``share`` of the times did not exceed."""
    return sorted(times)[min(len(times) - 1, int(share * len(times)))]


def cpu_seconds(pid: int) -> float:
    """What a process has taken of the processor."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measured(queries: int) -> dict[str, Any]:
    """The figures of a compact student, over so many queries of each kind."""
    manifest, files = compact_release()
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        folder = Path(name)
        asyncio.run(install(folder / "data", manifest, files))
        for file, data in files.items():
            (folder / file).write_bytes(data)
        student = Student.load(folder, manifest)
        with Processes() as processes:
            processes.agent(folder)
            processes.start(sys.executable, "-m", "bench.local_answer", "--echo", str(folder / "echo.json"))
            agent, echo = told(folder / "data" / "run" / "agent.json"), told(folder / "echo.json")
            ports = {"agent": agent["port"], "echo": echo["port"]}
            pids = {"agent": agent["pid"], "echo": echo["pid"]}
            figures = asyncio.run(_compared(ports, lambda text: student.read((text,)), pids, queries))
    return {"question": "local_answer", "queries": queries, **{key: round(figures[key], 3) for key in figures}}


def main() -> None:
    """Measure, and print the figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=2000, help="queries of each kind")
    parser.add_argument("--echo", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.echo is not None:
        asyncio.run(_echo(options.echo))
        return
    figures = measured(options.queries)
    for name, goal in GOALS.items():
        print(f"{name:18} {figures[name]:8.3f}, goal {goal}")
    print(json.dumps(figures | {"goals": GOALS}))


if __name__ == "__main__":
    main()
