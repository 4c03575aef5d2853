"""Two places for the releases of one task: one serves, the other takes the next.

    <folder>/a/  b/     a release each: manifest.json and the files that it lists
    <folder>/active     which slot is committed, and its manifest's SHA-256
    <folder>/parts/     files on their way, by their SHA-256

Rules:
 * Only the committed slot is ever served; whatever else lies here after a crash is ignored, and cleared away.
 * A file counts only when its size and SHA-256 are those that the manifest lists.
 * Committing is one atomic write: after a power cut the old slot is committed, or the new one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from edge_agent.damaged_files import forsake
from edge_agent.tasks.refusals import Refusal, RefusedError
from router.core.errors import ReleaseError
from router.core.release.manifest import MANIFEST_FILE, File, Manifest, digest, read_manifest
from router.io.atomic_write import sync_folder, write_whole

NAMES = ("a", "b")


@dataclass(frozen=True, slots=True)
class Pointer:
    """What the file ``active`` says: the committed slot, and the SHA-256 of its manifest in hex."""

    slot: str
    manifest_sha256: str


@dataclass(frozen=True, slots=True)
class Slot:
    """A release that lies in a slot."""

    name: str
    folder: Path
    manifest: Manifest
    manifest_sha256: str


_POINTER = TypeAdapter(Pointer)


class Slots:
    """The two slots of one task."""

    def __init__(self, folder: Path) -> None:
        """Use ``folder``, which is made when something is staged."""
        self.folder = folder
        self.parts = folder / "parts"

    def named(self) -> Slot | None:
        """The committed slot, its manifest alone checked; ``None`` when nothing was committed yet.

        Raises:
            ReleaseError: A release is committed, and the disk has damaged it.
        """
        pointer = self._pointer()
        if pointer is None:
            return None
        folder = self.folder / pointer.slot
        try:
            data = (folder / MANIFEST_FILE).read_bytes()
        except OSError as error:
            raise ReleaseError(f"{folder / MANIFEST_FILE} can't be read: {error}") from error
        if digest(data) != pointer.manifest_sha256:
            raise ReleaseError(f"{folder / MANIFEST_FILE} is not the manifest that was committed")
        return Slot(pointer.slot, folder, read_manifest(data), pointer.manifest_sha256)

    def committed(self) -> Slot | None:
        """The committed slot, every file of it checked; ``None`` when nothing was committed yet.

        Raises:
            ReleaseError: A release is committed, and the disk has damaged it.
        """
        slot = self.named()
        if slot is not None:
            for name, file in slot.manifest.files.items():
                check_file(slot.folder / name, file)
        return slot

    def tidy(self) -> None:
        """Clear away what is not committed: after a crash, the torn stage. Parts stay, since their hash is checked."""
        if self.folder.is_dir():
            _clear(self._idle())
            for stray in self.folder.glob(".active.*"):
                _clear(stray)
            parts = tuple(self.parts.iterdir()) if self.parts.is_dir() else (self.parts,)
            for stray in parts:
                if os.path.lexists(stray) and (stray.is_symlink() or not stray.is_file()):
                    _clear(stray)

    def missing(self, manifest: Manifest, committed: Slot | None) -> dict[str, File]:
        """The files of a release that are neither in the committed slot nor fetched whole."""
        return {name: file for name, file in manifest.files.items() if self._source(file, committed) is None}

    def check_part(self, name: str, file: File) -> None:
        """Check a part that was fetched whole, and make it durable.

        Raises:
            ReleaseError: Its size or hash is wrong; the part is deleted.
        """
        part = self.part(file)
        try:
            check_file(part, file, name)
        except ReleaseError:
            part.unlink(missing_ok=True)
            raise
        _sync_file(part)

    def stage(self, manifest: Manifest, data: bytes, committed: Slot | None) -> Path:
        """Put a release into the idle slot; what the committed slot has of it is linked, not copied.

        Args:
            manifest: The release, nothing of which is missing.
            data: Its manifest's bytes.
            committed: What serves now.

        Returns:
            The idle slot's folder.

        Raises:
            ReleaseError: A file is missing, or not what the manifest lists.
        """
        idle = self._idle()
        _clear(idle)
        idle.mkdir(parents=True)
        for name, file in manifest.files.items():
            _link(self._source(file, committed) or self.part(file), idle / name)
            check_file(idle / name, file)
        write_whole(idle / MANIFEST_FILE, data)
        return idle

    def forget(self, why: object) -> None:
        """Commit to nothing: what was committed is damaged, and ``why``."""
        forsake(self.folder / "active", why)

    def part(self, file: File) -> Path:
        """Where a file lies while it is fetched."""
        return self.parts / file.sha256

    def commit(self, manifest_sha256: str) -> None:
        """Make the idle slot the committed one, durably."""
        idle = self._idle()
        sync_folder(idle)
        sync_folder(self.folder)
        write_whole(self.folder / "active", _POINTER.dump_json(Pointer(idle.name, manifest_sha256)))
        shutil.rmtree(self.parts, ignore_errors=True)

    def _source(self, file: File, committed: Slot | None) -> Path | None:
        """Where a whole copy of a file lies."""
        known = committed.manifest.files if committed is not None else {}
        places = [committed.folder / name for name, other in known.items() if other == file] if committed else []
        return next((place for place in (*places, self.part(file)) if _is_whole(place, file)), None)

    def _idle(self) -> Path:
        pointer = self._pointer()
        return self.folder / ("b" if pointer is not None and pointer.slot == "a" else "a")

    def _pointer(self) -> Pointer | None:
        try:
            pointer = _POINTER.validate_json((self.folder / "active").read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            raise ReleaseError(f"{self.folder / 'active'} can't be read: {error}") from error
        if pointer.slot not in NAMES:
            raise ReleaseError(f"{self.folder / 'active'} names a slot {pointer.slot!r}; there are {NAMES}")
        return pointer


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


def _clear(path: Path) -> None:
    """Delete what lies at ``path``, file or folder, as far as the disk lets it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    with contextlib.suppress(OSError):
        path.unlink()


def _is_whole(path: Path, file: File) -> bool:
    try:
        check_file(path, file)
    except ReleaseError:
        return False
    return True


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except FileNotFoundError as error:
        raise ReleaseError(f"{target.name} is missing") from error
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)
        _sync_file(target)


def _sync_file(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
