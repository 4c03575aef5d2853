"""The version of a teacher: a digest of everything that its answers depend on, so that it is never reused."""

from __future__ import annotations

import hashlib
from pathlib import Path

_DIGITS = 12


def version_of(kind: str, *parts: str) -> str:
    """``kind`` and a digest of ``parts``, in their order.

    Args:
        kind: Of the teacher; stands in front.
        parts: Digests of files, prompts, sampling.
    """
    return f"{kind}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:_DIGITS]}"


def instructed(version: str, instruction: str) -> str:
    """The version of what a teacher answers under a task's instruction; its own version without one."""
    if not instruction:
        return version
    return f"{version}-{hashlib.sha256(instruction.encode()).hexdigest()[:_DIGITS]}"


def digest_of_model(model: str) -> str:
    """What tells a model from every other one: SHA-256 of its files in hex, or a hub's name and revision.

    Args:
        model: Folder, or name of a model that has been loaded.
    """
    if not Path(model).is_dir():
        return f"{model}@{_revision_of(model)}"
    digest = hashlib.sha256()
    for path in sorted(path for path in Path(model).iterdir() if path.is_file()):
        digest.update(path.name.encode() + b"\x00" + bytes.fromhex(digest_of_file(path)))
    return digest.hexdigest()


def digest_of_file(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _revision_of(name: str) -> str:
    """The revision whose files the hub's cache holds, which keeps them in a folder of that name; empty for none."""
    from transformers.utils.hub import cached_file

    found = cached_file(name, "config.json", local_files_only=True, _raise_exceptions_for_missing_entries=False)
    return Path(found).parent.name if found else ""
