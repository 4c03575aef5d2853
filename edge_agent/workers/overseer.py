"""The owner's workers: started, told, counted, started again, stopped.

Rules:
 * A worker that ends is started again, sooner or later by how long it lived; meanwhile the others answer.
 * A change of orders or release is on the board before the owner does anything else, one of an obstacle or a limit soon
   after; until a worker has been told of it, it hands over all that comes.
 * Health says SERVING once the owner and all workers know what is served.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pickle
import sys
import time
from collections.abc import Sequence
from typing import Any

from edge_agent.answering.feedback_relay import Note
from edge_agent.answering.service import CascadeServicer
from edge_agent.config import Config
from edge_agent.log_lines import log_style
from edge_agent.tasks.all_tasks import Tasks
from edge_agent.tasks.counters import Counters
from edge_agent.tasks.hosted_task import HostedTask
from edge_agent.telemetry import EdgeTelemetry
from edge_agent.upstream.client import Upstream
from edge_agent.workers.board import Board, Position, shared_memory
from edge_agent.workers.no_workers import NoWorkers
from edge_agent.workers.owner_service import OwnerService
from edge_agent.workers.process import GRACE_SECONDS, Start
from edge_agent.workers.snapshot import Positions, Snapshot, tasks_now

log = logging.getLogger(__name__)

POLL_SECONDS = 0.02  # between two checks of what changes by itself, such as the breaker's state
COUNT_SECONDS = 1.0
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0  # seconds before a worker is started again
LONG_LIFE = 30.0  # seconds; who lived longer is started again soon
_COUNTED = ("answered", "degraded", "failed")


class _Worker:
    """One worker, through all its restarts."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.process: asyncio.subprocess.Process | None = None
        self.restarts = 0


