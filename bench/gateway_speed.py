"""How fast is the gateway beside Ray Serve's own gRPC proxy, and what does the durable log cost?

    python -m bench.gateway_speed                      two rounds, about four minutes
    python -m bench.gateway_speed --rounds 1 --seconds 0.5 --callers 1 64

The same echo teacher stands behind all doors: Serve's proxy as installed, Serve's proxy with gRPC between its processes
(``RAY_SERVE_USE_GRPC_BY_DEFAULT=1``), and our gateway, which checks, keeps and logs what it answers; a plain grpc.aio
server of the same messages is the limit. Callers share the machine with all of them, so compare the ratios: each is
taken between doors that were asked in turn, slice by slice, beside the same Serve.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from bench.parts.cloud_doors import APPLICATION, TASK
from bench.parts.fsync_cost import fsync_costs
from bench.parts.load import Asked, Figures, Load
from cloud_worker.running.ray_environment import make_importable, prepare_environment
from router.v1 import cascade_pb2

PLANES = {"0": "serve_as_installed", "1": "serve_tuned"}
LOGGED, UNLOGGED, LIMIT = "gateway_logged", "gateway_unlogged", "plain_grpc"
_WARM_SECONDS = 1.0


class Doors(AbstractContextManager["Doors"]):
    """A process of doors, that ends with the context; tells their ports."""

    def __init__(self, *arguments: str) -> None:
        """Start it."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.parts.cloud_doors", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Doors:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                self.ports: dict[str, int] = json.loads(line)
                return self
        raise RuntimeError(f"the doors did not open: exit code {self._process.wait()}")

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


async def compared(doors: dict[str, Asked], options: argparse.Namespace) -> dict[tuple[str, int], Figures]:
    """What callers measured at each door and level, asked in turn."""
    load = Load(doors, TASK)
    for name in doors:
        await load.ask(name, 16, _WARM_SECONDS, counts=False)
    for turn in range(options.turns):
        for callers in options.callers:
            for name in doors if turn % 2 else reversed(doors):
                await load.ask(name, callers, options.seconds)
    await load.close()
    return load.figures


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """All figures."""
    found: dict[str, list[dict[tuple[str, int], Figures]]] = {name: [] for name in PLANES.values()}
    prepare_environment(own_cluster=True)
    make_importable()
    from cloud_worker.startup.own_ray import start_own_ray

    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder, Doors("plain") as plain:
        address = str(start_own_ray(4, "bench").address_info["gcs_address"])
        for turn in range(options.rounds):
            for plane, peer in PLANES.items():
                with Doors("doors", address, f"{folder}/{turn}-{plane}", plane) as opened:
                    doors = {
                        peer: Asked(opened.ports["serve"], metadata=APPLICATION),
                        LOGGED: Asked(opened.ports["gateway"]),
                        UNLOGGED: Asked(opened.ports["gateway"], cascade_pb2.CONSENT_REFUSED),
                        LIMIT: Asked(plain.ports["plain"]),
                    }
                    found[peer].append(asyncio.run(compared(doors, options)))
        fsync = asyncio.run(fsync_costs(Path(folder), options.fsync_seconds))
    return {"machine": {"processors": os.cpu_count()}, **_told(found), "fsync": fsync}


def _told(found: dict[str, list[dict[tuple[str, int], Figures]]]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for peer, rounds in found.items():
        levels = sorted({callers for figures in rounds for _, callers in figures})
        for callers in levels:
            at = told.setdefault(f"beside_{peer}", {}).setdefault(f"at_{callers}", {})
            for name in (peer, LOGGED, UNLOGGED, LIMIT):
                at[name] = _together([figures[name, callers] for figures in rounds]).told()
            at["logged_times_peer"] = _ratio(rounds, callers, LOGGED, peer)
    return told


def _together(parts: list[Figures]) -> Figures:
    whole = Figures()
    for part in parts:
        whole.milliseconds += part.milliseconds
        whole.seconds += part.seconds
        whole.failures |= part.failures
    return whole


def _ratio(rounds: list[dict[tuple[str, int], Figures]], callers: int, ours: str, peer: str) -> dict[str, float]:
    """Median over the rounds of our rate, and of our median time, over the peer's."""
    told = [(figures[ours, callers].told(), figures[peer, callers].told()) for figures in rounds]
    return {
        name: round(statistics.median(one[name] / other[name] for one, other in told), 3)
        for name in ("per_second", "median_ms")
    }


def main() -> None:
    """Measure, and print the figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2, help="of each of the two ways of Serve")
    parser.add_argument("--turns", type=int, default=4, help="slices of each door and level in a round")
    parser.add_argument("--seconds", type=float, default=1.5, help="of one slice")
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 16, 64], help="who ask at once")
    parser.add_argument("--fsync-seconds", type=float, default=2.0, help="of each figure of the spool alone")
    options = parser.parse_args()
    told = measured(options)
    for beside, levels in told.items():
        if beside.startswith("beside_"):
            for level, doors in levels.items():
                print(beside, level, json.dumps(doors["logged_times_peer"]))
    print(json.dumps(told))


if __name__ == "__main__":
    main()
