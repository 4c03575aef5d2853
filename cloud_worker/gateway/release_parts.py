"""Puts together what gives releases out at a gateway, and what signs them meanwhile."""

from __future__ import annotations

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.gateway.releases_service import ReleasesServicer
from cloud_worker.identity.passphrases import passphrase_of_releases
from cloud_worker.refresh.rollout.opening import RolloutOpening
from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.released_files import ReleasedFiles
from cloud_worker.releases.repository.files import RepositoryFiles
from cloud_worker.releases.repository.keeping import Keeper
from cloud_worker.state.store import Store


def releases_service(config: CloudConfig) -> ReleasesServicer:
    """The Releases service of a gateway."""
    files = ReleasedFiles(Publisher(config.releases_folder), RepositoryFiles(config.repository_folder))
    return ReleasesServicer(files)


def keeper_of(config: CloudConfig, store: Store) -> Keeper:
    """What signs releases while a gateway serves."""
    opening = RolloutOpening(store, Publisher(config.releases_folder), config.rollout, config.fleet)
    return Keeper(config, store, lambda: passphrase_of_releases(config), opening.of_certified)
