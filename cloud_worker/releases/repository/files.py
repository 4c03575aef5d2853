"""The metadata files of a repository, in their folder: ``metadata/N.role.json``, and ``metadata/timestamp.json``.

Rules:
 * A file appears whole or not at all; one with a number never changes.
 * What is read back was written here: a damaged file is an error, and never signed anew as if it were not there.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tuf.api.metadata import Metadata, Root, Signed, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError
from tuf.api.serialization.json import JSONSerializer

from router.core.errors import ConfigError
from router.core.release.manifest import digest
from router.io.atomic_write import write_whole

ROOT, TARGETS, MODELS, SNAPSHOT, TIMESTAMP = "root", "targets", "models", "snapshot", "timestamp"
KEPT = 20  # files of each role but the root's: who has begun to read goes on
_KINDS: dict[str, type[Signed]] = {
    ROOT: Root,
    TARGETS: Targets,
    MODELS: Targets,
    SNAPSHOT: Snapshot,
    TIMESTAMP: Timestamp,
}
_NAME = re.compile(r"([0-9]{1,15})\.(root|targets|models|snapshot)\.json|timestamp\.json")
_STATEMENT = re.compile(r"[0-9a-f]{64}\.[^/\\]+")


class RepositoryFiles:
    """The files of one repository."""

    def __init__(self, folder: Path) -> None:
        """Read and write below ``folder``."""
        self.folder = folder
        self.metadata = folder / "metadata"
        self.statements = folder / "targets" / "tasks"

    @property
    def is_there(self) -> bool:
        """Whether there is a repository: somebody has made keys."""
        return (self.metadata / "1.root.json").exists()

    def versions(self, role: str) -> list[int]:
        """The numbers of a role's files, lowest first."""
        found = (_NAME.fullmatch(path.name) for path in self.metadata.glob(f"*.{role}.json"))
        return sorted(int(match[1]) for match in found if match is not None and match[2] == role)

    def latest(self, role: str) -> Metadata[Any] | None:
        """The newest metadata of a role, ``None`` before there is any.

        Raises:
            ConfigError: It is damaged.
        """
        if role == TIMESTAMP:
            path = self.metadata / "timestamp.json"
            return self._read(path, role) if path.exists() else None
        versions = self.versions(role)
        return self.numbered(role, versions[-1]) if versions else None

    def numbered(self, role: str, version: int) -> Metadata[Any]:
        """Metadata of a role by its number."""
        return self._read(self.metadata / f"{version}.{role}.json", role)

    def root(self) -> Metadata[Root]:
        """The newest root.

        Raises:
            ConfigError: There is none.
        """
        found = self.latest(ROOT)
        if found is None:
            raise ConfigError(str(self.folder), "", "holds no root of releases; `headrace-cloud keys init` makes it")
        return found

    def root_bytes(self) -> bytes:
        """The newest root as a device keeps it, empty where there are no keys."""
        versions = self.versions(ROOT)
        return (self.metadata / f"{versions[-1]}.root.json").read_bytes() if versions else b""

    def write(self, role: str, metadata: Metadata[Any]) -> None:
        """Put metadata where it is looked for."""
        name = "timestamp.json" if role == TIMESTAMP else f"{metadata.signed.version}.{role}.json"
        write_whole(self.metadata / name, metadata.to_bytes(JSONSerializer(compact=False)))

    def write_statement(self, task: str, data: bytes) -> None:
        """Put what is signed of a task where it is looked for."""
        path = self.statements / f"{digest(data)}.{task}.json"
        if not path.exists():
            write_whole(path, data)

    def statement(self, task: str, sha256: str) -> bytes:
        """What is signed of a task, by its digest."""
        return (self.statements / f"{sha256}.{task}.json").read_bytes()

    def find(self, name: str) -> Path | None:
        """The file of that name that a device may fetch; ``None`` where there is none, or never may be."""
        folder = self.metadata if _NAME.fullmatch(name) else self.statements if _STATEMENT.fullmatch(name) else None
        path = None if folder is None else folder / name
        return path if path is not None and path.is_file() else None

    def prune(self) -> None:
        """Remove files that no device asks for any more: all but the newest of a role, and no root."""
        for role in (TARGETS, MODELS, SNAPSHOT):
            for version in self.versions(role)[:-KEPT]:
                (self.metadata / f"{version}.{role}.json").unlink(missing_ok=True)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be the only process that writes, while the context lasts; a killed one lets go."""
        self.folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _read(self, path: Path, role: str) -> Metadata[Any]:
        return read_metadata(path, _KINDS[role])


def read_metadata(path: Path, kind: type[Signed]) -> Metadata[Any]:
    """Metadata in a file.

    Raises:
        ConfigError: The file can't be read, or holds something else.
    """
    try:
        found: Metadata[Any] = Metadata.from_bytes(path.read_bytes())
    except (OSError, DeserializationError) as error:
        raise ConfigError(str(path), "", f"can't be read: {error}; bring it back from a copy") from error
    if not isinstance(found.signed, kind):
        raise ConfigError(str(path), "", f"is of another role: {found.signed.type}")
    return found
