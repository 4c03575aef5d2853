"""The one writer of the distillation log, in an actor of its own that Ray brings back when it is killed.

Rules:
 * A drain that fails is logged and tried again; nothing leaves its spool.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import ray

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.log.distillation_log import DistillationLog
from cloud_worker.log.drainer import Drainer
from cloud_worker.releases.recovered_state import open_store
from cloud_worker.state.repeated_rows import Repeats
from router.io.terminal import log_to_stderr

log = logging.getLogger(__name__)

LOG_WRITER = "log-writer"

_CPUS = 0.1
_LOOK_EVERY_SECONDS = 60.0  # for damage of the log


class LogWriter:
    """Drains at an interval, in an actor of its own."""

    def __init__(self, config: CloudConfig) -> None:
        """Begin to drain."""
        log_to_stderr(logging.INFO)
        self._interval = config.log.drain_seconds
        self._config = config
        self._log = DistillationLog(config.log_folder)
        self._drainer: Drainer | None = None
        self._looked_at = -_LOOK_EVERY_SECONDS
        self._turn = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._loop = asyncio.get_running_loop().create_task(self._run())

    async def drain(self) -> int:
        """Drain now, and return how many records were new to the log."""
        async with self._turn:
            return await asyncio.to_thread(self._drain)

    async def stop(self) -> None:
        """Drain once more, and end."""
        self._stopping.set()
        await self._loop
        try:
            await self.drain()
        finally:
            if self._drainer is not None:
                self._drainer.close()

    def _drain(self) -> int:
        if self._log.is_suspected() or time.monotonic() > self._looked_at + _LOOK_EVERY_SECONDS:
            self._log.mend()
            self._looked_at = time.monotonic()
        if self._drainer is None:
            repeats = Repeats(open_store(self._config).engine)
            self._drainer = Drainer(self._config.spool_folder, self._log, repeats)
        return self._drainer.drain()

    async def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                await self.drain()
            except Exception:
                log.exception("a drain failed; what waits stays in its spool")
            try:
                async with asyncio.timeout(self._interval):
                    await self._stopping.wait()
            except TimeoutError:
                continue


def start_log_writer(config: CloudConfig) -> Any:
    """Start the writer on the connected cluster, and return its actor."""
    actor: Any = (
        ray.remote(LogWriter)
        .options(name=LOG_WRITER, num_cpus=_CPUS, max_restarts=-1, max_task_retries=-1)
        .remote(config)
    )
    try:
        ray.get(actor.drain.remote())
    except ray.exceptions.RayTaskError as error:  # it goes on trying; what waits stays in its spool
        log.warning("the log can't be written yet: %s", error.cause)
    return actor