class Overseer(NoWorkers):
    """The overseer of one owner's workers. Made inside the running event loop.

    Attributes:
        board: How new what workers have to know is, and their figures.
        service: Tells workers, and hears which epoch of the board each knows.
    """

    def __init__(
        self,
        config: Config,
        tasks: Tasks,
        upstream: Upstream,
        servicer: CascadeServicer,
        telemetry: EdgeTelemetry,
        *,
        insecure: bool,
    ) -> None:
        """Prepare; nothing is started yet.

        Raises:
            StartError: There is no place for a socket.
        """
        self._config, self._tasks, self._upstream, self._telemetry = config, tasks, upstream, telemetry
        self._insecure = insecure
        self._workers = [_Worker(number) for number in range(config.workers - 1)]
        self.servicer = servicer
        self._positions = Positions()
        self._erasures = 0
        self._ready = self._stopping = False
        self._fresh = asyncio.Event()
        self._told: tuple[Any, ...] = ()
        self._counted: dict[str, Counters] = {}
        self._memory = shared_memory()
        self.board = Board(self._memory, len(self._workers))
        tasks.changed = self._renew
        self.service = OwnerService(config.data, servicer, config.door.max_message_bytes, self._note)

    def forget(self) -> None:
        """Let workers forget the answers of the last minutes too."""
        self._erasures += 1
        if self._workers:
            self._renew()

    def described(self) -> list[dict[str, Any]]:
        """The workers, for the status."""
        return [
            {
                "worker": worker.number + 1,
                "pid": worker.process.pid if worker.process is not None else 0,
                "ready": worker.number in self.service.applied,
                "restarts": worker.restarts,
            }
            for worker in self._workers
        ]

    async def start(self, port: int) -> None:
        """Start the workers behind ``port``.

        Raises:
            StartError: The socket can't be made.
        """
        await self.service.start()
        self._start = (self.service.target, port)
        for worker in self._workers:
            await self._spawn(worker)

    async def ready(self) -> None:
        """Return when all workers know what is served; from then on their health says SERVING."""
        self._renew()
        await self._tell()
        epoch = self.board.epoch
        await self.service.until(
            lambda: all(self.service.applied.get(worker.number, -1) >= epoch for worker in self._workers)
        )
        self._ready = True
        self._renew()

    async def run(self) -> None:
        """Tell, count and start again, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_told())
            group.create_task(self._keep_counted())
            for worker in self._workers:
                group.create_task(self._keep_alive(worker))

    async def stop(self) -> None:
        """End the workers in order, and those that take too long at once."""
        self._stopping = True
        running = [worker.process for worker in self._workers if worker.process is not None]
        for process in running:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        try:
            async with asyncio.timeout(GRACE_SECONDS + 2):
                await asyncio.gather(*(process.wait() for process in running))
        except TimeoutError:
            for process in running:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
        self._count()

    async def close(self) -> None:
        """Close the socket."""
        await self.stop()
        await self.service.stop()
        os.close(self._memory)

    def _renew(self) -> None:
        """Something has changed: no worker decides by what it knows, until it was told."""
        self.board.renew()
        self._fresh.set()

    async def _tell(self) -> None:
        """Tell what is known now."""
        self._fresh.clear()
        epoch, tasks, obstacle = self.board.epoch, tasks_now(self._tasks, self._positions), self._upstream.obstacle()
        self._told = (tasks, obstacle)
        for hosted in self._tasks:
            if hosted.elsewhere is Counters:
                hosted.elsewhere = _Elsewhere(self.board, hosted, self._positions, len(self._workers))
        await self.service.tell(Snapshot(epoch, self._tasks.kept_orders, tasks, obstacle, self._erasures, self._ready))

    async def _keep_told(self) -> None:
        while True:
            if not self._fresh.is_set() and self._told != (
                tasks_now(self._tasks, self._positions),
                self._upstream.obstacle(),
            ):
                self._renew()
            if self._fresh.is_set():
                await self._tell()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._fresh.wait()

    async def _keep_counted(self) -> None:
        while True:
            await asyncio.sleep(COUNT_SECONDS)
            self._count()

    def _count(self) -> None:
        """Let metrics and probation know what workers have answered."""
        for hosted in self._tasks:
            now, before = hosted.elsewhere(), self._counted.get(hosted.name, Counters())
            self._counted[hosted.name] = now
            more = {name: getattr(now, name) - getattr(before, name) for name in _COUNTED}
            if any(more.values()):
                self._telemetry.count_elsewhere(hosted.name, more, list(now.latencies)[-more["answered"] :])
            if hosted.on_probation and hosted.has_proven_itself:
                hosted.proven()

    def _note(self, notes: Sequence[Note]) -> None:
        for note in notes:
            self.servicer.remember(note)

    async def _keep_alive(self, worker: _Worker) -> None:
        pause = FIRST_PAUSE
        while worker.process is not None:
            began = time.monotonic()
            code = await worker.process.wait()
            if self._stopping:
                return
            self.service.applied.pop(worker.number, None)
            pause = FIRST_PAUSE if time.monotonic() - began > LONG_LIFE else pause
            log.error("worker %d ended with %d; it is started again in %.1f s", worker.number + 1, code, pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            worker.restarts += 1
            await self._spawn(worker)

    async def _spawn(self, worker: _Worker) -> None:
        target, port = self._start
        start = Start(self._config, self._insecure, worker.number, self._memory, target, port, log_style())
        worker.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "edge_agent.workers.process",
            stdin=asyncio.subprocess.PIPE, pass_fds=(self._memory,), start_new_session=True,
        )  # fmt: skip
        assert worker.process.stdin is not None
        with contextlib.suppress(ConnectionError):  # it has ended already, which is heard elsewhere
            worker.process.stdin.write(pickle.dumps((os.getpid(), start)))
            await worker.process.stdin.drain()


class _Elsewhere:
    """What the workers have counted of one task."""

    def __init__(self, board: Board, hosted: HostedTask, positions: Positions, workers: int) -> None:
        self.board, self._hosted, self._positions, self._workers = board, hosted, positions, workers

    def __call__(self) -> Counters:
        task = self._positions.of(self._hosted.name)
        found, serving = Counters(), self._hosted.serving
        if task is not None:
            release = serving.manifest.number if serving is not None else 0
            for worker in range(self._workers):
                found = found.plus(self.board.figures(Position(worker, task), release))
        return found
