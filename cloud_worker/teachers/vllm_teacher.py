"""A teacher on the cluster's GPUs: vLLM engines under Ray Serve's LLM API, asked over its OpenAI-compatible interface.

Ray starts, places and heals the engines; a replica of the teacher beside them asks the Serve proxy of its own node.

What is tested without a GPU: the settings, the arguments against Ray's own classes, what is said where vLLM or GPUs are
missing, and the way from a replica to such an interface over HTTP. An engine has not been started by our tests.

Rules:
 * Serve's proxy listens on 127.0.0.1 of every node alone: whoever may ask the engines is on the cluster.
 * What is missing, the package or the GPUs, is said before any engine starts.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from cloud_worker.config.teachers import TeacherSettings, VllmSettings
from cloud_worker.teachers.openai_compatible import remote_teacher
from cloud_worker.teachers.remote_teacher import WritingTeacher
from cloud_worker.teachers.versions import digest_of_model
from router.core.errors import StartError
from router.io.extras import advice
from router.students.writers.server_writer import ServedWriter

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Endowment:
    """What a cluster has for engines.

    Attributes:
        vllm: Installed here; every node with GPUs must have the same packages.
        gpus: Of the whole cluster.
    """

    vllm: bool
    gpus: float


def check_engines(teachers: Iterable[TeacherSettings], has: Endowment) -> None:
    """Check that the engines of all teachers of this kind can start.

    Raises:
        StartError: Says what is missing.
    """
    wanted = [teacher for teacher in teachers if isinstance(teacher, VllmSettings)]
    if not wanted:
        return
    names = ", ".join(repr(teacher.name) for teacher in wanted)
    if not has.vllm:
        raise StartError(f"teacher {names}: vllm is not installed; {advice('vllm')} (on every node)")
    gpus = sum(teacher.gpus * teacher.replicas for teacher in wanted)
    if gpus > has.gpus:
        raise StartError(
            f"teacher {names}: {gpus} GPUs are needed and the cluster has {has.gpus:g}; join one that has them "
            "(ray.address), or set fewer gpus or replicas, or another kind of teacher"
        )


def endowment_of_cluster() -> Endowment:
    """What the connected Ray cluster has."""
    import ray

    try:
        metadata.version("vllm")
    except metadata.PackageNotFoundError:
        installed = False
    else:
        installed = True
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return Endowment(installed, float(resources.get("GPU", 0.0)))


def http_options(teachers: Iterable[TeacherSettings]) -> dict[str, Any]:
    """How Serve is started: without proxy, or with one on every node where teachers of this kind need it."""
    ports = [teacher.port for teacher in teachers if isinstance(teacher, VllmSettings)]
    if not ports:
        return {"proxy_location": "Disabled"}
    return {"proxy_location": "EveryNode", "http_options": {"host": LOOPBACK, "port": ports[0]}}


def start_engines(settings: VllmSettings) -> None:
    """Start the engines of a teacher on the connected cluster, and wait until they answer.

    Raises:
        RuntimeError: They could not start.
    """
    from ray import serve
    from ray.serve.llm import LLMConfig, build_openai_app

    application = build_openai_app({"llm_configs": [LLMConfig(**llm_arguments(settings))]})
    serve.run(application, name=engines_of(settings.name), route_prefix=f"/{settings.name}")


def llm_arguments(settings: VllmSettings) -> dict[str, Any]:
    """The settings as Ray's ``LLMConfig`` takes them."""
    scaling = {"min_replicas": settings.replicas, "max_replicas": settings.replicas}
    return {
        "model_loading_config": {"model_id": settings.name, "model_source": settings.model},
        "accelerator_type": settings.accelerator or None,
        "deployment_config": {"autoscaling_config": scaling},
        "engine_kwargs": {**settings.engine, "tensor_parallel_size": settings.gpus, "trust_remote_code": False},
    }


def engines_of(teacher: str) -> str:
    """Name of the Serve application that holds the engines of a teacher."""
    return f"headrace-{teacher}-engines"


def url_of(settings: VllmSettings) -> str:
    """Where a replica asks the engines: the proxy of its own node."""
    return f"http://{LOOPBACK}:{settings.port}/{settings.name}/v1"


def load_vllm_teacher(settings: VllmSettings, cache: Path) -> WritingTeacher:
    """The teacher that asks the engines.

    Args:
        settings: From the configuration.
        cache: Folder that remembers canaries.

    Raises:
        DataError: Names the line of the canaries that can't be used.
    """
    writer = ServedWriter(url_of(settings), settings.name, seconds=settings.seconds, connections=settings.concurrency)
    model = digest_of_model(settings.model)
    return remote_teacher(settings, writer, cache, model, repr(sorted(settings.engine.items())))
