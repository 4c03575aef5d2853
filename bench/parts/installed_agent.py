"""An agent with a student in place, as a process of its own."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from cloud_worker.language.encoder import load_encoder
from cloud_worker.training.compact_student import MAX_TOKENS, WIDTH, CompactStudent
from cloud_worker.training.export import MODEL_FILE, TOKENIZER_FILE, export_compact
from edge_agent.config import Config
from edge_agent.daemon import Daemon
from edge_agent.testing.cloud_simulator import CloudSimulator
from router.core.domain.label_confidence import Calibration
from router.core.domain.query import Query
from router.core.domain.task import StudentKind, Task
from router.core.policy.deferral import Policy
from router.core.release.manifest import File, Golden, Manifest, StudentSpec, digest
from router.students.onnx_student import Student

WAIT_SECONDS = 120.0
TASK = Task("home", reference="big")
LABELS = 150
TEXTS = (
    "what is the exchange rate between dollars and euros right now",
    "please turn on the lights in the kitchen",
    "how long does it take to cook a turkey of four kilograms",
)


def compact_release(number: int = 1, threshold: float = 0.0) -> tuple[Manifest, dict[str, bytes]]:
    """A release whose student has the size of a compact one, and random weights."""
    torch.manual_seed(0)
    tokenizer = load_encoder("minilm").tokenizer
    student = CompactStudent(torch.randn(len(tokenizer), WIDTH), LABELS)
    labels = tuple(f"intent_{label}" for label in range(LABELS))
    spec = StudentSpec(StudentKind.COMPACT, MODEL_FILE, TOKENIZER_FILE, labels, MAX_TOKENS, version="random")
    files = export_compact(student, spec, tokenizer, TEXTS)
    return label_release(spec, files, number, threshold)


def label_release(
    spec: StudentSpec, files: dict[str, bytes], number: int, threshold: float
) -> tuple[Manifest, dict[str, bytes]]:
    """A release of a student of labels, with golden inputs of what it says itself."""
    calibration = Calibration(1.0, (0.0,) * 4, (1.0,) * 4, (1.0, 1.0, -1.0, 1.0), 0.0)
    with tempfile.TemporaryDirectory() as scratch:
        for name, data in files.items():
            (Path(scratch) / name).write_bytes(data)
        said = [(text, Student(Path(scratch), spec, calibration).predict(Query("", TASK.name, text))) for text in TEXTS]
    golden = [{"text": text, "answer": judged.answer, "score": judged.score} for text, judged in said]
    files = {**files, "golden.jsonl": "".join(json.dumps(row) + "\n" for row in golden).encode()}
    manifest = Manifest(
        task=TASK,
        number=number,
        created_at=0.0,
        policy=Policy(threshold, number),
        student=spec,
        calibration=calibration,
        golden=Golden("golden.jsonl", 0.01),
        files={name: File(len(data), digest(data)) for name, data in files.items()},
    )
    return manifest, files


async def install(data: Path, manifest: Manifest, files: dict[str, bytes], exploration: float = 0.0) -> None:
    """Leave a data folder in which a release is in place."""
    cloud = CloudSimulator(lambda text: "unknown")
    await cloud.start()
    cloud.publish(manifest, files, exploration)
    upstream = {"target": cloud.target}
    config = Config(device="kitchen", data=data, door={"listen": "127.0.0.1:0"}, upstream=upstream)
    daemon, stop = Daemon(config, insecure=True), asyncio.Event()
    running = asyncio.create_task(daemon.run(stop))
    await cloud.until_active(manifest.number, WAIT_SECONDS)
    stop.set()
    await running
    await cloud.stop()


class Processes:
    """Processes that end with the context."""

    def __enter__(self) -> Processes:
        self._started: list[subprocess.Popen[bytes]] = []
        return self

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """Start one, without its words."""
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._started.append(process)
        return process

    def agent(
        self, folder: Path, more: Sequence[str] = (), target: str = "127.0.0.1:1", python: str = sys.executable
    ) -> subprocess.Popen[bytes]:
        """An agent over ``folder/data``, whose next tier is ``target``: nothing answers there unless it is given."""
        lines = ('device = "kitchen"', 'data = "data"', 'door.listen = "127.0.0.1:0"', f'upstream.target = "{target}"')
        (folder / "agent.toml").write_text("\n".join((*lines, *more)) + "\n")
        (folder / "data" / "run" / "agent.json").unlink(missing_ok=True)
        config = str(folder / "agent.toml")
        return self.start(python, "-m", "edge_agent.cli", "run", "-c", config, "--insecure")

    def __exit__(self, *_: object) -> None:
        for process in self._started:
            process.terminate()
        for process in self._started:
            process.wait(60)


def told(path: Path) -> dict[str, int]:
    """What a process has written of itself, once it has.

    Raises:
        TimeoutError: It was not written in time.
    """
    until = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < until:
        try:
            return dict(json.loads(path.read_bytes()))
        except (OSError, ValueError):
            time.sleep(0.02)
    raise TimeoutError(f"{path} was not written")


def numbered(manifest: Manifest, number: int) -> Manifest:
    """The same release under another number."""
    return replace(manifest, number=number, policy=replace(manifest.policy, version=number))
