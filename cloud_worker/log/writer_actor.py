"""The one writer of the distillation log, in an actor of its own that Ray brings back when it is killed.

Rules:
 * A drain that fails is logged and tried again; nothing leaves its spool.
 * What operators order to be erased is erased after the drain, and again after a kill until it is done.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from typing import Any

import ray

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.fleet.erasures import Erasures
from cloud_worker.log.distillation_log import DistillationLog
from cloud_worker.log.drainer import Drainer
from cloud_worker.log.erasing.concerned import Returning
from cloud_worker.log.erasing.erase import Eraser
from cloud_worker.releases.recovered_state import open_store
from cloud_worker.running.process_memory import keep_memory_low
from cloud_worker.state.repeated_rows import Repeats
from router.io.terminal import log_to_stderr

log = logging.getLogger(__name__)

LOG_WRITER = "log-writer"

_CPUS = 0.1
_REFRESHER = "refresher"
_NICE = 5  # gateways and teachers answer people; what waits in a spool is durable
_CHECK_EVERY_SECONDS = 60.0  # for damage of the log


class LogWriter:
    """Drains at an interval, in an actor of its own."""

    def __init__(self, config: CloudConfig) -> None:
        """Begin to drain."""
        log_to_stderr(logging.INFO)
        os.nice(_NICE)
        keep_memory_low()
        self._interval = config.log.drain_seconds
        self._config = config
        self._log = DistillationLog(config.log_folder)
        self._drainer: Drainer | None = None
        self._eraser: Eraser | None = None
        self._checked_at = -_CHECK_EVERY_SECONDS
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
        if self._log.is_suspected() or time.monotonic() > self._checked_at + _CHECK_EVERY_SECONDS:
            self._log.mend()
            self._checked_at = time.monotonic()
        if self._drainer is None:
            store = open_store(self._config)
            returning = Returning(Erasures(store.engine)).among
            self._eraser = Eraser(self._config, store, self._log)
            self._drainer = Drainer(self._config.spool_folder, self._log, Repeats(store.engine), returning)
        try:
            return self._drainer.drain()
        finally:
            if self._eraser is not None and self._eraser.do_pending():
                begin_refresher_anew()

    async def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                await self.drain()
            except Exception:  # the actor's outermost edge: the next drain tries again
                log.exception("a drain failed; what waits stays in its spool")
            try:
                async with asyncio.timeout(self._interval):
                    await self._stopping.wait()
            except TimeoutError:
                continue


def begin_refresher_anew() -> None:
    """Let the refresher read the log again: it holds rows in memory, and survives a kill at any instant."""
    with contextlib.suppress(ValueError):  # none runs yet
        ray.kill(ray.get_actor(_REFRESHER, namespace="headrace"), no_restart=False)


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
