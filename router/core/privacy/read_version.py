"""The version of a teacher as one task's texts reach it: what is taken out of them is a part of what it answers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

_MARK = "~redacted-"
_DIGITS = 12


def read_version(version: str, redact: Iterable[str]) -> str:
    """A teacher's version, for texts that the redactors of these names have gone through; their order says nothing."""
    names = sorted(set(redact))
    return f"{version}{_MARK}{hashlib.sha256(repr(names).encode()).hexdigest()[:_DIGITS]}" if names else version


def is_read_by(version: str, redact: Iterable[str]) -> bool:
    """Whether what a version answered had gone through the redactors of these names, and through no others."""
    return version == read_version(version.partition(_MARK)[0], redact)
