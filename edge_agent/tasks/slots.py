"""Slots for the releases of one task: one serves, its predecessor waits until it is proven, another takes the next.

    <folder>/a/ b/ c/   a release each: manifest.json and the files that it lists
                        (.float32 there: why it runs by its float32 file)
    <folder>/active     which slot is committed, its manifest's SHA-256, and what was proven before it
    <folder>/crashed    the release that had to give way last, and why
    <folder>/parts/     files on their way, by their SHA-256

Rules:
 * Only the committed slot is ever served; whatever else lies here after a crash is ignored, and cleared away.
 * A file counts only when its size and SHA-256 are those that the manifest lists.
 * Committing is one atomic write: after a power cut the old slot is committed, or the new one. So is going back.
 * A file that lies in any slot is linked, not fetched.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from edge_agent.damaged_files import forsake
from edge_agent.tasks.pointer import NAMES, FilledSlot, Pointer, read_pointer, write_pointer
from edge_agent.tasks.refusals import Refusal
from edge_agent.tasks.slot_files import check_file, clear, is_whole, link, sync_file
from router.core.errors import ReleaseError
from router.core.release.manifest import MANIFEST_FILE, File, Manifest, digest, read_manifest
from router.core.release.portable import in_float32, without_float32
from router.io.atomic_write import sync_folder, write_whole

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Crashed:
    """A release that had to give way: the SHA-256 of its manifest in hex, its number, and why."""

    manifest_sha256: str
    release: int
    reason: str


@dataclass(frozen=True, slots=True)
class Slot:
    """A release that lies in a slot.

    Attributes:
        name: The slot's.
        folder: Where it lies.
        manifest: The release as it is installed: of its models the one that runs here.
        manifest_sha256: Of its manifest as it was published, in hex.
        float32_because: Why it runs by its float32 file; empty where it does not.
    """

    name: str
    folder: Path
    manifest: Manifest
    manifest_sha256: str
    float32_because: str = ""


_CRASHED = TypeAdapter(Crashed)
_FLOAT32 = ".float32"  # no name of a release's file begins so


def slot_in(folder: Path, data: bytes, manifest_sha256: str) -> Slot:
    """The release in a slot's folder, by the bytes of its manifest.

    Raises:
        ReleaseError: They are no manifest.
    """
    manifest = read_manifest(data)
    try:
        because = (folder / _FLOAT32).read_text()
    except FileNotFoundError:
        return Slot(folder.name, folder, without_float32(manifest), manifest_sha256)
    except (OSError, ValueError) as error:
        raise ReleaseError(f"{folder / _FLOAT32} can't be read: {error}") from error
    return Slot(folder.name, folder, in_float32(manifest), manifest_sha256, because)


class Slots:
    """The slots of one task."""

    def __init__(self, folder: Path) -> None:
        """Use ``folder``, which is made when something is staged."""
        self.folder = folder
        self.parts = folder / "parts"
        self._staged = ""

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
        return slot_in(folder, data, pointer.manifest_sha256)

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
            for name in self._free():
                clear(self.folder / name)
            for stray in self.folder.glob(".active.*"):
                clear(stray)
            parts = tuple(self.parts.iterdir()) if self.parts.is_dir() else (self.parts,)
            for stray in parts:
                if os.path.lexists(stray) and (stray.is_symlink() or not stray.is_file()):
                    clear(stray)

    def start(self) -> None:
        """Count a start of the agent, and go back where there were too many: before anything is opened.

        Raises:
            ReleaseError: The pointer can't be read.
        """
        pointer = self._pointer()
        if pointer is None or not pointer.probation:
            return
        try:
            if pointer.is_looping:
                self._go_back(pointer)
            else:
                self._point(pointer.started())
        except OSError as error:
            log.error("%s: the start can't be counted: %s", self.folder, error)

    def calm(self) -> None:
        """Count no start against the release: the agent ended in order, or has run for long.

        Raises:
            OSError: It can't be written.
        """
        pointer = self._pointer()
        if pointer is not None and pointer.starts:
            self._point(pointer.calm())

    def prove(self) -> None:
        """Take the committed release off probation, so that its predecessor is needed no more.

        Raises:
            OSError: It can't be written.
        """
        pointer = self._pointer()
        if pointer is not None and pointer.probation:
            self._point(pointer.proven())

    @property
    def on_probation(self) -> bool:
        """Whether the committed release has yet to prove itself."""
        pointer = self._pointer()
        return pointer is not None and pointer.probation

    def crashed(self) -> Crashed | None:
        """The release that had to give way last."""
        try:
            return _CRASHED.validate_json((self.folder / "crashed").read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            forsake(self.folder / "crashed", error)
            return None

    def missing(self, manifest: Manifest) -> dict[str, File]:
        """The files of a release that are neither in a slot that stays nor fetched whole."""
        held = self._held()
        return {name: file for name, file in manifest.files.items() if self._source(file, held) is None}

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
        sync_file(part)

    def stage(self, manifest: Manifest, data: bytes, float32_because: str = "") -> Slot:
        """Put a release into the idle slot; what other slots have of it is linked, not copied.

        Args:
            manifest: The release as it is to be installed, nothing of which is missing.
            data: Its manifest's bytes.
            float32_because: Why it runs by its float32 file, where it does.

        Returns:
            What lies there.

        Raises:
            ReleaseError: A file is missing, or not what the manifest lists.
        """
        idle, held = self._idle(), self._held()
        clear(idle)
        idle.mkdir(parents=True)
        for name, file in manifest.files.items():
            link(self._source(file, held) or self.part(file), idle / name)
            check_file(idle / name, file)
        if float32_because:
            write_whole(idle / _FLOAT32, float32_because.encode())
        write_whole(idle / MANIFEST_FILE, data)
        self._staged = idle.name
        return slot_in(idle, data, digest(data))

    def forget(self, why: object) -> None:
        """Commit to nothing: what was committed is damaged, and ``why``."""
        forsake(self.folder / "active", why)

    def part(self, file: File) -> Path:
        """Where a file lies while it is fetched."""
        return self.parts / file.sha256

    def commit(self, manifest_sha256: str, *, probation: bool = False) -> None:
        """Make what was staged the committed release, durably; on probation, what was proven before it stays."""
        pointer, filled = self._pointer(), FilledSlot(self._staged, manifest_sha256)
        sync_folder(self.folder / self._staged)
        sync_folder(self.folder)
        first = Pointer(filled.slot, filled.manifest_sha256, probation)
        self._point(pointer.followed_by(filled, probation=probation) if pointer else first)
        shutil.rmtree(self.parts, ignore_errors=True)

    def _go_back(self, pointer: Pointer) -> None:
        """Give way to what was proven before, or to nothing; the reason is durable first."""
        try:
            number = read_manifest((self.folder / pointer.slot / MANIFEST_FILE).read_bytes()).number
        except (OSError, ReleaseError):
            number = 0
        reason = f"{Refusal.CRASHES}: the agent ended {pointer.starts} times before the release had proven itself"
        crashed = Crashed(pointer.manifest_sha256, number, reason)
        write_whole(self.folder / "crashed", _CRASHED.dump_json(crashed))
        log.error("%s: release %d gives way to the one before: %s", self.folder, number, reason)
        if pointer.former is not None:
            self._point(Pointer(pointer.former.slot, pointer.former.manifest_sha256))
        else:
            (self.folder / "active").unlink()
            sync_folder(self.folder)

    def _held(self) -> dict[File, Path]:
        """Where files lie that need not be fetched, by the manifests of all slots but the idle one."""
        idle, held = self._idle(), {}
        for folder in (self.folder / name for name in NAMES):
            with contextlib.suppress(OSError, ReleaseError):
                if folder != idle:
                    files = read_manifest((folder / MANIFEST_FILE).read_bytes()).files
                    held.update({file: folder / name for name, file in files.items()})
        return held

    def _source(self, file: File, held: Mapping[File, Path]) -> Path | None:
        """Where a whole copy of a file lies."""
        paths = (held[file], self.part(file)) if file in held else (self.part(file),)
        return next((path for path in paths if is_whole(path, file)), None)

    def _free(self) -> list[str]:
        pointer = self._pointer()
        return [name for name in NAMES if pointer is None or name not in pointer.used]

    def _idle(self) -> Path:
        """Where the next release goes: a slot that nothing needs, an empty one first."""
        return min((self.folder / name for name in self._free()), key=lambda path: path.exists())

    def _pointer(self) -> Pointer | None:
        try:
            return read_pointer((self.folder / "active").read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ReleaseError) as error:
            raise ReleaseError(f"{self.folder / 'active'}: {error}") from error

    def _point(self, pointer: Pointer) -> None:
        write_whole(self.folder / "active", write_pointer(pointer))
