"""Take releases off probation: what has answered often enough stays, and its predecessor is needed no more.

Rules:
 * What can't be written now is written with the next healthy answer.
 * An agent that has run for ``CALM_SECONDS`` is in no crash loop; its start counts against no release.
"""

from __future__ import annotations

import asyncio
import logging

from edge_agent.tasks.all_tasks import Tasks
from edge_agent.tasks.hosted_task import HostedTask

log = logging.getLogger(__name__)

CALM_SECONDS = 600.0


class Probation:
    """The probation of one agent's releases."""

    def __init__(self, tasks: Tasks) -> None:
        """Watch over the releases of ``tasks``."""
        self._tasks = tasks

    async def run(self) -> None:
        """Take off probation what has proven itself, until cancelled."""
        try:
            async with asyncio.timeout(CALM_SECONDS):
                await self._prove()
        except TimeoutError:
            await asyncio.to_thread(self.calm)
        await self._prove()

    def calm(self) -> None:
        """Count the start of this agent against no release."""
        for hosted in self._tasks:
            if hosted.on_probation:
                try:
                    hosted.slots.calm()
                except OSError as error:
                    log.error("task %s: that the agent is well can't be noted: %s", hosted.name, error)

    async def _prove(self) -> None:
        while True:
            await self._tasks.proving.wait()
            self._tasks.proving.clear()
            for hosted in self._tasks:
                if not hosted.on_probation or not hosted.has_proven_itself:
                    continue
                try:
                    await asyncio.to_thread(hosted.slots.prove)
                except OSError as error:
                    log.error("task %s: its release has proven itself, and it can't be noted: %s", hosted.name, error)
                else:
                    hosted.on_probation = False
                    log.info("task %s: release %d has proven itself", hosted.name, _number(hosted))


def _number(hosted: HostedTask) -> int:
    return hosted.serving.manifest.number if hosted.serving else 0
