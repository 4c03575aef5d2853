"""What does an agent take of a device: installed size, resident memory, and time from start to first answer?

Without a student, with a compact one, and with the 22 M-parameter MiniLM encoder and a head, each of random weights or
head, as a process of its own. Installed is what the extra ``edge`` brings, as the packages themselves list their files;
with ``--small`` also of an environment that is made as ``docs/edge.md`` says where room is short, after an agent has
answered from it, Headrace itself left out of both. Memory is the process's own after its first hundred answers; of the
start, the least of some is told, in seconds and in seconds of the processor, which other programs change less.

    python -m bench.footprint --starts 3 --small
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from packaging.requirements import Requirement

from bench.local_answer import cpu_seconds
from bench.parts.installed_agent import LABELS, TASK, TEXTS, Processes, compact_release, install, label_release, told
from cloud_worker.language.encoder import load_encoder
from cloud_worker.training.export import HEAD_FILE, MODEL_FILE, TOKENIZER_FILE, export_encoder, head_model
from edge_agent.testing.tiny_releases import empty_release
from router.core.domain.task import StudentKind
from router.core.release.manifest import Manifest, StudentSpec
from router.students.onnx_student import OnnxEncoder
from router.v1 import cascade_pb2, cascade_pb2_grpc

ANSWERS = 100
DOC = Path(__file__).parent.parent / "docs" / "edge.md"
SMALL = "python3 -m venv small "  # the line of the docs that the commands begin with
OURS = ("router", "edge_agent", "cloud_worker")
GOALS = {"installed_mb": 200, "none_mb": 120, "compact_mb": 200, "encoder_mb": 200, "start_seconds": 1.5}

Release = tuple[Manifest, dict[str, bytes]]


def encoder_release(folder: Path) -> Release:
    """A release of the MiniLM encoder and a head of random weights."""
    where = export_encoder(load_encoder("minilm"), folder)
    random = np.random.default_rng(0)
    wide = OnnxEncoder(where / MODEL_FILE, where / TOKENIZER_FILE, 64).dimensions
    weights = random.normal(size=(wide, LABELS)).astype(np.float32)
    centroids = weights.T / np.linalg.norm(weights.T, axis=1, keepdims=True)
    files = {name: (where / name).read_bytes() for name in (MODEL_FILE, TOKENIZER_FILE)}
    files[HEAD_FILE] = head_model(weights, np.zeros(LABELS, np.float32), centroids)
    labels = tuple(f"intent_{label}" for label in range(LABELS))
    spec = StudentSpec(StudentKind.ENCODER_HEAD, MODEL_FILE, TOKENIZER_FILE, labels, 64, "random", head=HEAD_FILE)
    return label_release(spec, files, 1, 0.0)


def installed_bytes(extra: str = "edge") -> dict[str, int]:
    """Bytes by package of what the extra brings, Headrace itself left out."""
    sizes: dict[str, int] = {}
    waiting = [("headrace", extra)]
    while waiting:
        name, wanted = waiting.pop()
        found = importlib.metadata.distribution(name)
        for text in found.requires or ():
            needed = Requirement(text)
            if needed.name in sizes or (needed.marker and not needed.marker.evaluate({"extra": wanted})):
                continue
            sizes[needed.name] = _size(needed.name)
            waiting += [(needed.name, one) for one in needed.extras or {""}]
    return sizes


def _size(name: str) -> int:
    files = importlib.metadata.distribution(name).files or ()
    return sum(where.stat().st_size for file in files if (where := Path(str(file.locate()))).is_file())


def small_environment(folder: Path) -> Path:
    """An environment made as the docs say where room is short; its Python."""
    _, _, after = DOC.read_text().partition(SMALL)
    commands = SMALL + after.partition("```")[0]
    subprocess.run(["bash", "-ec", commands.replace("small", str(folder))], cwd=DOC.parent.parent, check=True)
    return folder / "bin" / "python"


def small_bytes(folder: Path, release: Path) -> int:
    """Bytes of such an environment after an agent has answered from it, without Headrace's own packages."""
    started(release, True, str(small_environment(folder)))
    packages = next((folder / "lib").glob("python3*/site-packages"))
    return sum(
        file.stat().st_size
        for file in packages.rglob("*")
        if file.is_file() and file.relative_to(packages).parts[0] not in OURS
    )


def started(folder: Path, local: bool, python: str = sys.executable) -> tuple[float, float, float]:
    """Seconds to the first answer of an agent, its memory in MB, and the seconds of the processor to that answer."""
    with Processes() as processes:
        began = time.perf_counter()
        process = processes.agent(folder, python=python)
        port = told(folder / "data" / "run" / "agent.json")["port"]
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = cascade_pb2_grpc.CascadeStub(channel)
            for number in range(ANSWERS if local else 1):
                _ask(stub, number, local)
                if not number:
                    seconds, busy = time.perf_counter() - began, cpu_seconds(process.pid)
        return seconds, _resident(process.pid), busy


def _ask(stub: cascade_pb2_grpc.CascadeStub, number: int, local: bool) -> None:
    request = cascade_pb2.AnswerRequest(query_id=str(number), task=TASK.name, text=TEXTS[number % len(TEXTS)])
    try:
        stub.Answer(request, timeout=60 if local else 0.2, wait_for_ready=True)
    except grpc.RpcError:
        if local:  # without a student and a next tier there is no answer
            raise


def _resident(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def main() -> None:
    """Measure, and print the figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="also make an environment as where room is short")
    options = parser.parse_args()
    sizes = installed_bytes()
    figures: dict[str, Any] = {"installed_mb": round(sum(sizes.values()) / 1e6, 1)}
    figures["largest"] = {name: round(sizes[name] / 1e6, 1) for name in sorted(sizes, key=lambda one: -sizes[one])[:8]}
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        scratch = Path(name)
        releases: dict[str, Release] = {
            "none": (empty_release(TASK), {}),
            "compact": compact_release(),
            "encoder": encoder_release(scratch / "exported"),
        }
        for what, release in releases.items():
            folder = scratch / what
            asyncio.run(install(folder / "data", *release))
            lives = [started(folder, what != "none") for _ in range(options.starts)]
            figures[f"{what}_mb"] = round(min(memory for _, memory, _ in lives), 1)
            if what != "none":
                figures[f"{what}_start_seconds"] = round(min(seconds for seconds, _, _ in lives), 2)
                figures[f"{what}_start_cpu_seconds"] = round(min(busy for _, _, busy in lives), 2)
            print(what, figures, flush=True)
        if options.small:
            figures["small_mb"] = round(small_bytes(scratch / "small", scratch / "compact") / 1e6, 1)
    print(json.dumps({"question": "footprint", "goals": GOALS, **figures}))


if __name__ == "__main__":
    main()
