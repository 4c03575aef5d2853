"""The one writer of the distillation log: drains every spool, also those of gateways that no longer run.

Rules:
 * Records leave a spool after the log's commit has been seen; a writer killed in between finds them in both, and the
   log takes each once.
 * A drain that fails is logged and tried again; nothing leaves its spool.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import ray

from cloud_worker.config import CloudConfig
from cloud_worker.distillation_log import DistillationLog
from cloud_worker.spool import SpoolDrain, spools_in

log = logging.getLogger(__name__)

LOG_WRITER = "log-writer"
MOST_ROWS_IN_A_COMMIT = 5000

_CPUS = 0.1


class Drainer:
    """Moves records from the spools of a folder into a log."""

    def __init__(self, folder: Path, target: DistillationLog) -> None:
        """Drain the spools in ``folder`` into ``target``."""
        self._folder = folder
        self._target = target
        self._drains: dict[Path, SpoolDrain] = {}

    def drain(self) -> int:
        """Move everything that waits, and return how many records were new to the log."""
        return sum(self._drain_one(self._opened(path)) for path in spools_in(self._folder))

    def close(self) -> None:
        """Close the spools."""
        for drain in self._drains.values():
            drain.close()
        self._drains.clear()

    def _opened(self, path: Path) -> SpoolDrain:
        drain = self._drains.get(path)
        if drain is None:
            drain = self._drains[path] = SpoolDrain(path)
            drain.remove(self._target.taken_in(drain.id))  # what a killed writer had committed, and not yet removed
        return drain

    def _drain_one(self, drain: SpoolDrain) -> int:
        moved = 0
        while rows := drain.read(MOST_ROWS_IN_A_COMMIT):
            last = rows[-1][0]
            moved += self._target.append([record for _, record in rows], drain.id, last)
            drain.remove(last)
        return moved


class LogWriter:
    """Drains at an interval, in an actor of its own."""

    def __init__(self, config: CloudConfig) -> None:
        """Begin to drain."""
        logging.basicConfig(level=logging.INFO)
        self._interval = config.log.drain_seconds
        self._drainer = Drainer(config.spool_folder, DistillationLog(config.log_folder))
        self._turn = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._loop = asyncio.get_running_loop().create_task(self._run())

    async def drain(self) -> int:
        """Drain now, and return how many records were new to the log."""
        async with self._turn:
            return await asyncio.to_thread(self._drainer.drain)

    async def stop(self) -> None:
        """Drain once more, and end."""
        self._stopping.set()
        await self._loop
        await self.drain()
        self._drainer.close()

    async def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                await self.drain()
            except Exception:
                log.exception("a drain failed; what waits stays in its spool")
            try:
                await asyncio.wait_for(self._stopping.wait(), self._interval)
            except TimeoutError:
                continue


def start_log_writer(config: CloudConfig) -> Any:
    """Start the writer on the connected cluster, and return its actor."""
    actor: Any = (
        ray.remote(LogWriter)
        .options(name=LOG_WRITER, num_cpus=_CPUS, max_restarts=-1, max_task_retries=-1)
        .remote(config)
    )
    ray.get(actor.drain.remote())
    return actor
