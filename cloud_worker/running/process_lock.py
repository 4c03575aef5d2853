"""Who runs on a data folder: one ``up`` at a time, known by a lock that ends with its process.

Rules:
 * The lock, not the file beside it, says whether something runs: no kill leaves it behind.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from pydantic import TypeAdapter

from router.core.errors import StartError
from router.core.visible_text import in_line
from router.io.atomic_write import write_whole

_LOCK = "lock"
_UP = "up.json"
_LONGEST_PID = 18  # digits that any lock of ours has at most: it may hold anything by now
_DYING_SECONDS = 2.0  # a process that was killed holds its lock until it is gone
_CHECK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Up:
    """A cluster that runs.

    Attributes:
        pid: Of the process that keeps it.
        listen: ``host:port`` where it serves.
        ray: Address of the Ray cluster.
        started_at: Unix time in seconds.
    """

    pid: int
    listen: str
    ray: str
    started_at: float


_SAID = TypeAdapter(Up)


@contextmanager
def sole(folder: Path) -> Iterator[None]:
    """Be the only one that runs on ``folder``, the run folder of a data folder.

    Raises:
        StartError: Another one runs there; names its process.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("a+", encoding="utf-8", errors="replace") as lock:
        _take(lock, folder)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        _clear(folder)
        try:
            yield
        finally:
            _clear(folder)


def check_nobody_runs(folder: Path) -> None:
    """Check it without being the one.

    Raises:
        StartError: Another one runs there; names its process.
    """
    until = time.monotonic() + _DYING_SECONDS
    while (pid := _holder(folder)) is not None:
        if time.monotonic() > until:
            raise _taken(folder, str(pid or "?"))
        time.sleep(_CHECK_SECONDS)


def announce(folder: Path, up: Up) -> None:
    """Tell those who ask that ``up`` serves now."""
    write_whole(folder / _UP, json.dumps(asdict(up)).encode())


def who_runs(folder: Path) -> tuple[int | None, Up | None]:
    """The process that runs on ``folder``, and what it serves; ``None`` for what there isn't (yet)."""
    pid = _holder(folder)
    if pid is None:
        return None, None
    with suppress(OSError, ValueError):  # none, or none that says anything
        return pid, _SAID.validate_json((folder / _UP).read_bytes())
    return pid, None


def wait_until_ended(folder: Path, seconds: float) -> bool:
    """Wait until nothing runs on ``folder``; whether that came within ``seconds``."""
    ended = threading.Event()
    threading.Thread(target=_wait_for_lock, args=(folder, ended), daemon=True).start()
    return ended.wait(seconds)


def running_for(up: Up) -> float:
    """Time in seconds since the start."""
    return time.time() - up.started_at


def _take(lock: TextIO, folder: Path) -> None:
    until = time.monotonic() + _DYING_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > until:
                lock.seek(0)
                raise _taken(folder, in_line(lock.read(_LONGEST_PID)).strip() or "?") from None
        time.sleep(_CHECK_SECONDS)


def _taken(folder: Path, pid: str) -> StartError:
    return StartError(
        f"process {pid} runs on {folder.parent} already; `headrace-cloud down` ends it, or choose another data folder"
    )


def _holder(folder: Path) -> int | None:
    try:
        with (folder / _LOCK).open(encoding="utf-8", errors="replace") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                text = lock.read(_LONGEST_PID).strip()
                return int(text) if text.isascii() and text.isdigit() else 0
    except FileNotFoundError:
        return None
    return None


def _wait_for_lock(folder: Path, ended: threading.Event) -> None:
    with (folder / _LOCK).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
    ended.set()


def _clear(folder: Path) -> None:
    """Remove what was true of an earlier run."""
    for path in folder.glob("*.json"):
        path.unlink()
