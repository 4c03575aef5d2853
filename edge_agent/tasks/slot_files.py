"""The files in a slot: checked, linked, made durable, cleared away."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from pathlib import Path

from edge_agent.tasks.refusals import Refusal, RefusedError
from router.core.errors import ReleaseError
from router.core.release.manifest import File


def check_file(path: Path, file: File, name: str = "") -> None:
    """Check a file's size and SHA-256.

    Args:
        path: Where it lies.
        file: What it must be.
        name: What to call it in the error, its own name by default.

    Raises:
        ReleaseError: It is missing, or another.
    """
    called = name or path.name
    try:
        if path.stat().st_size != file.size:
            said = f"{called} has {path.stat().st_size} bytes; the manifest says {file.size}"
            raise RefusedError(Refusal.WRONG_LENGTH, said)
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ReleaseError(f"{called} can't be read: {error.strerror or error}") from error
    if found != file.sha256:
        said = f"{called} has the SHA-256 {found[:12]}…; the manifest says {file.sha256[:12]}…"
        raise RefusedError(Refusal.TAMPERED, said)


def clear(path: Path) -> None:
    """Delete what lies at ``path``, file or folder, as far as the disk lets it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    with contextlib.suppress(OSError):
        path.unlink()


def is_whole(path: Path, file: File) -> bool:
    """Whether a file lies at ``path``, every byte of it."""
    try:
        check_file(path, file)
    except ReleaseError:
        return False
    return True


def link(source: Path, target: Path) -> None:
    """Have a file lie at another path too, without copying it where the disk can.

    Raises:
        ReleaseError: It is missing.
        OSError: It can't be copied.
    """
    try:
        target.hardlink_to(source)
    except FileNotFoundError as error:
        raise ReleaseError(f"{target.name} is missing") from error
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)
        sync_file(target)


def sync_file(path: Path) -> None:
    """Make a file durable.

    Raises:
        OSError: It can't be.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
