"""The newest root that followed from a device's first one, kept apart from the other metadata.

Rules:
 * A device that has lost its metadata begins with it: keys that were rotated stay rotated.
 * It counts for that first root alone; a file that the disk has spoilt is as good as none.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from edge_agent.damaged_files import forsake
from router.core.release.manifest import digest
from router.io.atomic_write import write_whole
from router.io.sealed import seal, unseal

log = logging.getLogger(__name__)

_BETWEEN = b"\n"  # the digest of the first root, and the newest


class NewestRoot:
    """The newest root that one device has seen."""

    def __init__(self, path: Path, first: Callable[[], bytes]) -> None:
        """Keep it at ``path``; ``first`` gives the root that this device was given, empty where it has none."""
        self._path, self._first = path, first

    def read(self) -> bytes:
        """Where trust begins: the newest root, or else the first; empty where the device was given none.

        Raises:
            ConfigError: The first one can't be read.
        """
        first = self._first()
        try:
            of, _, newest = unseal(self._path.read_bytes()).partition(_BETWEEN) if first else (b"", b"", b"")
        except FileNotFoundError:
            return first
        except (OSError, ValueError) as error:
            forsake(self._path, error)
            return first
        return newest if newest and of.decode(errors="replace") == digest(first) else first

    def keep(self, root: bytes) -> None:
        """Keep a root that was verified, as far as the disk lets it."""
        if root == self.read():
            return
        try:
            write_whole(self._path, seal(digest(self._first()).encode() + _BETWEEN + root))
        except OSError as error:
            log.warning("the newest root can't be kept beside the metadata: %s", error)
