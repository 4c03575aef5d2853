"""Gives matplotlib a temporary folder, since it else leaves some in the home of whoever only wanted a picture."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_VARIABLE = "MPLCONFIGDIR"


@contextmanager
def drawing() -> Iterator[None]:
    """Import matplotlib and draw in this context: what it keeps goes with it, unless the user has a place for that."""
    if _VARIABLE in os.environ or _has_own_folder():
        yield
        return
    with tempfile.TemporaryDirectory(prefix="headrace-drawing-") as folder:
        os.environ[_VARIABLE] = folder
        try:
            yield
        finally:
            del os.environ[_VARIABLE]


def _has_own_folder() -> bool:
    try:
        return Path("~/.config/matplotlib").expanduser().is_dir()
    except (OSError, RuntimeError):  # no home
        return False
