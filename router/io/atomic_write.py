"""Write a file whole or not at all; find a folder that begins with `~`."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_whole(path: Path, data: bytes) -> None:
    """Put ``data`` at ``path`` so that a reader, also after a power cut, sees the old file or the new one.

    Args:
        path: Where; its folder is made if it is missing.
        data: The whole content.

    Raises:
        OSError: Nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def in_home(path: str) -> Path:
    """A path with ``~`` as the home folder it stands for; as it is, where the system knows none."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
