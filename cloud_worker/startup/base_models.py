"""Folders that students which write start from, looked at before anything starts: the first refresh is hours away.

Rules:
 * Nothing is loaded: that the files are there, and that the configuration is one, is what can be known at once.
 * A name of a hub, such as ``org/model``, is left to the load; so is what a served student names.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from cloud_worker.config.cloud import CloudConfig
from router.core.domain.task import StudentKind, Task
from router.core.errors import ConfigError
from router.io.atomic_write import in_home

_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")  # ByT5 has the last one alone
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")


def check_bases(config: CloudConfig) -> None:
    """Check the base of every task whose students start from one.

    Raises:
        ConfigError: It is a folder that is not there, or that lacks what is needed.
    """
    for task in config.tasks:
        problem = _problem(task) if task.student == StudentKind.GENERATOR else ""
        if problem:
            raise ConfigError(f"tasks.{task.name}", "base", f"{task.base!r} {problem}")


def _problem(task: Task) -> str:
    folder = in_home(task.base)
    if not folder.is_dir():
        is_path = task.base.startswith((".", "~", "/")) or task.base.count("/") > 1
        return "is no folder; name one that is there, or a model by its name" if is_path else ""
    missing = [
        what
        for what, files in (
            ("config.json", ("config.json",)),
            (f"tokenizer ({' or '.join(_TOKENIZERS)})", _TOKENIZERS),
            (f"weights as safetensors ({' or '.join(_WEIGHTS)})", _WEIGHTS),
        )
        if not _has_one(folder, files)
    ]
    if missing:
        return f"has no {', no '.join(missing)}; save model and tokenizer there by save_pretrained"
    return _problem_of_configuration(folder / "config.json")


def _has_one(folder: Path, files: Sequence[str]) -> bool:
    return any((folder / name).is_file() for name in files)


def _problem_of_configuration(path: Path) -> str:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return f"has a {path.name} that can't be read: {error}"
    named = isinstance(content, dict) and isinstance(content.get("model_type"), str)
    return "" if named else f"has a {path.name} without model_type; it is of no model of transformers"
