"""Models that the configuration names and that are loaded only hours later, looked at before anything starts.

Rules:
 * Of a folder that students which write start from: that the files are there, and that the configuration is one.
   Nothing is loaded.
 * A name of a hub, such as ``org/model``, is left to the load; what teachers load is loaded when they are prepared.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.config.recipe_needs import starts_from_base
from cloud_worker.config.teachers import EncoderSettings, VllmSettings
from cloud_worker.language.encoder_source import check_encoder_source
from router.core.domain.task import Kind, StudentKind, Task
from router.core.errors import ConfigError, ModelError
from router.io.atomic_write import in_home

_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")  # ByT5 has the last one alone
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")


def check_models(config: CloudConfig) -> None:
    """Check every model that is named, as ``check_bases`` and ``check_named_models`` do."""
    check_bases(config)
    check_named_models(config)


def check_named_models(config: CloudConfig) -> None:
    """Check what fits and measurements will load.

    Raises:
        ConfigError: Names the key, and what is wrong with the model that it names.
    """
    for source, key, model in dict.fromkeys(_encoders(config)):
        try:
            check_encoder_source(model)
        except ModelError as error:
            raise ConfigError(source, key, str(error)) from error
    served = [server.model for server in config.servers]
    for task in config.tasks:
        if task.student == StudentKind.SERVED and task.base not in served:
            known = ", ".join(sorted(served)) or "none"
            problem = f"{task.base!r} is at no server that is set up ({known}); add [[servers]] with its model and url"
            raise ConfigError(f"tasks.{task.name}", "base", problem)


def _encoders(config: CloudConfig) -> Iterator[tuple[str, str, str]]:
    """Where each stands, its key, and what it names."""
    if any(_reads_with_encoder(task) for task in config.tasks):
        yield "cloud.toml", "encoder", config.encoder
    for task in config.tasks:
        if starts_from_base(task):
            yield f"tasks.{task.name}", "base", task.base
    for teacher in config.teachers:
        if isinstance(teacher, EncoderSettings | VllmSettings):
            yield f"teachers.{teacher.name}", "model", teacher.model


def _reads_with_encoder(task: Task) -> bool:
    """Whether its student is made with the pretrained encoder."""
    return task.kind is Kind.LABEL and not starts_from_base(task)


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
