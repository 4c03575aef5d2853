"""Fetch one file of a release into its part, from the byte where it ended the last time, across restarts too.

Rules:
 * More bytes than the manifest says are not taken, fewer are not enough, and a part with a wrong hash is deleted; so is
   one that goes on where the file has ended.
 * Whoever sends almost nothing is left: what came is kept, and fetching goes on later.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import IO

from edge_agent.releases.sources.source import ReleaseFile, Source
from edge_agent.tasks.refusals import Refusal, RefusedError
from edge_agent.tasks.slots import Slots
from router.core.errors import BadInputError

PACE_SECONDS = 60.0
SLOWEST_BYTES_PER_SECOND = 256.0  # over that time; a modem of 1990 is faster


class Pace:
    """How fast a file comes, looked at over one stretch of time after the other."""

    def __init__(self, name: str, now: Callable[[], float] = time.monotonic) -> None:
        """Start now."""
        self._name, self._now = name, now
        self._since, self._bytes = now(), 0

    def count(self, count: int) -> None:
        """So many bytes came.

        Raises:
            RefusedError: They come too slowly.
        """
        self._bytes += count
        seconds = self._now() - self._since
        if seconds < PACE_SECONDS:
            return
        if self._bytes < SLOWEST_BYTES_PER_SECOND * seconds:
            raise RefusedError(
                Refusal.SLOW, f"{self._bytes} bytes of {self._name} came in {seconds:.0f} s; they are kept", mends=True
            )
        self._since, self._bytes = self._now(), 0


async def fetch_part(source: Source, slots: Slots, wanted: ReleaseFile) -> None:
    """Fetch a file into its part, and check it.

    Raises:
        RefusedError: What comes is not the file.
        HeadraceError: It can't be had now; what came is kept.
        OSError: It can't be kept.
    """
    name, size = wanted.name, wanted.file.size
    with _open_part(slots.part(wanted.file), size) as stream:
        held, pace = stream.tell(), Pace(name)
        try:
            async for piece in _rest_of(source, wanted, held):
                held += len(piece)
                if held > size:
                    stream.truncate(0)
                    raise RefusedError(Refusal.ENDLESS, f"{name} has more than the {size} bytes that the manifest says")
                stream.write(piece)
                pace.count(len(piece))
        except BadInputError as error:  # one of the two is another file
            stream.truncate(0)
            raise RefusedError(Refusal.WRONG_LENGTH, f"{name} ends before byte {held}", mends=True) from error
    if held < size:
        raise RefusedError(Refusal.WRONG_LENGTH, f"{name} ended after {held} of {size} bytes", mends=True)
    await asyncio.to_thread(slots.check_part, name, wanted.file)


async def _rest_of(source: Source, wanted: ReleaseFile, held: int) -> AsyncIterator[bytes]:
    if held < wanted.file.size:
        async for piece in source.file(wanted, held):
            yield piece


def _open_part(part: Path, size: int) -> IO[bytes]:
    part.parent.mkdir(parents=True, exist_ok=True)
    stream = part.open("ab")
    if stream.tell() > size:
        stream.truncate(0)
    return stream
