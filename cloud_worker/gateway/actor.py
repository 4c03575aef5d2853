"""The gateway: the cloud's door, in an actor of its own, and a second one that waits to take over.

Rules:
 * Two actors, one turn: whoever has it opens the door. The other has imported everything and waits, so that a killed
   gateway is replaced at once; Ray brings the killed one back, and then that one waits (docs/decisions/0101).
 * Whoever takes over opens the same port and goes on with the same spool.
 * ``<data>/run/<gateway>.json`` tells its process id and ports from the moment that it serves.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.fleet.metrics import FleetMetrics, IdentityMetrics, PresenceMetrics
from cloud_worker.fleet.presence import Presence
from cloud_worker.fleet.registry import Registry
from cloud_worker.fleet.service import FleetServicer
from cloud_worker.gateway.answering import CascadeParts
from cloud_worker.gateway.cascade_service import CascadeServicer
from cloud_worker.gateway.doors import Doors
from cloud_worker.gateway.draws import Draws
from cloud_worker.gateway.feedback_taker import FeedbackTaker
from cloud_worker.gateway.metrics import GatewayMetrics
from cloud_worker.gateway.releases_service import ReleasesServicer
from cloud_worker.gateway.turns import Turn
from cloud_worker.identity.register import Register
from cloud_worker.log.distillation_log import DistillationLog
from cloud_worker.log.spool import Spool
from cloud_worker.pool.batcher import Ask, Gatherer, NotReachedError
from cloud_worker.pool.policy_store import Serving
from cloud_worker.pool.serve import asker
from cloud_worker.pool.tiered_pool import TieredPool
from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.recovered_state import open_store
from cloud_worker.reports.promise.gather import Promises
from cloud_worker.reports.promise.metrics import PromiseMetrics
from cloud_worker.running.ray_environment import dial_directly
from cloud_worker.state.feedback import Feedbacks
from cloud_worker.state.fleet_quota import FleetLimits
from cloud_worker.state.tallies import Tallies
from router.core.errors import HeadraceError, StartError, UnavailableError
from router.io.atomic_write import write_whole
from router.io.terminal import log_to_stderr
from router.transport import telemetry_names
from router.transport.telemetry import Telemetry, TelemetrySettings
from router.v1 import cascade_pb2_grpc, fleet_pb2_grpc, release_pb2_grpc

log = logging.getLogger(__name__)

GATEWAY = "gateway-0"
STOP_GRACE_SECONDS = 5.0

_CPUS = 0.1
_LOOK_SECONDS = 0.02
_PORT_SECONDS = 3.0
_LAST_PID, _LAST_PORT = 2**31, 2**16


class Gateway:
    """Serves devices and clients. All of it runs on the actor's event loop."""

    def __init__(self, config: CloudConfig, name: str, insecure: bool, ask: Callable[[str], Ask] = asker) -> None:
        """Begin to open the door; ``port`` says when it is open.

        Args:
            config: All that is set.
            name: Its own.
            insecure: Plain transport on this machine.
            ask: How a teacher is asked, by its name.
        """
        log_to_stderr(logging.INFO)
        dial_directly(_addresses())  # the pool's copies are there
        self._config = config
        self._name = name
        self._insecure = insecure
        self._ask = ask
        self._gatherers = {teacher.name: self._gatherer(teacher.name) for teacher in config.teachers}
        self._turn = Turn(config.run_folder / f"{name}.lock")
        self._background = asyncio.gather(*(_warm(ask(teacher.name)) for teacher in config.teachers))
        self._opened = asyncio.get_running_loop().create_task(self._serve())

    async def port(self) -> int:
        """The port, once it is open: here, or at the one whose turn it is.

        Raises:
            StartError: It can't be opened.
        """
        while not self._turn.is_mine:
            if (port := _port_told(self._run_file)) is not None:
                return port
            await asyncio.sleep(_LOOK_SECONDS)
        return (await asyncio.shield(self._opened))[1]

    async def node(self) -> str:
        """Ray's name of the machine that it runs on."""
        return str(ray.get_runtime_context().get_node_id())

    async def waiting(self) -> int:
        """How many queries wait for teachers."""
        return sum(gatherer.waiting for gatherer in self._gatherers.values())

    async def stop(self) -> None:
        """Close the door, let calls in flight end, and bring what they said to the disk; one that waits just ends."""
        self._background.cancel()
        if not self._turn.is_mine:
            self._opened.cancel()
            return
        doors, _ = await self._opened
        await doors.stop(STOP_GRACE_SECONDS)
        for gatherer in self._gatherers.values():
            await gatherer.close()
        await self._spool.close()
        self._telemetry.stop()
        self._turn.end()

    async def _serve(self) -> tuple[Doors, int]:
        takes_over = self._run_file.exists()
        await self._turn.taken()
        until = time.monotonic() + _PORT_SECONDS
        while True:
            try:
                return await self._open()
            except Exception as error:
                # Of the one before, the lock may be gone a moment before its sockets.
                if not (isinstance(error, StartError) and time.monotonic() < until):
                    log.exception("the gateway can't open its door")
                    if not takes_over:
                        raise
                    os._exit(1)  # the other one tries, and Ray brings this one back
            await asyncio.sleep(_LOOK_SECONDS)

    async def _open(self) -> tuple[Doors, int]:
        config = self._config
        self._store = open_store(config)
        self._registry = Registry(self._store, config.fleet.max_devices)
        self._telemetry = Telemetry.start(
            telemetry_names.SERVICE_CLOUD, TelemetrySettings(**config.telemetry.model_dump())
        )
        interval = config.fleet.sync_seconds * (1.0 + config.fleet.jitter)
        self._draws = Draws(self._store, interval, used=self._registry.use)
        self._spool = Spool(config.spool_folder / f"{self._name}.sqlite")
        promises = Promises(config.tasks, self._store, Publisher(config.releases_folder))
        PromiseMetrics(self._telemetry.meter, promises.gather)
        presence = Presence.of(config.fleet.sync_seconds, config.fleet.jitter)
        PresenceMetrics(self._telemetry.meter, Tallies(self._store.engine), presence)
        IdentityMetrics(self._telemetry.meter, Register(self._store.engine))
        doors = Doors(
            config,
            self._name,
            self._store.engine,
            lambda listen, which: reopened(listen, self._run_file, which),
            insecure=self._insecure,
        )
        cascade_pb2_grpc.add_CascadeServicer_to_server(CascadeServicer(self._parts()), doors.server)
        fleet_pb2_grpc.add_FleetServicer_to_server(
            FleetServicer(
                self._store,
                config.fleet,
                self._insecure,
                config.tasks,
                told=self._draws.forget,
                metrics=FleetMetrics(self._telemetry.meter, self._registry.count, config.fleet.max_devices),
                publisher=Publisher(config.releases_folder),
            ),
            doors.server,
        )
        release_pb2_grpc.add_ReleasesServicer_to_server(ReleasesServicer(config.releases_folder), doors.server)
        try:
            ports = await doors.start()
        except StartError:
            self._telemetry.stop()
            await self._spool.close()
            raise
        try:
            write_whole(self._run_file, json.dumps({"pid": os.getpid(), **asdict(ports)}).encode())
        except OSError as error:
            log.error("%s can't be written; the port is %d: %s", self._run_file, ports.port, error)
        return doors, ports.port

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
                self._spool.quarantined,
            ),
            spool_max_bytes=self._config.log.spool_max_bytes,
            feedback=FeedbackTaker(Feedbacks(self._store.engine), tasks, self._spool, log_of_feedback),
            limits=FleetLimits(self._store),
        )

    def _gatherer(self, name: str) -> Gatherer:
        settings = next(teacher for teacher in self._config.teachers if teacher.name == name)
        return Gatherer(
            name,
            self._ask(name),
            max_batch=settings.max_batch,
            max_calls=settings.replicas * settings.calls_of_a_copy,
            max_waiting=self._config.door.max_waiting,
        )


