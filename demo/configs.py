"""The configuration files of a demo's cloud and agents, as TOML.

Rules:
 * They say what an operator would write, and nothing that only a demo can say.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from router.core.domain.task import Judge, Kind

TASK = "commands"
MOST_TOKENS = 64  # of the calls that one request means; the longest take about 30


@dataclass(frozen=True, slots=True)
class Models:
    """Language models in folders: the teacher's, and the one that students start from."""

    teacher: Path
    base: Path


@dataclass(frozen=True, slots=True)
class Pace:
    """When students are tried.

    Attributes:
        min_rows: Rows that teach, before the first one.
        growth: Times the rows of the last one, before the next.
        waiting: Share explored while a challenger waits.
    """

    min_rows: int
    growth: float
    waiting: float


def cloud_toml(target: str, teacher: str, task: str, pace: Pace, identity: str = "") -> str:
    """A cloud with one teacher and one task.

    Args:
        target: Address that it listens on.
        teacher: Its table, as ``teacher_toml`` gives it.
        task: Its table, as ``task_toml`` gives it.
        pace: Of refreshes.
        identity: Its table, as ``identity_toml`` gives it; empty where everything is plain.
    """
    return f"""\
data = "cloud"

[door]
listen = "{target}"
reflection = true
{identity}
[ray]
cpus = 2

[log]
drain_seconds = 0.1

[fleet]
sync_seconds = 0.15

[refresh]
min_rows = {pace.min_rows}
growth = {pace.growth}
poll_seconds = 0.1

{teacher}
{task}
[tasks.exploration]
waiting = {pace.waiting}
"""


def identity_toml(target: str) -> str:
    """The table of who may come: devices enrol at ``target``."""
    return f"""
[identity]
listen = "{target}"
passphrase_file = "issuing.txt"
"""


def teacher_toml(teacher: str, models: Models | None) -> str:
    """The table of the one teacher, which is named after its kind."""
    told = {
        "encoder": 'model = "minilm"\nexamples = "examples.jsonl"',
        "recorded": 'answers = "stream.jsonl"',
        "generating": f"model = {_quoted(models.teacher)}" if models else "",
    }[teacher]
    return f"""\
[[teachers]]
name = "{teacher}"
kind = "{teacher}"
{told}
"""


def task_toml(teacher: str, student: str, promise: float, assurance: float, models: Models | None) -> str:
    """The table of the one task: labels, or calls of tools where there are ``models`` that write."""
    return f"""\
[[tasks]]
name = "{TASK}"
reference = "{teacher}"
student = "{student}"
{_calls(models) if models else ""}
[tasks.objective]
max_disagreement = {promise}
assurance = {assurance}
"""


def _calls(models: Models) -> str:
    return f"""\
kind = "{Kind.TEXT.value}"
judge = "{Judge.TOOL_CALL.value}"
recipe = "responses"
base = {_quoted(models.base)}

[tasks.limits]
max_tokens = {MOST_TOKENS}

[tasks.options.training]
steps = 400
batch = 32
rate = 1e-3
"""


def edge_toml(device: str, target: str, upstream: str) -> str:
    """An agent named ``device`` that listens on ``target`` and escalates to ``upstream``."""
    return f"""\
device = "{device}"
data = "{device}"

[door]
listen = "{target}"
reflection = true

[upstream]
target = "{upstream}"
"""


def _quoted(path: Path) -> str:
    return json.dumps(str(path.absolute()), ensure_ascii=False)
