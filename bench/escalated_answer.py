"""What does an agent add to an answer that its gateway gives?

    python -m bench.escalated_answer
    python -m bench.escalated_answer --queries 100

A whole gateway, its teacher answering at once, and an agent without a student, which escalates everything, each a
process of its own on this machine. One caller asks the gateway and the agent in turn, so both meet the same machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.mtls_overhead import HOME, Processes, agent_and_gateway
from router import Client


def measured(queries: int, kind: str) -> dict[str, Any]:
    """Medians in milliseconds, over so many queries of each."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name, Processes() as processes:
        folder = Path(name)
        pair = agent_and_gateway(processes, folder / kind, kind, folder, "escalated")
        times: dict[str, list[float]] = {"gateway": [], "agent": []}
        clients = {
            name: Client(f"127.0.0.1:{port}", insecure=True, deadline=30.0)
            for name, port in (("gateway", pair.gateway), ("agent", pair.port))
        }
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
    added = [through - direct for through, direct in zip(times["agent"], times["gateway"], strict=True)]
    return {
        "queries": queries,
        "gateway_ms": round(medians["gateway"], 3),
        "through_agent_ms": round(medians["agent"], 3),
        "added_ms": round(medians["agent"] - medians["gateway"], 3),
        "added_paired_ms": round(statistics.median(added), 3),
    }


def main() -> None:
    """Measure, and print the figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=400, help="of each")
    print(json.dumps(measured(parser.parse_args().queries, "plain")))


if __name__ == "__main__":
    main()
