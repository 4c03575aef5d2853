"""The repository as this device trusts it: its metadata from the first root on, and the targets that they list.

    metadata/    what was verified last, which keeps anything older from being believed
    targets/     tasks and manifests as they were signed

Rules:
 * Trust begins with the root that is given, in every refresh; what lies in the folders only adds to it.
 * A target counts when its length and SHA-256 are those that the metadata lists, and is put in place whole.
 * What fails comes out as an error of ``router.core.errors``, each refusal under its own reason.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tuf.api.exceptions import DownloadError, RepositoryError
from tuf.api.metadata import TargetFile
from tuf.ngclient.config import UpdaterConfig
from tuf.ngclient.updater import Updater

from edge_agent.damaged_files import forsake
from edge_agent.releases.trust.bridge import BridgedFetcher
from edge_agent.releases.trust.reasons import why
from edge_agent.tasks.refusals import Refusal, RefusedError
from router.io.atomic_write import sync_folder

METADATA, TARGETS = "metadata", "targets"  # as python-tuf asks for them
HISTORY = "root_history"  # as it keeps roots


class TrustedRepository:
    """One view of the repository, refreshed once. All of it waits, and belongs into a thread."""

    def __init__(self, metadata: Path, targets: Path, first_root: bytes, fetcher: BridgedFetcher) -> None:
        """Take up what was verified before.

        Args:
            metadata: Folder of the metadata that were.
            targets: Folder of the targets.
            first_root: The root that this device was given when it joined, or a newer one that followed from it.
            fetcher: Of this refresh.

        Raises:
            RefusedError: The first root is none.
            OSError: The folder can't be used.
        """
        self._fetcher = fetcher
        self._metadata, self._targets = _folder(metadata), targets
        _clear_torn(self._metadata)
        with self._refusals():
            self._updater = Updater(
                str(self._metadata), METADATA, None, TARGETS, fetcher, UpdaterConfig(), bootstrap=first_root
            )

    def refresh(self) -> None:
        """Bring the metadata up to date.

        Raises:
            RefusedError: What is offered is not to be believed, and why.
            HeadraceError: It can't be had now.
            OSError: It can't be kept.
        """
        try:
            with self._refusals():
                self._updater.refresh()
        finally:
            _make_durable(self._metadata)

    def root(self) -> bytes:
        """The newest root that was verified.

        Raises:
            OSError: It can't be read.
        """
        return (self._metadata / "root.json").read_bytes()

    def target(self, name: str, kept: Path | None = None) -> bytes:
        """A target, fetched where it does not lie here already.

        Args:
            name: Of the target.
            kept: Where it lies, below the folder's targets by default.

        Raises:
            RefusedError: There is none, or what is offered is another.
            HeadraceError: It can't be had now.
            OSError: It can't be kept.
        """
        path = kept if kept is not None else self._targets / name
        with self._refusals():
            listed = self._updater.get_targetinfo(name)
            if listed is None:
                raise RefusedError(Refusal.UNSIGNED, f"the repository lists no {name}")
            if self._updater.find_cached_target(listed, str(path)) is None:
                self._download(listed, path)
        return path.read_bytes()

    def _download(self, listed: TargetFile, path: Path) -> None:
        """Put a target in place whole: python-tuf writes as it goes."""
        _folder(path.parent)
        handle, staged = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.parent)
        os.close(handle)
        try:
            self._updater.download_target(listed, staged)
            with Path(staged).open("rb") as stream:
                os.fsync(stream.fileno())
            if path.is_dir():
                shutil.rmtree(path)
            Path(staged).replace(path)
        finally:
            Path(staged).unlink(missing_ok=True)
        sync_folder(path.parent)

    @contextlib.contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except (RepositoryError, DownloadError) as error:
            raise why(error, self._fetcher, self._metadata) from error


def _folder(path: Path) -> Path:
    """A folder, in place of whatever else lies there."""
    for entry in (path.parent, path):
        if os.path.lexists(entry) and not entry.is_dir():
            forsake(entry, "it is no folder")
    path.mkdir(parents=True, exist_ok=True)
    return path


def _clear_torn(folder: Path) -> None:
    """Delete what a kill left half written, and what is no file."""
    history = _folder(folder / HISTORY)
    for entry in (*folder.iterdir(), *history.iterdir()):
        if entry.is_dir() and entry != history:
            shutil.rmtree(entry, ignore_errors=True)
        elif entry != history and entry.suffix != ".json":
            entry.unlink(missing_ok=True)


def _make_durable(folder: Path) -> None:
    """python-tuf replaces files without telling the disk; after a power cut they must not be empty."""
    history = folder / HISTORY
    for path in (*folder.glob("*.json"), *history.glob("*.json")):
        with contextlib.suppress(OSError), path.open("rb") as stream:
            os.fsync(stream.fileno())
    for entry in (history, folder):
        with contextlib.suppress(OSError):
            sync_folder(entry)
