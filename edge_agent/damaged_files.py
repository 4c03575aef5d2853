"""Set aside what the disk has damaged, so that the agent goes on and somebody can still look at it.

Rules:
 * Nothing is deleted at first sight: what can't be used gets a name that says so, ``<name>.damaged-<time>``.
 * A disk that damages the same thing again and again is not filled by it: the newest ``MOST_KEPT`` stay.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from pathlib import Path

log = logging.getLogger(__name__)

MOST_KEPT = 3
_MARK = ".damaged-"
_DIGITS = 13  # of a Unix time in milliseconds


def set_aside(path: Path, why: object, *companions: Path) -> Path:
    """Rename what lies at ``path``, whatever it is, and tell why. What is not there is left out.

    Args:
        path: A file, a folder, a link.
        why: What is wrong with it.
        companions: What belongs to it; each name begins with that of ``path``.

    Returns:
        Where it lies now.

    Raises:
        OSError: It can't be renamed.
    """
    aside = path.with_name(f"{path.name}{_MARK}{time.time_ns() // 1_000_000}")
    for one in (path, *companions):
        if os.path.lexists(one):
            one.rename(aside.with_name(aside.name + one.name.removeprefix(path.name)))
    log.error("%s can't be used, and is set aside as %s: %s", path, aside.name, why)
    _forget_oldest(path)
    return aside


def forsake(path: Path, why: object) -> None:
    """Set aside what can't be read, as far as the disk lets it."""
    try:
        set_aside(path, why)
    except OSError as error:
        log.error("%s can't be read (%s), nor set aside: %s", path, why, error)


def is_aside(path: Path) -> bool:
    """Whether something was set aside under this name."""
    return _MARK in path.name


def _forget_oldest(path: Path) -> None:
    first = f"{path.name}{_MARK}"
    kept = [other for other in path.parent.iterdir() if other.name.startswith(first)]
    times = sorted({other.name.removeprefix(first)[:_DIGITS] for other in kept})[:-MOST_KEPT]
    for old in (other for other in kept if other.name.removeprefix(first)[:_DIGITS] in times):
        if old.is_dir() and not old.is_symlink():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.unlink(missing_ok=True)
