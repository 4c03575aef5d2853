"""A cloud with keys for tests, made and signed as operators and gateways do; and a TUF client that reads its folder."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import Updater
from tuf.ngclient.fetcher import FetcherInterface

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.config.teachers import RecordedSettings
from cloud_worker.releases.first_release import publish_first_releases
from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.repository.ceremony import Ceremony, OfflineFolder
from cloud_worker.releases.repository.files import RepositoryFiles
from cloud_worker.releases.repository.online import OnlineSigning
from cloud_worker.releases.repository.release_list import ReleaseList, releases_to_sign
from cloud_worker.releases.rollback import roll_back
from cloud_worker.state.store import Store
from router.core.domain.task import Task

ONLINE_PASSPHRASE, OFFLINE_PASSPHRASE = b"the issuing key of a test", b"the offline root of a test"
_SITE = "http://cloud.invalid/"


def make_repository(config: CloudConfig, *owners: Path, threshold: int = 1, now: float | None = None) -> Ceremony:
    """Make the keys of a cloud; return what signs again.

    Args:
        config: Of the cloud.
        owners: Folders of offline keys; by default one beside the data folder.
        threshold: How many of them must sign.
        now: Unix time in seconds.
    """
    ceremony = ceremony_of(config, *owners or [config.data.parent / "offline"], now=now)
    ceremony.make(threshold)
    return ceremony


def ceremony_of(config: CloudConfig, *owners: Path, now: float | None = None) -> Ceremony:
    """A ceremony with the keys in some folders at hand."""
    folders = [OfflineFolder(path, OFFLINE_PASSPHRASE) for path in owners]
    to_sign = partial(releases_to_sign, Store(config.store_url), Publisher(config.releases_folder))
    return Ceremony(config, folders, ONLINE_PASSPHRASE, time.time() if now is None else now, to_sign=to_sign)


def sign_online(config: CloudConfig, store: Store, now: float | None = None) -> ReleaseList:
    """Bring the metadata of a cloud up to date, as its gateway does, at Unix time ``now`` in seconds."""
    signing = OnlineSigning(
        RepositoryFiles(config.repository_folder),
        config.keys_folder,
        lambda: ONLINE_PASSPHRASE,
        config.releases,
        clock=lambda: time.time() if now is None else now,
    )
    return signing.bring_up_to_date(partial(releases_to_sign, store, Publisher(config.releases_folder)))


class FolderFetcher(FetcherInterface):
    """Gives what a gateway would give, from its folders.

    Attributes:
        asked: Paths, in order.
    """

    def __init__(self, config: CloudConfig) -> None:
        """Serve the repository and the releases of a cloud."""
        self._config = config
        self.asked: list[str] = []

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = url.removeprefix(_SITE)  # as the client asks: it quotes nothing
        self.asked.append(path)
        parts = path.split("/")
        if parts[:2] == ["targets", "models"]:
            found: Path | None = self._config.releases_folder / parts[2] / parts[3] / parts[4].partition(".")[2]
        else:
            found = RepositoryFiles(self._config.repository_folder).find(parts[-1])
        if found is None or not found.is_file():
            raise DownloadHTTPError(path, 404)
        yield found.read_bytes()


@dataclass
class TufDevice:
    """A TUF client with a folder of its own."""

    folder: Path
    root: bytes
    fetcher: Any

    def updater(self) -> Updater:
        """A client that has refreshed."""
        for name in ("metadata", "targets"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        updater = Updater(
            str(self.folder / "metadata"),
            f"{_SITE}metadata/",
            str(self.folder / "targets"),
            f"{_SITE}targets/",
            fetcher=self.fetcher,
            bootstrap=self.root,
        )
        updater.refresh()
        return updater

    def fetch(self, path: str) -> bytes | None:
        """Bytes of a target, verified; ``None`` where it is not signed."""
        updater = self.updater()
        info = updater.get_targetinfo(path)
        return None if info is None else Path(updater.download_target(info)).read_bytes()


@dataclass
class SignedCloud:
    """A cloud whose releases have no student, and so need no fit.

    Attributes:
        config: All that is set.
        store: Its state.
        owners: Folders of its offline keys.
    """

    config: CloudConfig
    store: Store
    owners: tuple[Path, ...] = field(default_factory=tuple)

    @classmethod
    def in_folder(cls, folder: Path, *, tasks: Sequence[Task] = (Task("home", "big"),), **releases: Any) -> SignedCloud:
        """A cloud without keys, one release a task; ``releases`` are its settings."""
        config = CloudConfig(
            data=folder / "data",
            teachers=(RecordedSettings(name="big", answers=""),),
            tasks=tuple(tasks),
            releases=releases,
        )
        config.data.mkdir(parents=True, exist_ok=True)
        store = Store(config.store_url)
        store.declare_tasks(config.tasks)
        publish_first_releases(config.tasks, store, Publisher(config.releases_folder))
        return cls(config, store)

    def make_keys(self, *owners: Path, threshold: int = 1, now: float | None = None) -> SignedCloud:
        """Make its keys, and sign what there is."""
        self.owners = owners or (self.config.data.parent / "offline",)
        make_repository(self.config, *self.owners, threshold=threshold, now=now)
        self.sign(now)
        return self

    @property
    def files(self) -> RepositoryFiles:
        """The repository's files."""
        return RepositoryFiles(self.config.repository_folder)

    def ceremony(self, *owners: Path, now: float | None = None, **changes: Any) -> Ceremony:
        """A ceremony with the keys of some owners, or all of them; ``changes`` of the configuration."""
        return ceremony_of(self.config.model_copy(update=changes), *owners or self.owners, now=now)

    def sign(self, now: float | None = None) -> ReleaseList:
        """Bring metadata up to date."""
        return sign_online(self.config, self.store, now)

    def another_release(self, task: str = "home") -> int:
        """Publish what serves once more, and let that serve; its number."""
        publisher = Publisher(self.config.releases_folder)
        return roll_back(self.store, publisher, self.config.task(task), self.store.champion(task))

    def device(self, name: str = "device") -> TufDevice:
        """A device that trusts the newest root."""
        return TufDevice(self.config.data.parent / name, self.files.root_bytes(), FolderFetcher(self.config))
