"""What the updater asks of wherever releases lie; a gateway and a mirror are the same to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from router.core.release.manifest import File


@dataclass(frozen=True, slots=True)
class ReleaseFile:
    """One file of one release: the task, its number, the file's name there, its size and SHA-256."""

    task: str
    release: int
    name: str
    file: File


class Source(Protocol):
    """Gives bytes, none of which are trusted before they are checked.

    Both raise ``UnknownTaskError`` for what is not there, and another ``HeadraceError`` where it can't be had now.
    """

    def repository(self, path: str) -> AsyncIterator[bytes]:
        """A file of the repository.

        Args:
            path: ``metadata/<name>``, ``targets/tasks/<sha256>.<task>.json`` or
                ``targets/models/<task>/<release>/<sha256>.manifest.json``.
        """
        ...

    def manifest(self, task: str, release: int) -> AsyncIterator[bytes]:
        """The manifest of a release, where nothing is signed."""
        ...

    def file(self, wanted: ReleaseFile, offset: int) -> AsyncIterator[bytes]:
        """A file of a release from a byte on."""
        ...

    async def close(self) -> None:
        """Let connections go."""
        ...
