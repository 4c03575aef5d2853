"""Whether something lies at a path that somebody wrote: at one that no system takes nothing does."""

from __future__ import annotations

from pathlib import Path


def is_file(path: Path) -> bool:
    """Whether a file lies there that can be seen."""
    try:
        return path.is_file()
    except OSError:  # a name that is too long, a folder above it that is closed
        return False


def is_folder(path: Path) -> bool:
    """Whether a folder lies there that can be seen."""
    try:
        return path.is_dir()
    except OSError:
        return False
