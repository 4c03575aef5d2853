"""Errors of other people's code as our logs tell them: what kind, and where, and not a word of what they say.

A library may quote what it was given, which may be what somebody asked. Its words are told at DEBUG alone.
"""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

_MOST_FRAMES = 12


def wordless(error: BaseException) -> str:
    """Kinds and code lines of an error and of those behind it, newest first, in one line."""
    told: list[str] = []
    seen: BaseException | None = error
    while seen is not None and len(told) < _MOST_FRAMES:
        frames = traceback.extract_tb(seen.__traceback__)[-_MOST_FRAMES:]
        where = " < ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames))
        told.append(f"{type(seen).__name__} at {where}" if where else type(seen).__name__)
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return "; behind it ".join(told)


def tell(log: logging.Logger, what: str, error: BaseException) -> None:
    """Log that something failed by an error whose words may be anybody's."""
    log.error("%s: %s", what, wordless(error))
    log.debug("%s", what, exc_info=error)
