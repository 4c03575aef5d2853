"""What the quotas of all tasks have spent, kept across restarts.

Rules:
 * The file is written whole, at most once a second, and at the end. A kill forgets at most what was sent since; the
   fleet's own limits, which the cloud keeps, forget nothing.
 * A file that can't be read is set aside, and as good as none.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from edge_agent.damaged_files import forsake
from edge_agent.tasks.all_tasks import Tasks
from router.core.policy.budget import Spent, taken_up
from router.io.atomic_write import write_whole

log = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0

_SPENT = TypeAdapter(dict[str, Spent])


class QuotaStore:
    """Writes down what the quotas of ``tasks`` have spent."""

    def __init__(self, path: Path, tasks: Tasks) -> None:
        """Write to ``path``."""
        self._path = path
        self._tasks = tasks
        self._written: dict[str, Spent] = {}

    async def run(self) -> None:
        """Write whatever has changed, until cancelled."""
        while True:
            await self._tasks.spending.wait()
            self._tasks.spending.clear()
            await self.write()
            await asyncio.sleep(PAUSE_SECONDS)

    async def write(self) -> None:
        """Write what is spent by now."""
        spent = {hosted.name: hosted.quota.spent for hosted in self._tasks if hosted.quota.spent != Spent()}
        if spent == self._written:
            return
        body = json.dumps({name: asdict(one) for name, one in spent.items()}).encode()
        try:
            await asyncio.to_thread(write_whole, self._path, body)
            self._written = spent
        except OSError as error:
            log.error("what was sent can't be kept for a restart: %s", error)


def load_spent(path: Path) -> Mapping[str, Spent]:
    """What was spent by task, as kept at ``path``."""
    try:
        kept = _SPENT.validate_json(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValidationError) as error:
        forsake(path, error)
        return {}
    return {name: taken_up(spent, time.time()) for name, spent in kept.items()}
