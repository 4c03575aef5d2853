"""Serves the files of releases to devices, piece by piece, and the metadata that signs them.

Rules:
 * Without a task a file is one of the repository's: metadata of a role, or what is signed of a task, by its digest.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, BinaryIO

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.identity.passphrases import passphrase_of_releases
from cloud_worker.refresh.rollout.opening import RolloutOpening
from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.repository.files import RepositoryFiles
from cloud_worker.releases.repository.keeping import Keeper
from cloud_worker.state.store import Store
from router.core.errors import BadInputError, UnknownTaskError
from router.core.release.manifest import is_plain_name
from router.core.visible_text import in_line
from router.transport.limit_checks import check_message
from router.v1 import release_pb2, release_pb2_grpc

CHUNK_BYTES = 16 * 1024  # so that on a slow line a query has little to wait for
_MOST_SHOWN = 100  # characters of a name


class ReleasesServicer(release_pb2_grpc.ReleasesServicer):
    """Serves the files of releases."""

    def __init__(self, folder: Path, repository: RepositoryFiles | None = None) -> None:
        """Serve the releases under ``folder``, and the metadata of ``repository``, if any."""
        self._folder, self._repository = folder, repository

    async def Fetch(  # noqa: N802 - the contract's name
        self, request: Any, context: Any
    ) -> AsyncIterator[release_pb2.FetchChunk]:
        """Stream a file from an offset."""
        check_message(request)
        with self._open(request.task, request.release, request.file) as stream:
            total = os.fstat(stream.fileno()).st_size
            if request.offset > total:
                raise BadInputError("offset", f"is {request.offset}, past the file's {total} bytes")
            end = min(total, request.offset + request.length) if request.length else total
            stream.seek(request.offset)
            position = request.offset
            while True:
                data = stream.read(min(CHUNK_BYTES, end - position))
                yield release_pb2.FetchChunk(data=data, offset=position, total=total)
                position += len(data)
                if position >= end or not data:
                    return

    def _open(self, task: str, number: int, name: str) -> BinaryIO:
        if not task:
            path = None if self._repository is None else self._repository.find(name)
            missing = f"no file {in_line(name, _MOST_SHOWN)!r} in the repository"
        elif not is_plain_name(task) or not is_plain_name(name):
            raise BadInputError("file", "and task must be plain names")
        else:
            path = self._folder / task / str(number) / name
            missing = f"no file {name!r} in release {number} of task {task!r}"
        if path is None or not path.is_file():
            raise UnknownTaskError(missing)
        try:
            return path.open("rb")
        except FileNotFoundError as error:  # taken away in this moment
            raise UnknownTaskError(missing) from error


def releases_service(config: CloudConfig) -> ReleasesServicer:
    """The Releases service of a gateway."""
    return ReleasesServicer(config.releases_folder, RepositoryFiles(config.repository_folder))


def keeper_of(config: CloudConfig, store: Store) -> Keeper:
    """What signs releases while a gateway serves."""
    opening = RolloutOpening(store, Publisher(config.releases_folder), config.rollout, config.fleet)
    return Keeper(config, store, lambda: passphrase_of_releases(config), opening.of_certified)
