"""A mirror: what is signed, and all that it names, as a tree of files that any web server gives out.

    metadata/1.root.json ... timestamp.json
    targets/tasks/<sha256>.<task>.json
    targets/models/<task>/<release>/<sha256>.manifest.json
    files/<sha256>                                          of the releases, each once

Rules:
 * The newest word is written last: whoever reads meanwhile, or a kill, finds all that it names.
 * Every file is checked against its digest while it is copied; what is there already is not copied again.
 * Devices trust no mirror: it holds nothing secret, and what it changes they refuse.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from cloud_worker.releases.repository.files import MODELS, ROOT, SNAPSHOT, TARGETS, TIMESTAMP, RepositoryFiles
from router.core.errors import OperatorError, ReleaseError
from router.core.release.manifest import MANIFEST_FILE, read_manifest
from router.io.atomic_write import sync_folder

_MODE = 0o644  # a web server reads it
_CHUNK_BYTES = 1024 * 1024
_UNFINISHED = ".unfinished-"


@dataclass
class Mirrored:
    """What a mirror holds now.

    Attributes:
        releases: How many.
        files: How many of their files, each counted once.
        bytes: Size of these.
        copied: How many files of the tree were copied now.
        removed: How many were removed: nothing names them any more.
        missing: What is named and could not be copied, and why.
    """

    releases: int = 0
    files: int = 0
    bytes: int = 0
    copied: int = 0
    removed: int = 0
    missing: list[str] = field(default_factory=list)


class Mirror:
    """The copy of one repository, in a folder."""

    def __init__(self, files: RepositoryFiles, releases: Path, to: Path) -> None:
        """Mirror ``files``, and what lies in the folder ``releases``, into the folder ``to``."""
        self._files, self._releases, self._to = files, releases, to
        self._named: set[Path] = set()
        self._done = Mirrored()

    def write(self) -> Mirrored:
        """Write it, or bring it up to date.

        Raises:
            OperatorError: Nothing is signed yet.
            OSError: The folder can't be written.
        """
        with self._files.alone():
            metadata = dict(self._metadata())
            models = self._files.latest(MODELS)
            targets = self._files.latest(TARGETS)
        if "timestamp.json" not in metadata or models is None or targets is None:
            raise OperatorError("nothing is signed yet: `headrace-cloud keys init` makes the keys")
        for path, target in models.signed.targets.items():
            self._release(path, target.hashes["sha256"])
        for path, target in targets.signed.targets.items():
            name, sha256 = path.rpartition("/")[2], target.hashes["sha256"]
            self._copy_missing(
                Path("targets", "tasks", f"{sha256}.{name}"), self._files.find(f"{sha256}.{name}"), sha256
            )
        for name, data in metadata.items():  # the timestamp last
            self._put(Path("metadata", name), data)
        self._prune()
        return self._done

    def _metadata(self) -> Iterator[tuple[str, bytes]]:
        """What a device may ask for, by name: the newest word last."""
        for role in (ROOT, TARGETS, MODELS, SNAPSHOT):
            for version in self._files.versions(role):
                name = f"{version}.{role}.json"
                yield name, (self._files.metadata / name).read_bytes()
        if self._files.latest(TIMESTAMP) is not None:
            yield "timestamp.json", (self._files.metadata / "timestamp.json").read_bytes()

    def _release(self, path: str, sha256: str) -> None:
        _, task, number, _ = path.split("/")
        folder = self._releases / task / number
        target = Path("targets", "models", task, number, f"{sha256}.{MANIFEST_FILE}")
        try:
            manifest = read_manifest((folder / MANIFEST_FILE).read_bytes())
        except (OSError, ReleaseError) as error:
            self._done.missing.append(f"{path}: {error}")
            return
        for name, file in manifest.files.items():
            self._done.bytes += 0 if Path("files", file.sha256) in self._named else file.size
            self._copy_missing(Path("files", file.sha256), folder / name, file.sha256)
        self._copy_missing(target, folder / MANIFEST_FILE, sha256)
        self._done.releases += 1

    def _copy_missing(self, name: Path, source: Path | None, sha256: str) -> None:
        """Copy a file whose name tells its digest, unless it is there."""
        if name in self._named:
            return
        self._named.add(name)
        self._done.files += name.parts[0] == "files"
        try:
            if source is None:
                raise FileNotFoundError(f"{name} is not there")
            if (self._to / name).is_file() and (self._to / name).stat().st_size == source.stat().st_size:
                return
            self._copy(name, source, sha256)
        except (FileNotFoundError, ReleaseError) as error:
            self._done.missing.append(f"{name}: {error}")

    def _copy(self, name: Path, source: Path, sha256: str) -> None:
        seen = hashlib.sha256()
        with source.open("rb") as stream, self._whole(name) as target:
            while data := stream.read(_CHUNK_BYTES):
                seen.update(data)
                target.write(data)
            if seen.hexdigest() != sha256:
                raise ReleaseError(f"{source} is not what was signed; bring it back from a copy")

    def _put(self, name: Path, data: bytes) -> None:
        self._named.add(name)
        if not (self._to / name).is_file() or (self._to / name).read_bytes() != data:
            with self._whole(name) as target:
                target.write(data)

    @contextmanager
    def _whole(self, name: Path) -> Iterator[BinaryIO]:
        """A file of the tree, which appears whole once the context has ended well."""
        path = self._to / name
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, unfinished = tempfile.mkstemp(prefix=_UNFINISHED, dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                yield stream
                stream.flush()
                os.fchmod(stream.fileno(), _MODE)
                os.fsync(stream.fileno())
            Path(unfinished).replace(path)
        except BaseException:
            Path(unfinished).unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
        self._done.copied += 1

    def _prune(self) -> None:
        """Remove what nothing names any more, in the folders that are the mirror's own."""
        for top in ("metadata", "targets", "files"):
            for path in sorted((self._to / top).rglob("*"), reverse=True):
                if path.is_dir():
                    with suppress(OSError):  # it holds something
                        path.rmdir()
                elif path.relative_to(self._to) not in self._named:
                    path.unlink(missing_ok=True)
                    self._done.removed += 1
