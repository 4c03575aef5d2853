"""Models that the configuration names and that are loaded only hours later, looked at before anything starts.

Bases of students that write have their own page, ``bases``; what teachers load is loaded when they are prepared.
"""

from __future__ import annotations

from collections.abc import Iterator

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.config.recipe_needs import starts_from_base
from cloud_worker.config.teachers import EncoderSettings, VllmSettings
from cloud_worker.language.encoder_source import check_encoder_source
from router.core.domain.task import Kind, StudentKind, Task
from router.core.errors import ConfigError, ModelError


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
