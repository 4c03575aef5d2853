"""Releases as folders, written whole.

Rules:
 * A release's folder appears complete or not at all, and nothing in it changes once a device has been told of it.
 * A file that a former release has too is linked, not copied.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from router.core.domain.prediction import DeviceStudent
from router.core.release.manifest import (
    MANIFEST_FILE,
    File,
    Manifest,
    digest,
    read_manifest,
    write_manifest,
)
from router.io.atomic_write import sync_folder, write_whole
from router.students.loader import open_student


class Publisher:
    """Writes releases under one folder, as ``<task>/<number>/``."""

    def __init__(self, folder: Path, servers: Mapping[str, str] | None = None) -> None:
        """Write under ``folder``; ``servers`` names the URL of each model that is served rather than shipped."""
        self._folder = folder
        self._servers = servers or {}

    def publish(self, manifest: Manifest, files: Mapping[str, bytes | Path]) -> str:
        """Write a release and return the SHA-256 of its manifest, in hex.

        Args:
            manifest: What the release is; its list of files is filled in here.
            files: Content of every file, or where it lies.
        """
        parent = self._folder / manifest.task.name
        parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=".building-", dir=parent))
        try:
            listed = {name: _put(building / name, content) for name, content in files.items()}
            data = write_manifest(replace(manifest, files=listed))
            write_whole(building / MANIFEST_FILE, data)
            building.rename(parent / str(manifest.number))
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise
        sync_folder(parent)
        return digest(data)

    def republish(self, manifest: Manifest, content: int, changed: Mapping[str, bytes] | None = None) -> str:
        """Write a release with the files of release ``content``, and return the SHA-256 of its manifest, in hex.

        Args:
            manifest: What the release is.
            content: Number of the release whose files it has.
            changed: Small files in place of those of the same name.
        """
        folder = self.path(manifest.task.name, content)
        same = {name: folder / name for name in self.manifest(manifest.task.name, content).files}
        return self.publish(manifest, {**same, **(changed or {})})

    def amend(self, manifest: Manifest, files: Mapping[str, bytes]) -> str:
        """Add what is known only later to a release that no device has been told of, and return its new SHA-256.

        Args:
            manifest: The new one; of its list of files, what ``files`` names is filled in here.
            files: Small files to put in place of drafts.
        """
        folder = self.path(manifest.task.name, manifest.number)
        listed = dict(self.manifest(manifest.task.name, manifest.number).files)
        for name, content in files.items():
            listed[name] = _put(folder / name, content)
        data = write_manifest(replace(manifest, files=listed))
        write_whole(folder / MANIFEST_FILE, data)
        return digest(data)

    def path(self, task: str, number: int) -> Path:
        """A release's folder."""
        return self._folder / task / str(number)

    def student(self, task: str, number: int, manifest: Manifest) -> DeviceStudent:
        """Open the student in the folder of release ``number``.

        Raises:
            ModelError: It can't be used.
        """
        return open_student(self.path(task, number), manifest, self._servers)

    def manifest(self, task: str, number: int) -> Manifest:
        """A release's manifest."""
        return read_manifest((self.path(task, number) / MANIFEST_FILE).read_bytes())


def _put(target: Path, content: bytes | Path) -> File:
    if isinstance(content, bytes):
        write_whole(target, content)
        return File(len(content), digest(content))
    try:
        os.link(content, target)
    except OSError:  # another file system
        write_whole(target, content.read_bytes())
    with target.open("rb") as stream:
        return File(target.stat().st_size, hashlib.file_digest(stream, "sha256").hexdigest())
