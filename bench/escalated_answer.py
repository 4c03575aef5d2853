"""What does an agent add to an answer that its gateway gives?

    python -m bench.escalated_answer
    python -m bench.escalated_answer --queries 100

A whole gateway, its teacher answering at once, and an agent without a student, which escalates everything, each a
process of its own on this machine. Beside the agent stands a bare hop, which passes bytes on and does nothing else: the
least that a process on the way can add here. One caller asks all three in turn, so that they meet the same machine.
"""

from __future__ import annotations

import argparse
import json
import operator
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.mtls_overhead import HOME, Processes, agent_and_gateway, told_in
from router import Client

GOAL_MS = 1.0  # added; set on a machine whose bare echo took 0.42 ms


def measured(queries: int, kind: str) -> dict[str, Any]:
    """Medians in milliseconds, over so many queries of each."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name, Processes() as processes:
        folder = Path(name)
        pair = agent_and_gateway(processes, folder / kind, kind, folder, "escalated")
        target = f"127.0.0.1:{pair.gateway}"
        processes.start(sys.executable, "-m", "bench.parts.bare_hop", target, str(folder / "hop.json"))
        ports = {"gateway": pair.gateway, "hop": told_in(folder / "hop.json")["port"], "agent": pair.port}
        times: dict[str, list[float]] = {name: [] for name in ports}
        clients = {name: Client(f"127.0.0.1:{port}", insecure=True, deadline=30.0) for name, port in ports.items()}
        for turn in range(-20, queries):
            for which in times if turn % 2 else reversed(times):
                began = time.perf_counter()
                answer = clients[which].ask("anything", HOME.name)
                assert answer.provenance.tier.value == "cluster", answer.provenance
                if turn >= 0:
                    times[which].append((time.perf_counter() - began) * 1000)
        for client in clients.values():
            client.close()
    medians = {name: statistics.median(some) for name, some in times.items()}
    added, least = (_added(times[name], times["gateway"]) for name in ("agent", "hop"))
    return {
        "queries": queries,
        "gateway_ms": round(medians["gateway"], 3),
        "through_agent_ms": round(medians["agent"], 3),
        "through_bare_hop_ms": round(medians["hop"], 3),
        "added_ms": round(medians["agent"] - medians["gateway"], 3),
        "added_paired_ms": round(added, 3),
        "added_by_bare_hop_ms": round(least, 3),
        "times_bare_hop": round(added / least, 3),
        "goal_ms": GOAL_MS,
    }


def _added(through: list[float], direct: list[float]) -> float:
    """Median over the turns of what the way through took longer, in milliseconds."""
    return float(statistics.median(map(operator.sub, through, direct)))


def main() -> None:
    """Measure, and print the figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=400, help="of each")
    print(json.dumps(measured(parser.parse_args().queries, "plain")))


if __name__ == "__main__":
    main()
