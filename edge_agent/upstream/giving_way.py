"""Releases give way to queries: while a query is on its way the next piece waits, ``GIVE_WAY_SECONDS`` at most."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

GIVE_WAY_SECONDS = 1.0


class GivingWay:
    """The turn on one device's connection: background calls give way. Belongs to one event loop."""

    def __init__(self) -> None:
        """Begin with nothing on its way."""
        self._on_their_way = 0
        self._quiet = asyncio.Event()
        self._quiet.set()

    @contextlib.contextmanager
    def goes(self) -> Iterator[None]:
        """Something that somebody waits for is on its way."""
        self._on_their_way += 1
        self._quiet.clear()
        try:
            yield
        finally:
            self._on_their_way -= 1
            if not self._on_their_way:
                self._quiet.set()

    async def quiet(self) -> None:
        """Return when nothing is on its way, or after ``GIVE_WAY_SECONDS``."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GIVE_WAY_SECONDS):
                await self._quiet.wait()
