"""The gateway: the cloud's door, in an actor of its own, and a second one that waits to take over.

Rules:
 * Two actors, one turn: whoever has it opens the door. The other has imported everything and waits, so that a killed
   gateway is replaced at once; Ray brings the killed one back, and then that one waits (docs/decisions/0101).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.gateway.open_gateway import OpenGateway
from cloud_worker.gateway.query_parts import gatherers
from cloud_worker.gateway.run_file import RunFile
from cloud_worker.pool.batcher import Ask, NotReachedError
from cloud_worker.pool.serve import asker
from cloud_worker.running.ray_environment import dial_directly
from cloud_worker.running.takeover import Turn
from router.core.errors import HeadraceError, StartError, UnavailableError
from router.io.terminal import log_to_stderr

log = logging.getLogger(__name__)

GATEWAY = "gateway-0"

_CPUS = 0.1
_CHECK_SECONDS = 0.02
_PORT_SECONDS = 3.0
_NEW_OBJECTS = 10_000  # between two checks for garbage; what a query makes is gone with its last name


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
        dial_directly(_addresses())  # the pool's replicas are there
        self._config = config
        self._name = name
        self._insecure = insecure
        asks = {teacher.name: ask(teacher.name) for teacher in config.teachers}
        self._gatherers = gatherers(config, asks.__getitem__)
        self._run_file = RunFile(config.run_folder, name)
        self._turn = Turn(config.run_folder / f"{name}.lock")
        self._background = asyncio.gather(*map(_warm, asks.values()))
        self._opened = asyncio.get_running_loop().create_task(self._serve())
        if ray.is_initialized():
            leave_loaded_alone()

    async def port(self) -> int:
        """The port, once it is open: here, or at the one whose turn it is.

        Raises:
            StartError: It can't be opened.
        """
        while not self._turn.is_mine:
            if (port := self._run_file.living_port()) is not None:
                return port
            await asyncio.sleep(_CHECK_SECONDS)
        return (await asyncio.shield(self._opened)).port

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
        gateway = await self._opened
        await gateway.refuse_new_calls()
        for gatherer in self._gatherers.values():
            await gatherer.close()
        await gateway.close()
        self._turn.end()

    async def _serve(self) -> OpenGateway:
        takes_over = self._run_file.exists()
        await self._turn.taken()
        until = time.monotonic() + _PORT_SECONDS
        while True:
            try:
                return await OpenGateway.opened(
                    self._config, self._name, self._gatherers, self._run_file, insecure=self._insecure
                )
            except Exception as error:
                # Of the one before, the lock may be gone a moment before its sockets.
                if not (isinstance(error, StartError) and time.monotonic() < until):
                    log.exception("the gateway can't open its door")
                    if not takes_over:
                        raise
                    os._exit(1)  # the other one tries, and Ray brings this one back
            await asyncio.sleep(_CHECK_SECONDS)


def leave_loaded_alone() -> None:
    """Keep Python from looking for garbage among all that was imported: that took a sixth of a busy gateway's time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, 10, 10)


def _addresses() -> Iterator[str]:
    """The addresses of the cluster's machines; none where this process belongs to no cluster."""
    nodes: list[dict[str, Any]] = ray.nodes() if ray.is_initialized() else []  # type: ignore[no-untyped-call]
    return (str(node["NodeManagerAddress"]) for node in nodes)


async def _warm(ask: Ask) -> None:
    """Connect to the replicas of a teacher, so that the first question needs not."""
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
