"""The data folder of an agent: held by one at a time, and in it the file that tells where it listens."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_agent.damaged_files import forsake
from router.core.domain.plain_names import why_too_long
from router.core.errors import StartError
from router.io.atomic_write import write_whole

log = logging.getLogger(__name__)


class RunFile:
    """``<data>/run/agent.json``: process id and port of the agent that runs."""

    def __init__(self, data: Path) -> None:
        """Lie below ``data``."""
        self._path = data / "run" / "agent.json"

    def write(self, port: int) -> None:
        """Tell that this process listens on ``port``; on a disk that takes nothing the log tells it."""
        try:
            write_whole(self._path, json.dumps({"pid": os.getpid(), "port": port}).encode())
        except OSError as error:
            log.error("%s can't be written; the port is %d: %s", self._path, port, error)

    def forget(self) -> None:
        """Tell nothing any more, whatever lies there."""
        path = self._path
        if os.path.lexists(path.parent) and not path.parent.is_dir():
            forsake(path.parent, "it is no folder")
        if path.is_dir():
            forsake(path, "it is a folder")
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


@contextmanager
def held(data: Path) -> Iterator[None]:
    """Keep other agents out of the data folder; a killed agent lets go by itself.

    The folder itself is held too: on a full disk there may be no room for the file, and in its place may lie anything.
    """
    try:
        too_long = why_too_long(os.path.realpath(data))
        if too_long:
            raise StartError(f"data folder {data} {too_long}; choose another")
        data.mkdir(parents=True, exist_ok=True)
        folder = os.open(data, os.O_RDONLY | os.O_DIRECTORY)
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or error
        raise StartError(f"data folder {data} can't be used: {problem}; choose another") from error
    lock = _lock_file(data / "lock")
    try:
        for handle in (folder, lock):
            if handle is not None:
                _lock(handle, data)
        yield
    finally:
        for handle in (folder, lock):
            if handle is not None:
                os.close(handle)


def _lock_file(path: Path) -> int | None:
    try:
        if path.is_dir() or path.is_symlink():
            forsake(path, "it is not what this agent puts there")
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        log.error("%s can't be opened, and the folder alone is held: %s", path, error)
        return None


def _lock(handle: int, data: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise StartError(f"data folder {data} is used by another agent; give each its own") from error
    except OSError as error:  # a file system without such locks
        log.warning("%s can't be locked against a second agent: %s", data, error)
