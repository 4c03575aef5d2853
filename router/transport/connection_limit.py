"""How many connections a server holds: idle ones give way, so that whoever asks finds room.

gRPC takes connections until the process has no descriptor left, and then lets everybody wait. It tells nothing of the
connections that it holds; the system does.

Rules:
 * Descriptors: as many as the system allows this process without asking anybody.
 * Above ``most`` connections the ones that have been silent longest are ended. One with a call under way never is; a
   caller whose idle connection was ended connects again by itself.
 * Where the system does not tell of connections (anywhere but on Linux) nothing is ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import socket
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

_log = logging.getLogger(__name__)

CHECK_SECONDS = 0.2
MOST_CONNECTIONS = 4096
RESERVED = 8  # descriptors held back, to look with when all others are taken
_DESCRIPTORS = Path("/proc/self/fd")
_IS_SUPPORTED = _DESCRIPTORS.is_dir()
_LAST_DATA_RECEIVED = struct.Struct("=52xI")  # of Linux's tcp_info: milliseconds since


class Crowd:
    """The connections at one door."""

    def __init__(self) -> None:
        """Take all descriptors that the system allows, and leave half of them to the rest of the process."""
        self.most = min(raise_limit() // 2, MOST_CONNECTIONS)
        self._busy: Counter[str] = Counter()
        self._reserve: list[int] = []

    def begin(self, peer: str) -> None:
        """A call of ``peer``, as gRPC spells it, is under way; ``end`` is called when it is over."""
        self._busy[peer] += 1

    def end(self, peer: str) -> None:
        """A call of ``peer`` is over."""
        self._busy[peer] -= 1
        if not self._busy[peer]:
            del self._busy[peer]

    async def shed_idle(self, port: int) -> None:
        """End idle connections at ``port`` whenever there are too many, until cancelled. gRPC has no event for this."""
        if not _IS_SUPPORTED:
            return
        try:
            while True:
                if not self._reserve:
                    self._reserve = _reserved()
                await asyncio.sleep(CHECK_SECONDS)
                self._check(port)
        finally:
            self._release()

    def _check(self, port: int) -> None:
        try:
            self._shed(port)
        except OSError:  # no descriptor is left to look with
            self._release()
            with contextlib.suppress(OSError):
                self._shed(port)

    def _shed(self, port: int) -> None:
        descriptors = [int(name) for name in os.listdir(_DESCRIPTORS)]  # noqa: PTH208 - five times a second
        if len(descriptors) <= self.most:
            return
        idle: list[tuple[int, int]] = []
        count = 0
        for descriptor in descriptors:
            with contextlib.suppress(OSError), _socket(descriptor) as one:
                if one.getsockname()[1:2] != (port,):
                    continue
                peer = one.getpeername()
                count += 1
                if not self._busy[_spelt(peer)]:
                    idle.append((_silent_for(one), descriptor))
        ended = sorted(idle, reverse=True)[: max(0, count - 3 * self.most // 4)] if count > self.most else []
        for _, descriptor in ended:
            with contextlib.suppress(OSError), _socket(descriptor) as one:
                one.shutdown(socket.SHUT_RDWR)
        if ended:
            _log.warning("%d connections stand at the door, and %d idle ones are ended", count, len(ended))

    def _release(self) -> None:
        for descriptor in self._reserve:
            os.close(descriptor)
        self._reserve = []


def raise_limit() -> int:
    """Take as many descriptors as the system allows; how many that are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return soft if soft > 0 else 2 * MOST_CONNECTIONS


def _reserved() -> list[int]:
    taken: list[int] = []
    with contextlib.suppress(OSError):
        taken.extend(os.open(os.devnull, os.O_RDONLY) for _ in range(RESERVED))
    return taken


@contextlib.contextmanager
def _socket(descriptor: int) -> Iterator[socket.socket]:
    """A descriptor of somebody else's as a socket, without taking it over."""
    one = socket.socket(fileno=descriptor)
    try:
        yield one
    finally:
        one.detach()


def _silent_for(one: socket.socket) -> int:
    told = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_DATA_RECEIVED.size)
    return int(_LAST_DATA_RECEIVED.unpack(told)[0])


def _spelt(peer: tuple[str, int]) -> str:
    """A peer as gRPC spells it."""
    host, port = peer[0], peer[1]
    return f"ipv6:%5B{host}%5D:{port}" if ":" in host else f"ipv4:{host}:{port}"
