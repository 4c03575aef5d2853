"""What a demo is asked to do, checked before anything starts, and the configuration files that follow from it."""

from __future__ import annotations

import contextlib
import json
import random
import socket
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from demo.configs import TASK, Models, Pace, cloud_toml, edge_toml, identity_toml, task_toml, teacher_toml
from demo.tools.workload import generate as generate_requests
from demo.workload import Line, Workload, generate
from router.core.domain.task import Judge, Task
from router.core.errors import ConfigError, DataError, StartError
from router.io.json_lines import json_lines

__all__ = [
    "CLIENT_NAME",
    "DEFAULT_QUERIES",
    "TASK",
    "TOOLS_QUERIES",
    "Addresses",
    "Setting",
    "free_ports",
    "own_workload",
    "read_lines",
    "workload",
    "write_configs",
]

DEFAULT_QUERIES = 10_000
TOOLS_QUERIES = 5000
CLIENT_NAME = "measure"  # who asks the teacher afterwards
MAX_TEXT_BYTES = Task(TASK, "").max_text_bytes

_PORTS = range(20_000, 32_000)  # above Ray's workers, below what systems hand out by themselves


@dataclass(frozen=True, slots=True)
class Setting:
    """A demo.

    Attributes:
        folder: Everything that the run leaves behind.
        stream: What the fleet is asked, in its order.
        examples: What the teacher is fitted on; empty for a recorded one.
        teacher: ``encoder``, ``recorded`` or ``generating``.
        student: ``compact``, ``encoder-head`` or ``generator``.
        promise: Largest disagreement.
        assurance: Of the promise.
        agents: How many devices.
        rate: Queries a second, 0 for as fast as they are answered.
        lockstep: Hold the stream while something is computed or copied.
        is_own: The workload is the demo's own.
        models: Of teacher and students that write; ``None`` for those that give labels.
        new_labels: Labels that the stream asks for only from somewhere on.
        secure: Certificates on both sides of every connection to the cloud, and signed releases.
        cloud_host: Address where the cloud listens, beyond this machine only where it is secure.
        cloud_network: Network namespace that the cloud runs in, as a path; empty for the demo's own.
    """

    folder: Path
    stream: tuple[Line, ...]
    examples: tuple[Line, ...]
    teacher: str
    student: str
    promise: float
    assurance: float
    agents: int
    rate: float
    lockstep: bool
    is_own: bool
    models: Models | None = None
    new_labels: frozenset[str] = frozenset()
    secure: bool = False
    cloud_host: str = "127.0.0.1"
    cloud_network: str = ""

    @property
    def judge(self) -> Judge:
        """How answers are compared."""
        return Judge.TOOL_CALL if self.models else Judge.LABEL


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the processes of a demo are: configuration files and targets.

    ``enrolment_target`` is where devices enrol, empty where everything is plain; ``cloud_network`` is the network
    namespace that the cloud runs in, empty for the demo's own.
    """

    cloud_config: Path
    cloud_target: str
    agent_configs: tuple[Path, ...]
    agent_targets: tuple[str, ...]
    enrolment_target: str = ""
    cloud_network: str = ""

    @property
    def devices(self) -> tuple[str, ...]:
        """Names of the devices."""
        return tuple(path.stem for path in self.agent_configs)

    @property
    def is_secure(self) -> bool:
        """Whether the cloud is asked with certificates."""
        return bool(self.enrolment_target)

    @property
    def client(self) -> Path:
        """Folder of the key and certificate that the teacher is asked with."""
        return self.cloud_config.parent / CLIENT_NAME


def read_lines(path: Path) -> tuple[Line, ...]:
    """Lines ``{text, label}`` of a JSON lines file.

    Raises:
        DataError: Names file and line.
    """
    lines = [_line(path, number, said) for number, said in json_lines(path)]
    if not lines:
        raise DataError(str(path), 0, 'has no lines; write JSON lines such as {"text": "...", "label": "..."}')
    return tuple(lines)


def _line(path: Path, number: int, row: Any) -> Line:
    for key in ("text", "label"):
        if not isinstance(row, dict) or not isinstance(row.get(key), str) or not row[key].strip():
            raise DataError(str(path), number, f'needs a text that is not empty under "{key}"')
    size = len(row["text"].encode())
    if size > MAX_TEXT_BYTES:
        raise DataError(str(path), number, f'has {size} bytes under "text", over the limit of {MAX_TEXT_BYTES}')
    return Line(row["text"], row["label"])


def workload(
    examples: Path | None, stream: Path | None, teacher: str, limit: int, seed: int
) -> tuple[tuple[Line, ...], tuple[Line, ...]]:
    """Examples and stream: from files, or the demo's own.

    Raises:
        ConfigError: Only one of two files that are needed is named.
        DataError: A file can't be used.
    """
    if stream is None:
        if examples is not None:
            raise ConfigError("--stream", "", "is needed beside --examples: the queries that the fleet is asked")
        own = own_workload(teacher, limit, seed)
        return own.examples, own.stream
    if teacher == "encoder" and examples is None:
        raise ConfigError("--examples", "", "is needed by --teacher encoder: the lines that the teacher is fitted on")
    if teacher == "generating":
        raise ConfigError("--stream", "", "goes with --workload commands; the models of tools know their own requests")
    known = read_lines(examples) if examples is not None and teacher == "encoder" else ()
    asked = read_lines(stream)
    return known, asked[:limit] if limit else asked


def own_workload(teacher: str, limit: int, seed: int) -> Workload:
    """The demo's own: requests that mean calls of tools for a teacher that writes, else commands that mean a label."""
    if teacher == "generating":
        return generate_requests(limit or TOOLS_QUERIES, seed)
    return generate(limit or DEFAULT_QUERIES, seed)


