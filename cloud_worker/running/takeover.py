"""One process at a time does a thing; another waits, ready, and takes over the moment that one is gone.

Rules:
 * A lock of the system says whose turn it is: it ends with its process, however that ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import threading
from pathlib import Path


class Turn:
    """A turn that is waited for. Belongs to one event loop."""

    def __init__(self, path: Path) -> None:
        """Wait for the turn that the file at ``path``, made if it is missing, stands for."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self.is_mine = False

    async def taken(self) -> None:
        """Return when it is this process's turn."""
        loop = asyncio.get_running_loop()
        mine: asyncio.Future[None] = loop.create_future()
        threading.Thread(target=self._wait, args=(loop, mine), name="turn", daemon=True).start()
        await mine
        self.is_mine = True

    def end(self) -> None:
        """Let the next one take over."""
        self.is_mine = False
        with contextlib.suppress(OSError):
            os.close(self._handle)

    def _wait(self, loop: asyncio.AbstractEventLoop, mine: asyncio.Future[None]) -> None:
        with contextlib.suppress(OSError, RuntimeError):  # ended meanwhile, or the loop has
            fcntl.flock(self._handle, fcntl.LOCK_EX)
            loop.call_soon_threadsafe(_resolve, mine)


def _resolve(mine: asyncio.Future[None]) -> None:
    if not mine.done():
        mine.set_result(None)
