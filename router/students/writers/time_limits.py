"""One time for a whole request over httpx, whatever comes byte by byte: a timeout of httpx holds for each read alone.

Rules:
 * The time is the thread's: every step within ``within`` has what is left of it, and is over when it is over.
 * A client is bound to it once, when it is made.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import httpcore

if TYPE_CHECKING:
    import ssl

    import httpx

_ENDS: ContextVar[float | None] = ContextVar("ends", default=None)  # by time.monotonic
_PIECE = 4096  # bytes written at once: each has what is left of the time


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """All that is asked in here, by clients that are bound, ends in so many seconds; within another, in its time."""
    before, ends = _ENDS.get(), time.monotonic() + seconds
    token = _ENDS.set(ends if before is None else min(ends, before))
    try:
        yield
    finally:
        _ENDS.reset(token)


def bound(transport: httpx.HTTPTransport) -> httpx.HTTPTransport:
    """The same transport, before its first request, so that ``within`` holds for it."""
    pool: Any = transport._pool  # httpx has no other way to a connection's reads
    pool._network_backend = _Backend(pool._network_backend)
    return transport


def _left(timeout: float | None, error: type[httpcore.TimeoutException]) -> float | None:
    ends = _ENDS.get()
    if ends is None:
        return timeout
    left = ends - time.monotonic()
    if left <= 0:
        raise error("the time for the whole request is over")
    return left if timeout is None else min(left, timeout)


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _PIECE):
            self._stream.write(buffer[start : start + _PIECE], _left(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Backend(httpcore.NetworkBackend):
    def __init__(self, backend: httpcore.NetworkBackend) -> None:
        self._backend = backend

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._backend.connect_tcp(host, port, left, local_address, socket_options))

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._backend.connect_unix_socket(path, _left(timeout, httpcore.ConnectTimeout), socket_options))

    def sleep(self, seconds: float) -> None:
        self._backend.sleep(seconds)
