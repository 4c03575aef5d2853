"""Starts everything that a cluster needs, in order, and ends everything that it started.

Import it after ``prepare_environment``: Ray reads the environment while it is imported.

Rules:
 * What can be known to be wrong is said before anything starts.
 * A start that fails or is interrupted ends what it had started.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve._private.constants import SERVE_CONTROLLER_NAME, SERVE_NAMESPACE

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.config.teachers import VllmSettings
from cloud_worker.gateway.actor import GATEWAY, start_gateway
from cloud_worker.gateway.run_file import RunFile
from cloud_worker.log.writer_actor import start_log_writer
from cloud_worker.pool.serve import application_of, start_teacher
from cloud_worker.refresh.actor import start_refresher
from cloud_worker.releases.first_release import publish_first_releases, publish_objectives, recall_attempts
from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.recovered_state import open_at_start
from cloud_worker.startup.own_ray import ended_head, own_signals, start_own_ray
from cloud_worker.startup.preflight import check_data_folder, check_ray
from cloud_worker.teachers.vllm_teacher import (
    check_engines,
    endowment_of_cluster,
    engines_of,
    http_options,
    start_engines,
)
from router.core.errors import StartError
from router.transport.telemetry import TelemetrySettings

log = logging.getLogger(__name__)

NAMESPACE = "headrace"

Step = Callable[[str], AbstractContextManager[None]]  # shows one step, by its name, while it lasts

_STOP_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """What runs.

    Attributes:
        listen: ``host:port`` where it serves.
        ray: Address of the Ray cluster.
        gateway: The gateway's actor.
        log_writer: The log writer's actor.
        refresher: The refresher's actor.
        ended_head: Tells which head processes of Ray have ended; of a cluster that was joined, nothing.
        enrolment: ``host:port`` where devices enrol, empty without TLS.
    """

    listen: str
    ray: str
    gateway: Any
    log_writer: Any
    refresher: Any
    ended_head: Callable[[], Sequence[str]]
    enrolment: str


@contextmanager
def running(config: CloudConfig, *, insecure: bool, step: Step) -> Iterator[Cluster]:
    """A cluster that serves while the context lasts; teachers have been prepared.

    Args:
        config: All that is set.
        insecure: Plain transport on this machine.
        step: Shows what is done.

    Raises:
        HeadraceError: It can't start; says why.
    """
    check_data_folder(config)
    check_ray(config)
    with ExitStack() as started:
        with step("Ray"):
            address = _connect(config, started)
        check_engines(config.teachers, endowment_of_cluster())
        with step("State and releases"):
            store = open_at_start(config)
            store.declare_tasks(config.tasks)
            publisher = Publisher(config.releases_folder)
            publish_first_releases(config.tasks, store, publisher)
            recall_attempts(config.tasks, store, publisher)
            publish_objectives(config.tasks, store, publisher, signed=config.signs_releases)
        with step("Log writer"):
            log_writer = start_log_writer(config)
            started.callback(_end, log_writer, "log writer")
        for teacher in config.teachers:
            with step(f"Teacher {teacher.name}"):
                _start_teacher(config, teacher.name, started)
        with step("Gateway"):
            gateways, port = start_gateway(config, GATEWAY, insecure=insecure)
            for gateway in gateways:  # ended in the other order: the one that waits does not take over then
                started.callback(_end, gateway, "gateway")
        with step("Refresher"):
            refresher = start_refresher(config)
            started.callback(ray.kill, refresher)
        host = config.door.listen.rpartition(":")[0]
        told = _nothing if config.ray.address else ended_head
        enrolment = (
            "" if insecure else RunFile(config.run_folder, GATEWAY).reopened(config.identity.listen, "enrolment")
        )
        yield Cluster(f"{host}:{port}", address, gateways[0], log_writer, refresher, told, enrolment)


def _nothing() -> Sequence[str]:
    """Nothing to do for a cluster that was joined: whoever started its head brings it back."""
    return ()


def _connect(config: CloudConfig, started: ExitStack) -> str:
    """Start Ray on this machine, or join the cluster that is named; returns its address."""
    started.callback(ray.shutdown)
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    if config.ray.address:
        context = _join(config.ray.address)
        if not _serve_runs():
            started.callback(serve.shutdown)
    else:
        context = start_own_ray(config.ray.cpus, NAMESPACE)
    serve.start(**http_options(config.teachers))
    return str(context.address_info["gcs_address"])


def _join(address: str) -> Any:
    try:
        with own_signals():
            return ray.init(address, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR)
    except (RayError, RuntimeError, ConnectionError, ValueError) as error:
        raise StartError(
            f"the Ray cluster at {address} can't be joined: {error}; "
            "if it asks for a token, RAY_AUTH_TOKEN or ~/.ray/auth_token must hold it"
        ) from error


def _serve_runs() -> bool:
    try:
        ray.get_actor(SERVE_CONTROLLER_NAME, namespace=SERVE_NAMESPACE)
    except ValueError:
        return False
    return True


def _start_teacher(config: CloudConfig, name: str, started: ExitStack) -> None:
    settings = next(teacher for teacher in config.teachers if teacher.name == name)
    if config.ray.address:  # a cluster of our own ends with all that runs on it
        started.callback(serve.delete, application_of(name))
        started.callback(serve.delete, engines_of(name))
    telemetry = TelemetrySettings(otlp=config.telemetry.otlp)
    try:
        if isinstance(settings, VllmSettings):
            start_engines(settings)
        start_teacher(settings, config.teachers_folder, telemetry)
    except RuntimeError as error:
        raise StartError(f"teacher {name!r} can't start: {error}") from error


def _end(actor: Any, name: str) -> None:
    """Let an actor end in order, within bounds, and then for certain."""
    began = time.monotonic()
    try:
        ray.get(actor.stop.remote(), timeout=_STOP_SECONDS)
    except RayError as error:
        log.warning("the %s did not end in order: %s", name, error)
    ray.kill(actor)
    log.info("%s ended in %.1f s", name, time.monotonic() - began)
