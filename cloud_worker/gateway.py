"""The gateway: the cloud's door, in an actor of its own that Ray brings back when it is killed.

Rules:
 * A gateway that comes back opens the same port and goes on with the same spool.
 * ``<data>/run/<gateway>.json`` tells its process id and port from the moment that it serves.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from pathlib import Path
from typing import Any

import ray

from cloud_worker.cascade import CascadeParts, CascadeServicer
from cloud_worker.config import CloudConfig
from cloud_worker.distillation_log import DistillationLog
from cloud_worker.draws import Draws
from cloud_worker.feedback import Feedbacks, FeedbackTaker
from cloud_worker.fleet import FleetServicer
from cloud_worker.fleet_limits import FleetLimits
from cloud_worker.fleet_metrics import FleetMetrics
from cloud_worker.gateway_metrics import GatewayMetrics
from cloud_worker.gather import Gatherer
from cloud_worker.pool import asker
from cloud_worker.pool_policies import Serving
from cloud_worker.promise_metrics import PromiseMetrics
from cloud_worker.promises import Promises
from cloud_worker.publisher import Publisher, ReleasesServicer
from cloud_worker.registry import Registry
from cloud_worker.spool import Spool
from cloud_worker.store import Store
from cloud_worker.tiered import TieredPool
from router import names
from router.door import Door
from router.errors import HeadraceError
from router.files import write_whole
from router.limits import MAX_ATTEMPT_BYTES
from router.telemetry import Telemetry, TelemetrySettings
from router.terminal import log_to_stderr
from router.v1 import cascade_pb2_grpc, fleet_pb2_grpc, release_pb2_grpc

log = logging.getLogger(__name__)

GATEWAY = "gateway-0"
SERVICES = ("headrace.v1.Cascade", "headrace.v1.Fleet", "headrace.v1.Releases")
STOP_GRACE_SECONDS = 5.0

_CPUS = 0.1


class Gateway:
    """Serves devices and clients. All of it runs on the actor's event loop."""

    def __init__(self, config: CloudConfig, name: str, insecure: bool) -> None:
        """Begin to open the door; ``port`` says when it is open."""
        log_to_stderr(logging.INFO)
        self._config = config
        self._name = name
        self._insecure = insecure
        self._store = Store(config.store_url)
        self._spool = Spool(config.spool_folder / f"{name}.sqlite")
        self._telemetry = Telemetry.start(names.SERVICE_CLOUD, TelemetrySettings(**config.telemetry.model_dump()))
        promises = Promises(config.tasks, self._store, Publisher(config.releases_folder))
        PromiseMetrics(self._telemetry.meter, promises.gather)
        self._gatherers = {teacher.name: self._gatherer(teacher.name) for teacher in config.teachers}
        self._registry = Registry(self._store, config.fleet.max_devices)
        interval = config.fleet.sync_seconds * (1.0 + config.fleet.jitter)
        self._draws = Draws(self._store, interval, used=self._registry.use)
        self._opened = asyncio.get_running_loop().create_task(self._open())

    async def port(self) -> int:
        """The port, once it is open.

        Raises:
            StartError: It can't be opened.
        """
        return (await asyncio.shield(self._opened))[1]

    async def waiting(self) -> int:
        """How many queries wait for teachers."""
        return sum(gatherer.waiting for gatherer in self._gatherers.values())

    async def stop(self) -> None:
        """Close the door, let calls in flight end, and bring what they said to the disk."""
        door, _ = await self._opened
        await door.stop(STOP_GRACE_SECONDS)
        for gatherer in self._gatherers.values():
            await gatherer.close()
        await self._spool.close()
        self._telemetry.stop()

    async def _open(self) -> tuple[Door, int]:
        settings = self._config.door
        door = Door(
            reopened(settings.listen, self._run_file),
            insecure=self._insecure,
            reflection=settings.reflection,
            max_message_bytes=settings.max_message_bytes,
            room_for_attempt=MAX_ATTEMPT_BYTES,
            services=SERVICES,
        )
        cascade_pb2_grpc.add_CascadeServicer_to_server(CascadeServicer(self._parts()), door.server)
        fleet_pb2_grpc.add_FleetServicer_to_server(
            FleetServicer(
                self._store,
                self._config.fleet,
                self._insecure,
                self._config.tasks,
                told=self._draws.forget,
                metrics=FleetMetrics(self._telemetry.meter, self._registry.count, self._config.fleet.max_devices),
                publisher=Publisher(self._config.releases_folder),
            ),
            door.server,
        )
        release_pb2_grpc.add_ReleasesServicer_to_server(ReleasesServicer(self._config.releases_folder), door.server)
        port = await door.start()
        write_whole(self._run_file, json.dumps({"pid": os.getpid(), "port": port}).encode())
        return door, port

    @property
    def _run_file(self) -> Path:
        return self._config.run_folder / f"{self._name}.json"

    def _parts(self) -> CascadeParts:
        tasks = {task.name: task for task in self._config.tasks}
        log_of_feedback = DistillationLog(self._config.log_folder)
        return CascadeParts(
            node=self._name,
            insecure=self._insecure,
            tasks=tasks,
            pool=TieredPool(self._gatherers, Serving(self._store)),
            spool=self._spool,
            draws=self._draws,
            metrics=GatewayMetrics(
                self._telemetry,
                lambda: sum(gatherer.waiting for gatherer in self._gatherers.values()),
                lambda: self._spool.bytes_used,
            ),
            spool_max_bytes=self._config.log.spool_max_bytes,
            feedback=FeedbackTaker(Feedbacks(self._store.engine), tasks, self._spool, log_of_feedback),
            limits=FleetLimits(self._store),
        )

    def _gatherer(self, name: str) -> Gatherer:
        settings = next(teacher for teacher in self._config.teachers if teacher.name == name)
        return Gatherer(
            name,
            asker(name),
            max_batch=settings.max_batch,
            max_calls=settings.replicas * settings.calls_of_a_copy,
            max_waiting=self._config.door.max_waiting,
        )


def reopened(listen: str, run_file: Path) -> str:
    """Where to listen: as configured, but on the port of the life before where that was a free one."""
    host, _, port = listen.rpartition(":")
    if port != "0" or not run_file.is_file():
        return listen
    return f"{host}:{json.loads(run_file.read_bytes())['port']}"


def start_gateway(config: CloudConfig, name: str = GATEWAY, *, insecure: bool) -> tuple[Any, int]:
    """Start a gateway on the connected cluster; returns its actor and its port.

    Raises:
        HeadraceError: It can't open its door; says why.
    """
    actor: Any = (
        ray.remote(Gateway)
        .options(name=name, num_cpus=_CPUS, max_restarts=-1, max_task_retries=-1, max_concurrency=1000)
        .remote(config, name, insecure)
    )
    try:
        return actor, int(ray.get(actor.port.remote()))
    except ray.exceptions.RayTaskError as error:
        ray.kill(actor)
        if isinstance(error.cause, HeadraceError):
            raise error.cause from error
        raise
