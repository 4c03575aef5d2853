"""How many microseconds does a router in the path add to a query, beside other routers, with the model mocked alike?

Every model here answers at once, so that what is left is the router. Ours is a real agent's own path in process
(``Agent.answer``: limits, draw, student, decision, provenance, outbox for what is drawn, with a data folder on the
disk), without the door; beside it the draw and the decision alone. Others, each in a process of its own, where they
are installed in this environment or in the folder that ``HEADRACE_PEERS`` names:

* ``litellm``: its ``Router`` with one deployment and its own mocked answer, whole, and the choice of the deployment
  alone;
* ``routellm``: ``Controller.route`` with its random router, and the three lines that its threshold check comes to,
  which we wrote, where it is not installed;
* ``semantic-router``: a route chosen among 150 utterances of ten routes, with a mocked encoder.

What is whole hands back an answer; what is a choice names who should answer. A choice knows no draw, no certificate
and no answer, so "lowest" is said of both kinds apart.

    HEADRACE_PEERS=/tmp/peers python -m bench.router_cost --queries 3000

Ends in one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import importlib.metadata
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

TEXT = "please turn on the light in the kitchen"
PEERS = ("litellm", "routellm", "semantic_router")
ROUNDS, WARM = 5, 200
EXPLORATION = 0.0075

Figures = dict[str, float | str]


async def microseconds(act: Callable[[int], Awaitable[object]], queries: int) -> float:
    """The median over rounds of the processor's microseconds a query."""
    for number in range(WARM):
        await act(-1 - number)
    took = []
    for turn in range(ROUNDS):
        began = time.process_time()
        for number in range(queries):
            await act(turn * queries + number)
        took.append((time.process_time() - began) / queries * 1e6)
    return round(statistics.median(took), 2)


def of_choice(act: Callable[[int], object], queries: int) -> float:
    """The same, of what does not wait."""
    took = []
    for turn in range(ROUNDS):
        began = time.process_time()
        for number in range(queries):
            act(turn * queries + number)
        took.append((time.process_time() - began) / queries * 1e6)
    return round(statistics.median(took), 2)


async def ours(queries: int) -> Figures:
    """A real agent's path, and its choice alone."""
    from edge_agent.answering.agent import Agent
    from edge_agent.answering.device_privacy import DevicePrivacy
    from edge_agent.config import Config
    from edge_agent.daemon import Daemon
    from edge_agent.tasks.hosted_task import Serving
    from edge_agent.testing.cloud_simulator import CloudSimulator
    from edge_agent.testing.tiny_releases import TASK, WORDS, tiny_release
    from router.core.domain.prediction import Prediction
    from router.core.domain.query import Query, Tier
    from router.core.policy.deferral import Policy, decide
    from router.core.policy.exploration import SEED_BYTES, is_explored

    class Mocked:
        """A student that costs nothing."""

        def predict(self, query: Query) -> Prediction:
            """Always the same."""
            del query
            return Prediction("lights", 0.99)

    cloud = CloudSimulator(lambda text: "lights")
    await cloud.start()
    cloud.publish(*tiny_release(TASK, 1, WORDS), EXPLORATION)
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        config = Config(
            device="kitchen", data=Path(folder), door={"listen": "127.0.0.1:0"}, upstream={"target": cloud.target}
        )
        daemon, stop = Daemon(config, insecure=True), asyncio.Event()
        running = asyncio.create_task(daemon.run(stop))
        await cloud.until_active(1)
        parts = vars(daemon)
        privacy = DevicePrivacy(config.privacy.owner, config.privacy.redact)
        tasks, runner, outbox, telemetry = (parts[name] for name in ("_tasks", "_runner", "_outbox", "_telemetry"))
        agent = Agent(tasks, runner, parts["_next"].upstream, outbox, telemetry, privacy, daemon.memory)
        hosted, _ = tasks.find(TASK.name)
        hosted.serving = Serving(hosted.serving.slot, Mocked())

        async def answer(number: int) -> None:
            said = await agent.answer(Query(f"q{number}", TASK.name, TEXT), 30.0)
            assert said.provenance.tier is Tier.DEVICE

        whole = await microseconds(answer, queries)
        stop.set()
        await running
    await cloud.stop()
    seed, policy = os.urandom(SEED_BYTES), Policy(0.8)

    def choose(number: int) -> None:
        is_explored(seed, f"q{number}", EXPLORATION)
        decide(policy, 0.99)

    return {"whole": whole, "choice": of_choice(choose, queries)}


