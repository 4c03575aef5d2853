"""The one seam between python-tuf, which waits in a thread, and a source, which is asked on the event loop.

Rules:
 * All fetches of one refresh together have one time; python-tuf alone would wait for a slow drip without end.
 * What is not there is an HTTP status 404, as python-tuf knows it: the next root that is not made yet, above all.
 * Whoever waits in the thread is let go as soon as ``stop`` is called.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from collections.abc import AsyncIterator, Iterator

from tuf.api.exceptions import DownloadError, DownloadHTTPError, SlowRetrievalError
from tuf.ngclient.fetcher import FetcherInterface

from edge_agent.releases.sources.source import Source
from router.core.errors import HeadraceError, UnknownTaskError


class BridgedFetcher(FetcherInterface):
    """Fetches from a source, for one refresh.

    Attributes:
        path: What was fetched last.
        data: As much of it as came.
        problem: What the source said when it could not give it, ``None`` before.
    """

    def __init__(self, source: Source, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        """Fetch from ``source`` on ``loop``, for ``seconds`` in all."""
        self._source, self._loop = source, loop
        self._seconds, self._ends = seconds, time.monotonic() + seconds
        self._stopped = False
        self._waiting: concurrent.futures.Future[bytes | None] | None = None
        self.path = ""
        self.data = bytearray()
        self.problem: HeadraceError | None = None

    def stop(self) -> None:
        """Let whoever waits go; nothing more is fetched."""
        self._stopped = True
        if self._waiting is not None:
            self._waiting.cancel()

    def _fetch(self, url: str) -> Iterator[bytes]:
        self.path, self.data = url, bytearray()
        pieces = self._source.repository(url)
        try:
            while (piece := self._next(pieces)) is not None:
                self.data += piece
                yield piece
        finally:
            if not self._loop.is_closed():
                asyncio.run_coroutine_threadsafe(_close(pieces), self._loop)

    def _next(self, pieces: AsyncIterator[bytes]) -> bytes | None:
        if self._stopped:
            raise DownloadError("it was stopped")
        self._waiting = asyncio.run_coroutine_threadsafe(_step(pieces), self._loop)
        try:
            return self._waiting.result(max(0.0, self._ends - time.monotonic()))
        except TimeoutError:
            self._waiting.cancel()
            raise SlowRetrievalError(
                f"{self.path} was not there after {self._seconds:.0f} s: {len(self.data)} bytes came"
            ) from None
        except concurrent.futures.CancelledError:
            raise DownloadError("it was stopped") from None
        except UnknownTaskError as error:
            raise DownloadHTTPError(str(error), 404) from error
        except HeadraceError as error:
            self.problem = error
            raise DownloadError(str(error)) from error


async def _step(pieces: AsyncIterator[bytes]) -> bytes | None:
    return await anext(pieces, None)


async def _close(pieces: AsyncIterator[bytes]) -> None:
    close = getattr(pieces, "aclose", None)
    if close is not None:
        await close()