def write_configs(setting: Setting) -> Addresses:
    """Write workload and configuration files into the run's folder.

    Raises:
        ConfigError: The folder can't be made, or holds another run.
    """
    folder = setting.folder.absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        is_empty = not any(folder.iterdir())
    except OSError as error:
        raise ConfigError("--run", "", f"{folder} can't be used: {error.strerror or error}") from error
    if not is_empty:
        raise ConfigError("--run", "", f"{folder} is not empty; name a new folder")
    _write_lines(folder / "stream.jsonl", setting.stream)
    _write_lines(folder / "examples.jsonl", setting.examples)
    first, second, *ports = free_ports(setting.agents + 2)
    host = setting.cloud_host
    cloud_target, enrolment_target = f"{host}:{first}", f"{host}:{second}" if setting.secure else ""
    (folder / "cloud.toml").write_text(_cloud(setting, cloud_target, enrolment_target), encoding="utf-8")
    configs, targets = [], []
    for number, port in enumerate(ports, 1):
        target = f"127.0.0.1:{port}"
        config = folder / f"edge-{number}.toml"
        config.write_text(edge_toml(config.stem, target, cloud_target), encoding="utf-8")
        configs.append(config)
        targets.append(target)
    addresses = Addresses(folder / "cloud.toml", cloud_target, tuple(configs), tuple(targets))
    return replace(addresses, enrolment_target=enrolment_target, cloud_network=setting.cloud_network)


def _cloud(setting: Setting, target: str, enrolment_target: str) -> str:
    task = task_toml(setting.teacher, setting.student, setting.promise, setting.assurance, setting.models)
    identity = identity_toml(enrolment_target) if enrolment_target else ""
    return cloud_toml(target, teacher_toml(setting.teacher, setting.models), task, _pace(setting), identity)


def _pace(setting: Setting) -> Pace:
    least = max(10, min(1000, len(setting.stream) // 3))  # a short stream gets its first student sooner
    if setting.models:
        return Pace(least, growth=1.5, waiting=0.4)
    return Pace(least, growth=1.35, waiting=0.4) if setting.is_own else Pace(min(600, least), growth=1.4, waiting=0.25)


def free_ports(count: int) -> list[int]:
    """Ports on loopback that nothing listens on now."""
    ports: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            ports.append(port)
        if len(ports) == count:
            return ports
    raise StartError(f"fewer than {count} ports between {_PORTS.start} and {_PORTS.stop} are free")


def _write_lines(path: Path, lines: tuple[Line, ...]) -> None:
    text = "".join(json.dumps({"text": line.text, "label": line.label}, ensure_ascii=False) + "\n" for line in lines)
    path.write_text(text, encoding="utf-8")
