"""The one writer of the distillation log, in an actor of its own that Ray brings back when it is killed.

Rules:
 * A drain that fails is logged and tried again; nothing leaves its spool.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import ray

from cloud_worker.config import CloudConfig
from cloud_worker.distillation_log import DistillationLog
from cloud_worker.drainer import Drainer
from cloud_worker.repeats import Repeats
from cloud_worker.store import Store
from router.terminal import log_to_stderr

log = logging.getLogger(__name__)

LOG_WRITER = "log-writer"

_CPUS = 0.1


class LogWriter:
    """Drains at an interval, in an actor of its own."""

    def __init__(self, config: CloudConfig) -> None:
        """Begin to drain."""
        log_to_stderr(logging.INFO)
        self._interval = config.log.drain_seconds
        repeats = Repeats(Store(config.store_url).engine)
        self._drainer = Drainer(config.spool_folder, DistillationLog(config.log_folder), repeats)
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
