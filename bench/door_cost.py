"""What does an answer take of the processor at each door, process by process, and beside a bare echo?

An agent's local answers, or a gateway's with its durable spool (the replica of its teacher is a process of its own,
without Ray), asked by as many lanes as are given; beside them a bare grpc.aio echo with messages of the same size.
Processor time says more than rates where a machine is shared: the caller is a few sockets, and is not counted. With
``--tree`` the same doors are opened from other checkouts too, and all are asked in turn, so that before and after meet
the same machine. Told are the medians over the turns, in milliseconds an answer.

    python -m bench.door_cost --door agent
    python -m bench.door_cost --door gateway --tree before=../before
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from bench.local_answer import cpu_seconds
from bench.parts.installed_agent import TASK, TEXTS, compact_release, install, told
from bench.parts.open_loop import OpenLoop
from router.v1 import cascade_pb2

HERE = Path(__file__).resolve().parent.parent
LANES = {"agent": 32, "gateway": 64}
CONNECTIONS = 4

Message = Callable[[int], bytes]


class Opened:
    """Doors as processes, which end with the context."""

    def __enter__(self) -> Opened:
        self._started: list[subprocess.Popen[bytes]] = []
        return self

    def start(self, tree: Path, *command: str) -> None:
        """Start Python on the code of ``tree``, without its words."""
        environment = os.environ | {"PYTHONPATH": f"{tree}{os.pathsep}{HERE}"}
        quiet = subprocess.DEVNULL
        whole = (sys.executable, *command)
        self._started.append(subprocess.Popen(whole, cwd=tree, env=environment, stdout=quiet, stderr=quiet))

    def __exit__(self, *_: object) -> None:
        for process in self._started:
            process.terminate()
        for process in self._started:
            process.wait(60)


class Door:
    """One door, and what its processes have taken of the processor."""

    def __init__(self, port: int, pids: dict[str, int], message: Message, lanes: int) -> None:
        """Ask at ``port``; ``pids`` are the processes behind it by their names."""
        self._opened = partial(OpenLoop, port, CONNECTIONS, message)
        self._pids, self._lanes = pids, lanes
        self.costs: dict[str, list[float]] = {name: [] for name in pids}
        self.rates: list[float] = []

    def ask(self, seconds: float, *, counts: bool = True) -> None:
        """Ask for so long."""
        load = self._load  # connected only now: a server ends connections on which nobody says anything
        before = {name: cpu_seconds(pid) for name, pid in self._pids.items()}
        outcome = load.in_lanes(self._lanes, seconds)
        answers = len(outcome.seconds)
        assert set(outcome.statuses) == {"0"}, outcome.statuses
        if counts:
            self.rates.append(answers / seconds)
            for name, pid in self._pids.items():
                self.costs[name].append(1000 * (cpu_seconds(pid) - before[name]) / answers)

    @cached_property
    def _load(self) -> OpenLoop:
        return self._opened()

    def told(self) -> dict[str, Any]:
        """The medians."""
        costs = {name: round(statistics.median(each), 4) for name, each in self.costs.items()}
        return {"cpu_ms": costs, "answers_per_second": round(statistics.median(self.rates), 1)}

    def close(self) -> None:
        """Hang up."""
        self._load.close()


def _asking(task: str, texts: list[str], name: str, consent: cascade_pb2.Consent.ValueType) -> Message:
    def message(number: int) -> bytes:
        request = cascade_pb2.AnswerRequest(
            query_id=f"{name}-{number}", task=task, text=texts[number % len(texts)], consent=consent
        )
        return request.SerializeToString()

    return message


def _echo(opened: Opened, folder: Path, lanes: int) -> Door:
    opened.start(HERE, "-m", "bench.local_answer", "--echo", str(folder / "echo.json"))
    here = told(folder / "echo.json")
    message = _asking(TASK.name, list(TEXTS), "echo", cascade_pb2.CONSENT_UNSPECIFIED)
    return Door(here["port"], {"echo": here["pid"]}, message, lanes)


def _agent(opened: Opened, tree: Path, folder: Path, lanes: int) -> Door:
    installed = folder.parent / "installed"
    if not installed.exists():
        asyncio.run(install(installed, *compact_release()))
    shutil.copytree(installed, folder / "data")
    (folder / "data" / "run" / "agent.json").unlink(missing_ok=True)
    lines = ('device = "kitchen"', 'data = "data"', 'door.listen = "127.0.0.1:0"', 'upstream.target = "127.0.0.1:1"')
    (folder / "agent.toml").write_text("\n".join(lines) + "\n")
    opened.start(tree, "-m", "edge_agent.cli", "run", "-c", str(folder / "agent.toml"), "--insecure")
    here = told(folder / "data" / "run" / "agent.json")
    message = _asking(TASK.name, list(TEXTS), "cost", cascade_pb2.CONSENT_UNSPECIFIED)
    return Door(here["port"], {"agent": here["pid"]}, message, lanes)


def _gateway(opened: Opened, tree: Path, folder: Path, lanes: int) -> Door:
    from bench.parts.load import TEXTS as KNOWN

    for what in ("replica", "gateway"):
        opened.start(tree, str(HERE / "bench" / "parts" / "rayless_gateway.py"), what, str(folder))
        told(folder / f"{what}.json")
    known = {what: told(folder / f"{what}.json") for what in ("gateway", "replica")}
    texts = [f"text {number}" for number in range(KNOWN)]
    message = _asking("home", texts, "cost", cascade_pb2.CONSENT_GRANTED)
    return Door(known["gateway"]["port"], {what: one["pid"] for what, one in known.items()}, message, lanes)


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """What each door takes, by the name of its tree."""
    trees = {"now": HERE, **{name: Path(path).resolve() for name, path in options.tree}}
    lanes = options.lanes or LANES[options.door]
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name, Opened() as opened:
        doors = {"echo": _echo(opened, Path(name), lanes)}
        for which, tree in trees.items():
            folder = Path(name) / which
            folder.mkdir()
            doors[which] = {"agent": _agent, "gateway": _gateway}[options.door](opened, tree, folder, lanes)
        for door in doors.values():
            door.ask(2 * options.seconds, counts=False)
        for turn in range(options.turns):
            for which in doors if turn % 2 else reversed(doors):
                doors[which].ask(options.seconds)
        for door in doors.values():
            door.close()
        return {"door": options.door, "lanes": lanes, **{which: door.told() for which, door in doors.items()}}


def _named(pair: str) -> tuple[str, str]:
    name, _, path = pair.partition("=")
    return name, path


def main() -> None:
    """Measure, and print the figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--door", choices=tuple(LANES), default="agent")
    parser.add_argument("--lanes", type=int, default=0, help="who ask at once; 0 for 32 and 64")
    parser.add_argument("--turns", type=int, default=8, help="of each door")
    parser.add_argument("--seconds", type=float, default=1.0, help="of one turn")
    parser.add_argument("--tree", type=_named, action="append", default=[], help="NAME=PATH of another checkout")
    print(json.dumps({"question": "door_cost", **measured(parser.parse_args())}))


if __name__ == "__main__":
    main()
