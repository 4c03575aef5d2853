"""The configuration that a cluster runs with, and what ``cloud.toml`` says otherwise since.

Rules:
 * What runs is kept beside who runs, and goes with it.
 * Nothing secret is kept: of an address with a password, the address alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy.engine import make_url

from cloud_worker.config.cloud import CloudConfig
from router.core.domain.task import Task
from router.io.atomic_write import write_whole

_FILE = "config.json"
_NAMED = ("tasks", "teachers", "servers")  # tables in which each entry has a name
_TASKS = TypeAdapter(tuple[Task, ...])
ABSENT = "(not there)"


def keep_running(folder: Path, config: CloudConfig) -> None:
    """Note in the run folder what runs from now on."""
    write_whole(folder / _FILE, json.dumps(_said(config)).encode())


def what_runs(folder: Path) -> dict[str, Any] | None:
    """What runs, as it was noted; ``None`` where it is not known."""
    try:
        said = json.loads((folder / _FILE).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) and _has_names(said) else None


def as_it_runs(config: CloudConfig, said: Mapping[str, Any] | None) -> CloudConfig:
    """The configuration with the tasks and the pace that run; as it is where that is not known."""
    if said is None:
        return config
    try:
        tasks = _TASKS.validate_python(said["tasks"])
        fleet = type(config.fleet)(**said["fleet"])
    except (KeyError, TypeError, ValidationError):
        return config  # of another version
    return config.model_copy(update={"tasks": tasks, "fleet": fleet})


def differences(config: CloudConfig, said: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """What ``cloud.toml`` says otherwise than what runs, by key: ``key``, ``runs`` and ``file``, ready for JSON.

    Args:
        config: As the file says it now.
        said: What runs, ``None`` where it is not known.
    """
    if said is None:
        return []
    runs, configured = dict(_flat("", said)), dict(_flat("", _said(config)))
    keys = sorted({*runs, *configured})
    found = [(key, runs.get(key, ABSENT), configured.get(key, ABSENT)) for key in keys]
    return [{"key": key, "runs": now, "file": then} for key, now, then in found if now != then]


def difference_lines(differing: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines for people; none where nothing differs."""
    if not differing:
        return []
    lines = [f"  {one['key']}: {_word(one['runs'])} -> {_word(one['file'])}" for one in differing]
    return ["cloud.toml differs from what runs; it takes effect at the next `up`:", *lines]


def _has_names(said: Mapping[str, Any]) -> bool:
    """Whether each entry of the tables that hold named ones is such a one: the file may hold anything by now."""
    entries = [one for table in _NAMED for one in (said.get(table) or ())]
    return "tasks" in said and all(isinstance(one, dict) for one in entries)


def _said(config: CloudConfig) -> dict[str, Any]:
    said: dict[str, Any] = config.model_dump(mode="json", exclude={"ray"})  # `up --address` joins by a flag
    if config.store.url:
        said["store"]["url"] = make_url(config.store.url).render_as_string(hide_password=True)
    return said


def _flat(path: str, value: Any) -> list[tuple[str, Any]]:
    """Each plain value with its key, as ``tasks.home.objective.max_disagreement``."""
    if isinstance(value, dict) and value:
        return [pair for key, inner in value.items() for pair in _flat(f"{path}.{key}".lstrip("."), inner)]
    if path in _NAMED and isinstance(value, list):
        named = {str(one.get("name") or one.get("model")): one for one in value}
        return [pair for name, inner in named.items() for pair in _flat(f"{path}.{name}", inner)]
    return [(path, value)]


def _word(value: Any) -> str:
    return value if value == ABSENT else json.dumps(value, ensure_ascii=False)
