"""What a running agent says of itself, for ``headrace-edge status``: ``<data>/run/status.json``.

Rules:
 * The file keeps its size and is written in place: on a full disk it is as fresh as ever.
 * A reader that comes in between finds no JSON, and looks again.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

BYTES = 16 * 1024
STATUS_FILE = Path("run") / "status.json"  # in the data folder
_TRIES, _CHECK_SECONDS = 5, 0.02


def write_status(data: Path, said: Mapping[str, Any]) -> None:
    """Write what an agent says.

    Raises:
        OSError: It can't be written.
    """
    text = json.dumps(said).encode()
    if len(text) > BYTES:
        text = json.dumps({**said, "tasks": []}).encode()
    path = data / STATUS_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.pwrite(handle, text[:BYTES].ljust(BYTES), 0)
    finally:
        os.close(handle)


def read_status(data: Path) -> dict[str, Any] | None:
    """What an agent said last, ``None`` where that can't be read."""
    for _ in range(_TRIES):
        with contextlib.suppress(OSError, ValueError, RecursionError):
            said = json.loads((data / STATUS_FILE).read_bytes())
            return said if isinstance(said, dict) else None
        time.sleep(_CHECK_SECONDS)
    return None


def forget_status(data: Path) -> None:
    """Leave nothing behind of a life that has ended."""
    with contextlib.suppress(OSError):
        (data / STATUS_FILE).unlink()
