"""Keeps what is signed up to date while a gateway serves.

Rules:
 * What the fleet's state says is signed within seconds, and what ends is signed anew in time.
 * What can't be signed now is told once in the log, and tried again: devices stay as they are meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.repository.approval import Begin, promote_approved
from cloud_worker.releases.repository.files import RepositoryFiles
from cloud_worker.releases.repository.online import OnlineSigning
from cloud_worker.releases.repository.release_list import releases_to_sign
from cloud_worker.state.store import Store
from router.core.errors import HeadraceError

log = logging.getLogger(__name__)

CHECK_SECONDS = 0.5  # between two checks at what has changed
_ANYWAY_SECONDS = 60.0  # after which it is looked at all the same: time passes too


class Keeper:
    """The keeper of one cloud's repository. Without keys it has nothing to do, until there are some."""

    def __init__(self, config: CloudConfig, store: Store, passphrase: Callable[[], bytes], begin: Begin) -> None:
        """Keep signed what a store says.

        Args:
            config: Of the cloud.
            store: Its state.
            passphrase: Gives what opens the online keys.
            begin: Lets a release roll out that was approved.
        """
        self._config, self._store, self._begin = config, store, begin
        self._files = RepositoryFiles(config.repository_folder)
        self._signing = OnlineSigning(self._files, config.keys_folder, passphrase, config.releases)
        self._to_sign = partial(releases_to_sign, store, Publisher(config.releases_folder))
        self._seen: object = None
        self._until = 0.0
        self._said: object = None

    def sign(self) -> None:
        """Sign what is missing, if anything has changed.

        Raises:
            HeadraceError: It can't be signed; says why.
            OSError: A file can't be written.
        """
        if not self._files.is_there:
            return
        seen = self._stamp()
        if seen == self._seen and time.monotonic() < self._until:
            return
        left_out = dict(self._signing.bring_up_to_date(self._to_sign).left_out)
        promote_approved(self._store, self._config.tasks, self._files, self._begin)
        if left_out != self._said:
            for (task, number), why in left_out.items():
                log.warning("task %s: release %d is not signed, devices stay as they are: %s", task, number, why)
        self._seen, self._until, self._said = self._stamp(), time.monotonic() + _ANYWAY_SECONDS, left_out

    async def try_to_sign(self) -> None:
        """Sign what is missing; where that can't be done, say so once."""
        try:
            await asyncio.to_thread(self.sign)
        except (HeadraceError, OSError, SQLAlchemyError) as error:
            if str(error) != self._said:
                log.error("releases can't be signed: %s", error)
            self._said = str(error)

    async def keep_signing(self) -> None:
        """Sign until it is cancelled."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            await self.try_to_sign()

    def _stamp(self) -> object:
        """What differs once there is something to sign: where tasks stand, and what lies in the folders."""
        states = tuple(
            (one.name, one.champion, one.manifest_sha256, one.updated_at) for one in self._store.task_states()
        )
        return states, tuple(_changed_at(path) for path in self._folders())

    def _folders(self) -> Iterable[Path]:
        return self._files.metadata, self._config.keys_folder, self._config.keys_folder / "staged"


def _changed_at(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
