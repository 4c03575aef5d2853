"""What does an agent without a student save by remembering the reference's answers, and does the promise hold?

A real agent without a student stands before a cloud that knows the answers of CLINC150. Asked are its stream as it is
(two of its 15,000 texts come twice), a repertoire (300 texts, few of them often, and a fifth that nobody asked before),
and the same in bursts (one in ten is asked up to ten times in a row). The reference repeats itself, or says otherwise
in 0.5 % or 5 % of its answers. Net saving: queries that never ask the cloud, explored ones included, of the first so
many. Loss: covered answers that differ from what the reference would say now. The rate of exploration is given: where
everything is explored before the first student (``exploration.cold = 1``), nothing is saved by the rule.

    python -m bench.first_saving --queries 5000

Needs HEADRACE_DATA (default ../shared/data); ends in one line of JSON, and in one that says so where it is absent.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from grpc import aio

from bench.parts.recorded_scores import data_folder
from edge_agent.config import Config
from edge_agent.daemon import Daemon
from edge_agent.testing.cloud_simulator import CloudSimulator
from edge_agent.testing.tiny_releases import TASK, empty_release
from router.v1 import cascade_pb2, cascade_pb2_grpc

PROMISE, AFTER = 0.02, (1000, 2000, 5000)
REPERTOIRE, NOVEL, BURSTS, LONGEST = 300, 0.2, 0.1, 10
FICKLE = (0.0, 0.005, 0.05)

Random = np.random.Generator


@dataclass(slots=True)
class Reference:
    """Knows the label of each text, and says another with a chance."""

    labels: dict[str, str]
    fickle: float
    random: Random = field(default_factory=lambda: np.random.default_rng(1))

    def __call__(self, text: str) -> str:
        """What it says now."""
        return "otherwise" if self.random.random() < self.fickle else self.labels[text]


def as_it_is(texts: list[str], queries: int, random: Random) -> list[str]:
    """The stream."""
    del random
    return texts[:queries]


def repertoire(texts: list[str], queries: int, random: Random) -> list[str]:
    """A household's texts, the k-th asked 1 / k as often as the first, and new ones among them."""
    known, new = texts[:REPERTOIRE], iter(texts[REPERTOIRE:])
    chances = 1 / np.arange(1, REPERTOIRE + 1)
    positions = random.choice(REPERTOIRE, queries, p=chances / chances.sum())
    return [next(new) if random.random() < NOVEL else known[position] for position in positions]


def bursts(texts: list[str], queries: int, random: Random) -> list[str]:
    """The same, some asked many times in a row."""
    asked: list[str] = []
    for text in repertoire(texts, queries, random):
        asked += [text] * (int(random.integers(2, LONGEST + 1)) if random.random() < BURSTS else 1)
    return asked[:queries]


WORLDS: dict[str, Callable[[list[str], int, Random], list[str]]] = {
    "clinc": as_it_is,
    "repertoire": repertoire,
    "bursts": bursts,
}


async def life(asked: list[str], reference: Reference, exploration: float, remembered: int) -> dict[str, Any]:
    """What one agent did with what it was asked."""
    cloud = CloudSimulator(reference)
    await cloud.start()
    cloud.publish(empty_release(TASK), {}, exploration)
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        config = Config(
            device="kitchen",
            data=Path(folder),
            door={"listen": "127.0.0.1:0"},
            upstream={"target": cloud.target},
            memory={"max_answers": remembered},
        )
        daemon, stop = Daemon(config, insecure=True), asyncio.Event()
        running = asyncio.create_task(daemon.run(stop))
        await cloud.until_active(0)
        figures = await _asked(daemon.port, asked, reference)
        stop.set()
        await running
    await cloud.stop()
    return figures


async def _asked(port: int, asked: list[str], reference: Reference) -> dict[str, Any]:
    saved, covered, lost = [], 0, 0
    channel = aio.insecure_channel(f"127.0.0.1:{port}")
    stub = cascade_pb2_grpc.CascadeStub(channel)
    for number, text in enumerate(asked):
        request = cascade_pb2.AnswerRequest(query_id=f"{number}", task=TASK.name, text=text)
        said = await stub.Answer(request, timeout=30, wait_for_ready=True)
        stayed = said.provenance.tier == cascade_pb2.TIER_DEVICE
        saved.append(stayed and not said.provenance.explored)
        covered += said.provenance.covered
        lost += stayed and said.provenance.covered and said.answer != reference(text)
    await channel.close(None)
    net = {f"net_saving_{most}": round(float(np.mean(saved[:most])), 4) for most in AFTER if most <= len(asked)}
    return {**net, "loss": round(lost / max(covered, 1), 4), "covered": covered}


def main() -> None:
    """Print each life, then one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=max(AFTER))
    parser.add_argument("--exploration", type=float, default=0.05, help="share of queries that are explored")
    options = parser.parse_args()
    data = data_folder()
    if data is None:
        print(json.dumps({"question": "first_saving", "skipped": "no data; set HEADRACE_DATA to its folder"}))
        return
    rows = [json.loads(line) for line in (data / "stream.jsonl").read_text(encoding="utf-8").splitlines()]
    labels = {row["text"]: row["label"] for row in rows}
    found: dict[str, Any] = {}
    for world, make in WORLDS.items():
        asked = make([row["text"] for row in rows], options.queries, np.random.default_rng(0))
        for fickle in FICKLE if world != "clinc" else (0.0,):
            for remembered in (0, 10_000) if not fickle else (10_000,):
                name = f"{world}, fickle {fickle}, {'with' if remembered else 'without'} memory"
                found[name] = asyncio.run(life(asked, Reference(labels, fickle), options.exploration, remembered))
                print(name, found[name], flush=True)
    kept = all(one["loss"] <= PROMISE for one in found.values())
    told = {"promise": PROMISE, "exploration": options.exploration, "promise_kept": kept, "lives": found}
    print(json.dumps({"question": "first_saving", **told}))


if __name__ == "__main__":
    main()