def reopened(listen: str, run_file: Path, which: str = "port") -> str:
    """Where to listen: as configured, but on the port of the life before where that was a free one."""
    host, _, port = listen.rpartition(":")
    before = _told(run_file, which) if port == "0" else None
    return f"{host}:{before[1]}" if before else listen


def _addresses() -> Iterator[str]:
    """Of the cluster's machines; none where this process belongs to no cluster."""
    nodes: list[dict[str, Any]] = ray.nodes() if ray.is_initialized() else []  # type: ignore[no-untyped-call]
    return (str(node["NodeManagerAddress"]) for node in nodes)


def _port_told(run_file: Path) -> int | None:
    """The port that a run file tells, if its process lives."""
    told = _told(run_file)
    if told is not None:
        with contextlib.suppress(OSError):
            os.kill(told[0], 0)
            return told[1]
    return None


def _told(run_file: Path, which: str = "port") -> tuple[int, int] | None:
    """Process and port that a run file tells, ``None`` where it tells none: a disk may have spoilt it."""
    try:
        told = json.loads(run_file.read_bytes())
        pid, port = int(told["pid"]), int(told[which])
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    return (pid, port) if 0 < pid < _LAST_PID and 0 < port < _LAST_PORT else None


async def _warm(ask: Ask) -> None:
    """Connect to the copies of a teacher, so that the first question needs not."""
    with contextlib.suppress(UnavailableError, NotReachedError):
        async for _ in ask([]):
            pass


def start_gateway(config: CloudConfig, name: str = GATEWAY, *, insecure: bool) -> tuple[list[Any], int]:
    """Start a gateway on the connected cluster, and the one that waits; returns their actors and the port.

    Raises:
        HeadraceError: It can't open its door; says why.
    """
    first = _start(config, name, insecure, name=name, num_cpus=_CPUS)
    try:
        port = int(ray.get(first.port.remote()))
    except ray.exceptions.RayTaskError as error:
        ray.kill(first)
        if isinstance(error.cause, HeadraceError):
            raise error.cause from error
        raise
    here = NodeAffinitySchedulingStrategy(ray.get(first.node.remote()), soft=True)
    second = _start(config, name, insecure, name=f"{name}-next", num_cpus=0, scheduling_strategy=here)
    ray.get(second.port.remote())  # once it has imported everything: before that a kill would be an outage
    return [first, second], port


def _start(config: CloudConfig, gateway: str, insecure: bool, **options: Any) -> Any:
    actor = ray.remote(Gateway).options(max_restarts=-1, max_task_retries=-1, max_concurrency=1000, **options)
    return actor.remote(config, gateway, insecure)
