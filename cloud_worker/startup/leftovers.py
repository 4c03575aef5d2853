"""What a killed ``up`` has left on this machine: Ray's processes, which end by themselves, but not at once.

Rules:
 * Only who holds the lock of a run folder looks, so whatever bears its mark belongs to no ``up`` that lives.
 * What does not end by itself soon is ended. Where there is no ``/proc``, nothing is found.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from router.core.errors import StartError

log = logging.getLogger(__name__)

MARK = "HEADRACE_UP_FOLDER"  # in the environment of every process of an ``up``: its run folder

_PROC = Path("/proc")
_BY_ITSELF_SECONDS = 2.0
_KILLED_SECONDS = 20.0
_CHECK_SECONDS = 0.05


def mark(folder: Path) -> None:
    """Mark this process, and those that it starts, as of the ``up`` that runs on ``folder``, its working folder now."""
    os.environ[MARK] = str(folder)
    os.chdir(folder)


def end_leftovers(folder: Path) -> int:
    """Wait for what an earlier ``up`` on ``folder`` has left, end what stays, and say how many processes there were.

    Raises:
        StartError: Some can't be ended; names them.
    """
    found = left = _left_of(folder)
    for seconds, end in ((_BY_ITSELF_SECONDS, False), (_KILLED_SECONDS, True)):
        until = time.monotonic() + seconds
        while left and time.monotonic() < until:
            if end:
                _kill(left)
            time.sleep(_CHECK_SECONDS)
            left = _left_of(folder)
    if left:
        ids = " ".join(map(str, sorted(left)))
        raise StartError(f"an earlier `up` on {folder.parent} left processes that can't be ended: kill -9 {ids}")
    return len(found)


def end_children() -> None:
    """End every process below this one, at once, and take leave of those that are its own."""
    until = time.monotonic() + _KILLED_SECONDS
    while (below := _below()) and time.monotonic() < until:
        _kill(below)
        time.sleep(_CHECK_SECONDS)
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _below() -> set[int]:
    parents: dict[int, int] = {}
    for pid in _pids():
        with contextlib.suppress(OSError, ValueError):
            state, parents[pid] = _state(pid)
            if state in "ZX":
                del parents[pid]
    below, level = set[int](), {os.getpid()}
    while level:
        level = {pid for pid, parent in parents.items() if parent in level} - below
        below |= level
    return below


def _kill(pids: set[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def _left_of(folder: Path) -> set[int]:
    """Marked processes and their children; Ray's workers, which have written over their mark, by where they work."""
    parents: dict[int, int] = {}
    left: set[int] = set()
    for pid in _pids():
        with contextlib.suppress(OSError, ValueError):
            state, parent = _state(pid)
            if state in "ZX" or pid == os.getpid():
                continue
            parents[pid] = parent
            if _is_marked(pid, folder) or _is_rays(pid, folder):
                left.add(pid)
    mine = {os.getpid()}
    for pid in parents:
        line = [pid]
        while (above := parents.get(line[-1])) and above not in line:
            line.append(above)
        if line[-1] in mine or os.getpid() in line:
            left.discard(pid)
        elif left.intersection(line):
            left.add(pid)
    return left


def _pids() -> Iterator[int]:
    with contextlib.suppress(OSError):
        yield from (int(path.name) for path in _PROC.iterdir() if path.name.isdigit())


def _state(pid: int) -> tuple[str, int]:
    fields = (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    return fields[0].decode(), int(fields[1])


def _is_marked(pid: int, folder: Path) -> bool:
    return f"{MARK}={folder}".encode() in (_PROC / str(pid) / "environ").read_bytes().split(b"\0")


def _is_rays(pid: int, folder: Path) -> bool:
    at = _PROC / str(pid)
    return (at / "cmdline").read_bytes().startswith(b"ray::") and os.path.realpath(at / "cwd") == os.path.realpath(
        folder
    )
