"""``<data>/run/<gateway>.json``: which process serves there, and on which ports, from the moment that it serves."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from dataclasses import asdict
from pathlib import Path

from cloud_worker.gateway.doors import Ports
from router.io.atomic_write import write_whole

log = logging.getLogger(__name__)

_LAST_PID, _LAST_PORT = 2**31, 2**16


class RunFile:
    """The file that tells the ports of one gateway."""

    def __init__(self, folder: Path, gateway: str) -> None:
        """Lie in ``folder``."""
        self._path = folder / f"{gateway}.json"

    def exists(self) -> bool:
        """Whether this gateway has served since ``up``."""
        return self._path.exists()

    def write(self, ports: Ports) -> None:
        """Tell that this process serves on ``ports``; on a disk that takes nothing the log tells it."""
        try:
            write_whole(self._path, json.dumps({"pid": os.getpid(), **asdict(ports)}).encode())
        except OSError as error:
            log.error("%s can't be written; the port is %d: %s", self._path, ports.port, error)

    def reopened(self, listen: str, which: str = "port") -> str:
        """Where to listen: as configured, but on the port of the life before where that was a free one."""
        host, _, port = listen.rpartition(":")
        before = self._told(which) if port == "0" else None
        return f"{host}:{before[1]}" if before else listen

    def living_port(self) -> int | None:
        """The port that is told, if its process lives."""
        told = self._told("port")
        if told is not None:
            with contextlib.suppress(OSError):
                os.kill(told[0], 0)
                return told[1]
        return None

    def _told(self, which: str) -> tuple[int, int] | None:
        """Process and port, ``None`` where it tells none: a disk may have spoilt it."""
        try:
            told = json.loads(self._path.read_bytes())
            pid, port = int(told["pid"]), int(told[which])
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return None
        return (pid, port) if 0 < pid < _LAST_PID and 0 < port < _LAST_PORT else None
