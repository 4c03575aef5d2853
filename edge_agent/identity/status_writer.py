"""Says what is the matter with an agent while it runs: in its status file, and a line in the log when it changes."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_agent.identity.condition import REMEDIES, Facts, State, states
from edge_agent.identity.status_file import forget_status, write_status

log = logging.getLogger(__name__)

CHECK_SECONDS = 1.0
FRESH_SECONDS = 5.0  # between two times that nothing new is written


class StatusWriter:
    """The writer of one agent's status file.

    Attributes:
        states: What is the matter, as it was looked at last.
    """

    def __init__(self, data: Path, facts: Callable[[], Facts], more: Callable[[], dict[str, Any]]) -> None:
        """Prepare.

        Args:
            data: The data folder.
            facts: What is known now.
            more: What else the status tells, ready for JSON.
        """
        self._data, self._facts, self._more = data, facts, more
        self.states: tuple[State, ...] = (State.OK,)
        self._since = {State.OK: time.time()}
        self._written_at = 0.0

    async def run(self) -> None:
        """Look and write, until cancelled."""
        try:
            while True:
                if self.write_if_due() or time.monotonic() - self._written_at >= FRESH_SECONDS:
                    await self._write()
                await asyncio.sleep(CHECK_SECONDS)
        finally:
            forget_status(self._data)

    def write_if_due(self) -> bool:
        """Look at the facts; whether they tell anything new."""
        now, before = time.time(), self.states
        self.states = states(self._facts())
        self._since = {state: self._since.get(state, now) for state in self.states}
        if self.states == before:
            return False
        level = logging.INFO if self.states == (State.OK,) else logging.WARNING
        log.log(level, "state: %s", "; ".join(_told(state) for state in self.states))
        return True

    async def _write(self) -> None:
        said = {
            "pid": os.getpid(),
            "at": time.time(),
            "state": self.states[0].value,
            "states": [
                {"state": state.value, "since": self._since[state], "remedy": REMEDIES[state]} for state in self.states
            ],
            **self._more(),
        }
        writing = asyncio.ensure_future(asyncio.to_thread(write_status, self._data, said))
        try:
            await asyncio.shield(writing)
        except OSError as error:
            log.debug("the status can't be written: %s", error)
        finally:
            await asyncio.wait({writing})  # a thread goes on when its task is ended, and would write what was forgotten
        self._written_at = time.monotonic()


def _told(state: State) -> str:
    return f"{state}: {REMEDIES[state]}" if REMEDIES[state] else state.value
