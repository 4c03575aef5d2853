"""A worker as a process: answers at the shared port until its owner stops it, or is gone.

Rules:
 * It keeps nothing, and ends at once when its owner does.
 * Health says SERVING once the owner says that all workers know enough.
 * Stopping: no new calls, those under way end within the grace, the owner hears the rest.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import pickle
import signal
import sys
from dataclasses import dataclass
from typing import Any, cast

from edge_agent.answering.answer_cache import RecentAnswers
from edge_agent.answering.device_privacy import DevicePrivacy
from edge_agent.answering.service import SERVICE
from edge_agent.answering.student_runner import StudentRunner
from edge_agent.config import Config
from edge_agent.identity.links import Links
from edge_agent.log_lines import LogStyle, start_logging
from edge_agent.telemetry import EdgeTelemetry
from edge_agent.workers.board import Board
from edge_agent.workers.mirror import MirroredTasks, NoMemory, NoNextTier, NoOutbox
from edge_agent.workers.owner_link import OwnerLink
from edge_agent.workers.worker_service import CurrentAgent, WorkerServicer
from router.transport.server import Door, listen_for_stop
from router.v1 import cascade_pb2_grpc

log = logging.getLogger(__name__)

GRACE_SECONDS = 10.0
_ORPHAN = 1  # exit code
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux's prctl


@dataclass(frozen=True, slots=True)
class Start:
    """What an owner gives a worker at its start.

    Attributes:
        config: All that is set.
        insecure: Plain transport.
        worker: Its number, from 0.
        board: Descriptor of the shared memory.
        owner: The owner's socket.
        port: The shared one.
        style: How to write logs; ``None`` leaves them as they are.
    """

    config: Config
    insecure: bool
    worker: int
    board: int
    owner: str
    port: int
    style: LogStyle | None


class Worker:
    """One worker. Made inside the running event loop."""

    def __init__(self, start: Start) -> None:
        """Put the parts together; nothing listens yet."""
        config = start.config
        workers = config.workers - 1
        self.tasks = tasks = MirroredTasks(Board(start.board, workers), start.worker, config.server_urls)
        self.owner = OwnerLink(start.owner, start.worker, config.door.max_message_bytes)
        self.telemetry = telemetry = EdgeTelemetry.of_worker(config.telemetry.settings)
        self.runner = StudentRunner(config.device, telemetry.span)
        self.recent = RecentAnswers()
        links = Links(config, insecure=start.insecure)
        self.door: Door = links.door(SERVICE, start.port)
        privacy = DevicePrivacy(config.privacy.owner, config.privacy.redact)
        tier, outbox, memory = cast("Any", (NoNextTier(tasks), NoOutbox(), NoMemory()))
        agent = CurrentAgent(tasks, self.runner, tier, outbox, telemetry, privacy, memory)
        insecure, tiers = start.insecure, config.door.tiers
        servicer = WorkerServicer(
            agent, tasks, self.owner, telemetry, privacy, self.recent, insecure=insecure, tiers=tiers
        )
        cascade_pb2_grpc.add_CascadeServicer_to_server(servicer, self.door.server)

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until ``stop``."""
        await self.door.start(ready=False, joins=True)
        running = [asyncio.create_task(part) for part in (self._hear(), self.owner.tell_notes())]
        ends = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait([ends, *running], return_when=asyncio.FIRST_COMPLETED)
        if ends not in done:
            log.error("worker: the owner is gone: %s", [task.exception() for task in done])
            os._exit(_ORPHAN)
        await self.door.stop(GRACE_SECONDS)
        for task in running:
            task.cancel()
        await self.owner.close()
        self.runner.close()
        await asyncio.to_thread(self.telemetry.stop)

    async def _hear(self) -> None:
        erasures, ready = 0, False
        async for told in self.owner.snapshots():
            await self.tasks.take(told)
            if told.erasures != erasures:
                erasures = told.erasures
                self.recent.forget_all()
            await self.owner.applied(told.epoch)
            if told.ready and not ready:
                ready = True
                await self.door.ready()


def _end_with_owner(loop: asyncio.AbstractEventLoop, owner: int) -> None:
    """End at once when the owner does, however busy this process is."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != owner:
        os._exit(_ORPHAN)
    loop.add_reader(sys.stdin.fileno(), os._exit, _ORPHAN)  # nothing more is ever written there, so it has ended


async def _main() -> None:
    owner, start = pickle.load(sys.stdin.buffer)
    _end_with_owner(asyncio.get_running_loop(), owner)
    if start.style is not None:
        start_logging(start.style)
    await Worker(start).run(listen_for_stop())


if __name__ == "__main__":
    asyncio.run(_main())