async def litellm(queries: int) -> Figures:
    """LiteLLM's Router, with its own mocked answer."""
    library: Any = importlib.import_module("litellm")
    library.suppress_debug_info = True
    given = {"model": "openai/gpt-4o-mini", "api_key": "none", "mock_response": "lights"}
    router = library.Router(model_list=[{"model_name": "cloud", "litellm_params": given}])
    messages = [{"role": "user", "content": TEXT}]

    async def answer(number: int) -> None:
        del number
        said = await router.acompletion(model="cloud", messages=messages)
        assert said.choices[0].message.content == "lights"

    def choose(number: int) -> None:
        del number
        router.get_available_deployment(model="cloud", messages=messages)

    return {"whole": await microseconds(answer, queries // 10), "choice": of_choice(choose, queries)}


async def routellm(queries: int) -> Figures:
    """RouteLLM's threshold check, with a router that answers at once."""
    os.environ.setdefault("OPENAI_API_KEY", "none")
    library: Any = importlib.import_module("routellm.controller")
    controller = library.Controller(routers=["random"], strong_model="strong", weak_model="weak")
    return {"choice": of_choice(lambda number: controller.route(TEXT, "random", 0.5), queries)}


def three_lines(queries: int) -> Figures:
    """What a threshold check comes to, written by us."""

    def route(number: int) -> str:
        del number
        win_rate = random.random()  # the mocked model
        return "strong" if win_rate >= 0.5 else "weak"

    return {"choice": of_choice(route, queries)}


async def semantic_router(queries: int) -> Figures:
    """semantic-router, with an encoder that costs nothing."""
    import numpy as np

    parts = ("semantic_router", "semantic_router.encoders", "semantic_router.routers")
    library, encoders, routers = (importlib.import_module(name) for name in parts)
    base: Any = encoders.DenseEncoder
    vectors = np.random.default_rng(0).normal(size=(151, 384)).tolist()

    class Mocked(base):  # type: ignore[misc]
        """An encoder that gives made vectors."""

        name: str = "mocked"

        def __call__(self, docs: list[Any]) -> list[list[float]]:
            """One vector a text."""
            return [vectors[len(str(text)) % len(vectors)] for text in docs]

        async def acall(self, docs: list[Any]) -> list[list[float]]:
            """The same."""
            return self(docs)

    routes = [
        library.Route(name=f"route {one}", utterances=[f"{'a' * (15 * one + n)}" for n in range(1, 16)])
        for one in range(10)
    ]
    router = routers.IndexedRouter(Mocked(), routes)
    return {"choice": await microseconds(lambda number: router.acall(TEXT), queries // 10)}


RUNS: dict[str, Callable[[int], Awaitable[Figures]]] = {
    "ours": ours,
    "litellm": litellm,
    "routellm": routellm,
    "semantic_router": semantic_router,
}


async def _run(name: str, queries: int) -> Figures:
    return await RUNS[name](queries)


def in_its_process(name: str, queries: int) -> Figures:
    """The figures of one router, or why there are none."""
    paths = [os.environ.get("HEADRACE_PEERS", ""), os.environ.get("PYTHONPATH", "")] if name != "ours" else []
    environment = os.environ | ({"PYTHONPATH": os.pathsep.join(filter(None, paths))} if paths else {})
    command = [sys.executable, "-m", "bench.router_cost", "--router", name, "--queries", str(queries)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    with contextlib.suppress(ValueError, IndexError):
        return dict(json.loads(done.stdout.splitlines()[-1]))
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    why = lines[-1] if lines else f"exit code {done.returncode}"
    return {"absent": why[:200]}


def version(name: str) -> str:
    """Of an installed package, empty where it is not."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(name.replace("_", "-"))
    return ""


def main() -> None:
    """Print each router's figures, then one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=3000, help="of each round")
    parser.add_argument("--router", choices=sorted(RUNS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.router:
        figures = asyncio.run(_run(options.router, options.queries))
        known = version(options.router) if options.router != "ours" else ""
        print(json.dumps({**figures, **({"version": known} if known else {})}))
        return
    found = {name: in_its_process(name, options.queries) for name in RUNS}
    if "absent" in found["routellm"]:
        found["a threshold check, ours"] = three_lines(options.queries)
    for name, one in found.items():
        print(f"{name:26} {one}")
    told: dict[str, Any] = {"question": "router_cost", "microseconds": found}
    for kind in ("whole", "choice"):
        costs = {name: float(one[kind]) for name, one in found.items() if kind in one}
        told[f"lowest_{kind}"] = min(costs, key=lambda name: costs[name])
    print(json.dumps(told))


if __name__ == "__main__":
    main()
