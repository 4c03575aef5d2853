"""Starts a Ray of our own on this machine, wherever and however we are started.

Import it after ``prepare_environment``: Ray reads the environment while it is imported.

Rules:
 * Ray's files lie in a folder that is short enough for the names of its sockets.
 * Nothing of the working folder is imported in Ray's processes.
 * A machine that is too busy for Ray's own patience is waited for, and told about.
 * Of its head processes none is brought back by Ray: ``ended_head`` tells that one is gone, before what runs on it is.
"""

from __future__ import annotations

import logging
import os
import resource
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray._private import services, worker
from ray._private.node import Node

from router.core.errors import StartError

log = logging.getLogger(__name__)

MOST_STARTS = 2
LEAST_DESCRIPTORS = 1024
_HEAD = ("gcs_server", "raylet")
_REGISTER_SECONDS = 120.0
_CHECK_SECONDS = 0.1
_LEAST_FREE_BYTES = 64_000_000
_OBJECT_STORE_BYTES = 128 * 1024 * 1024
_LONGEST_SOCKET_BYTES = 107  # unix(7): 108 with the zero at its end
_IN_A_SESSION = "/session_2026-01-01_00-00-00_000000_0000000/sockets/plasma_store_00000"
_SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")  # where the given one does not do


def start_own_ray(cpus: int, namespace: str) -> Any:
    """Start Ray here; returns what ``ray.init`` does.

    Args:
        cpus: Logical processors of it.
        namespace: Of our actors.

    Raises:
        StartError: It does not start; says why, and what to do.
    """
    raise_descriptors()
    folder = folder_for_ray()
    node: Any = Node
    node.start_api_server = _start_no_api_server
    for last in (attempt == MOST_STARTS for attempt in range(1, MOST_STARTS + 1)):
        try:
            with _patience(), own_signals():
                return ray.init(
                    address="local",
                    num_cpus=cpus,
                    namespace=namespace,
                    include_dashboard=False,
                    object_store_memory=_OBJECT_STORE_BYTES,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    _temp_dir=folder,
                )
        except Exception as error:  # Ray raises bare ones: "The current node timed out during startup"
            ray.shutdown()
            if last or not _is_slowness(error):
                raise StartError(f"Ray can't start here: {_first_line(error)}; its logs are in {folder}") from error
            log.warning("Ray did not start in time; this machine is busy, and it is tried again")
    raise AssertionError


@contextmanager
def own_signals() -> Iterator[None]:
    """Keep what a signal does here: Ray puts its own handler for SIGTERM, which ends a start without a word, as 15."""
    kept = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if kept is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, kept)


def ended_head() -> list[str]:
    """Which head processes of the Ray that was started here have ended; none while all is well.

    What runs on Ray lives on for up to a minute then, but nothing is started or brought back any more.
    """
    node: Any = worker._global_node
    dead = [] if node is None else [str(kind) for kind, _ in node.dead_processes()]
    return [kind for kind in dead if kind in _HEAD]


@contextmanager
def _patience() -> Iterator[None]:
    """Give Ray's node longer to register than the 30 s that Ray 2.60 allows, without a setting for it."""
    get_node: Any = services.get_node

    def get_node_patiently(*arguments: Any) -> Any:
        until = time.monotonic() + _REGISTER_SECONDS
        while True:
            try:
                return get_node(*arguments)
            except RuntimeError:
                if time.monotonic() > until:
                    raise
            time.sleep(_CHECK_SECONDS)

    services.get_node = get_node_patiently
    try:
        yield
    finally:
        services.get_node = get_node


def folder_for_ray() -> str:
    """Where Ray's sessions lie: in the folder for temporary files, or in another whose name is short enough.

    Raises:
        StartError: There is none.
    """
    tried = list(dict.fromkeys(_candidates()))
    for folder in tried:
        fits = len(os.fsencode(folder + _IN_A_SESSION)) <= _LONGEST_SOCKET_BYTES
        existing = Path(folder) if Path(folder).is_dir() else Path(folder).parent
        if fits and existing.is_dir() and os.access(existing, os.W_OK | os.X_OK) and _has_space(existing):
            return folder
    raise StartError(
        f"Ray needs a folder with a short name that can be written and has {_LEAST_FREE_BYTES / 1e6:.0f} MB free, and "
        f"{', '.join(tried)} are none; set TMPDIR to one"
    )


def raise_descriptors() -> None:
    """Take as many open files as this process may have.

    Raises:
        StartError: They are too few for Ray.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    least = float("inf") if hard == resource.RLIM_INFINITY else hard
    if least < LEAST_DESCRIPTORS:
        raise StartError(
            f"this process may open {hard} files, and Ray needs {LEAST_DESCRIPTORS}; raise `ulimit -n` (LimitNOFILE)"
        )
    if soft != resource.RLIM_INFINITY and soft < LEAST_DESCRIPTORS:
        resource.setrlimit(resource.RLIMIT_NOFILE, (LEAST_DESCRIPTORS, hard))


def _candidates() -> Iterator[str]:
    for folder in (os.environ.get("RAY_TMPDIR", ""), _folder_for_temporary_files(), *_SHORT_FOLDERS):
        if folder:
            yield f"{folder.rstrip('/')}/ray"


def _folder_for_temporary_files() -> str:
    try:
        return tempfile.gettempdir()
    except FileNotFoundError:  # none can be written
        return ""


def _has_space(folder: Path) -> bool:
    return shutil.disk_usage(folder).free >= _LEAST_FREE_BYTES


def _is_slowness(error: Exception) -> bool:
    return "timed out" in str(error) or "Timed out" in str(error)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def _start_no_api_server(node: Any, **_: Any) -> None:
    """Without a dashboard, Ray's API server would only report usage, and ask clouds' metadata services who we are."""
    node._webui_url = ""
