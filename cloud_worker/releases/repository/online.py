"""What is signed online: the list of releases, which metadata belongs together, and which is the newest.

Rules:
 * Written in the order models, snapshot, timestamp, each whole: whoever reads between two of them, or after a kill,
   finds the repository of before.
 * Called again and again, by any number of processes, it does only what is missing: what the fleet's state says is
   brought into metadata, and what has lived half of its days is signed anew.
 * Where no online key counts for releases, their list stays as somebody signed it with an offline key.
 * A list of releases that the newest word on tasks does not cover is not joined with it: the pair of before stays.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata, Root, Signed, TargetFile, Targets

from cloud_worker.config.releases import ReleasesSettings
from cloud_worker.releases.repository.files import MODELS, SNAPSHOT, TARGETS, TIMESTAMP, RepositoryFiles
from cloud_worker.releases.repository.keys import LIST, add_signature, open_key, read_list
from cloud_worker.releases.repository.offline import OfflineSigning
from cloud_worker.releases.repository.release_list import ReleaseList
from cloud_worker.releases.repository.roles import (
    ONLINE,
    dated,
    is_fresh,
    is_signed,
    keyids_of,
    new_snapshot,
    new_timestamp,
    next_version,
    same_content,
)
from cloud_worker.releases.repository.signed import signed_tasks_of
from router.core.domain.task import Task
from router.core.errors import ConfigError

log = logging.getLogger(__name__)

ToSign = Callable[[Mapping[str, Task], Mapping[str, TargetFile]], ReleaseList]  # signed tasks, what is listed
STAGED = "staged"  # in the folder of keys


class OnlineSigning:
    """Signing of one repository by the online keys. Threads may share it, one at a time."""

    def __init__(
        self,
        files: RepositoryFiles,
        keys: Path,
        passphrase: Callable[[], bytes],
        settings: ReleasesSettings,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Sign what lies in ``files``.

        Args:
            files: The repository.
            keys: Folder of the online keys.
            passphrase: Gives what opens them.
            settings: How long what is signed holds.
            clock: Tells Unix time in seconds.
        """
        self._files, self._keys, self._passphrase, self._settings = files, keys, passphrase, settings
        self._clock = clock
        self._signers: dict[str, Signer] = {}

    def bring_up_to_date(self, to_sign: ToSign) -> ReleaseList:
        """Sign what is missing; return what should be listed now, and what is left out.

        Args:
            to_sign: Tells which releases are to be listed.

        Raises:
            ConfigError: The repository is damaged, a key can't be opened, or none that is here may sign.
        """
        with self._files.alone():
            now = self._clock()
            offline = OfflineSigning(self._files, self._keys / STAGED, self._settings, now)
            offline.publish(roots=False)
            waiting = offline.complete_root()
            if waiting is not None:
                try:
                    self._pass(to_sign, waiting.signed, now)
                except ConfigError as error:  # the key that is replaced may be lost
                    log.warning("nothing is signed for the former root any more: %s", error)
                offline.publish(roots=True)
            found = self._pass(to_sign, None, now)
            self._files.prune()
            return found

    def _pass(self, to_sign: ToSign, following: Root | None, now: float) -> ReleaseList:
        """Sign what is missing by the root that stands, and by the one that is about to follow it."""
        root, targets = self._files.root().signed, self._files.latest(TARGETS)
        if targets is None:
            return ReleaseList({}, {})
        before = self._files.latest(MODELS)
        listed = {} if before is None else before.signed.targets
        wanted = to_sign(signed_tasks_of(self._files, targets.signed), listed)
        models = self._models(targets.signed, before, wanted, now)
        roots = [root] if following is None else [root, following]
        snapshot = self._snapshot(roots, targets, models, now)
        if snapshot is not None:
            self._timestamp(roots, snapshot, now)
        return wanted

    def check(self) -> None:
        """Open the keys that are here.

        Raises:
            ConfigError: One can't be opened, or none that is here may sign.
        """
        targets = self._files.latest(TARGETS)
        if not self._of(self._files.root().signed, TIMESTAMP):
            raise _no_key(self._keys)
        if targets is not None:
            self._of(targets.signed, MODELS)

    def _models(
        self, targets: Targets, before: Metadata[Any] | None, wanted: ReleaseList, now: float
    ) -> Metadata[Any] | None:
        """The list of releases as it is now; ``None`` where the newest word on tasks covers none yet."""
        made = Targets(targets=dict(wanted.targets))
        signers = self._of(targets, MODELS)
        good = before is not None and is_signed(targets, MODELS, before)
        if signers and (not good or before is None or self._is_due(before, made, MODELS, now)):
            before = self._write(MODELS, made, before, signers, now)
            good = is_signed(targets, MODELS, before)
        return before if good else None

    def _snapshot(
        self, roots: list[Root], targets: Metadata[Any], models: Metadata[Any] | None, now: float
    ) -> Metadata[Any] | None:
        before = self._files.latest(SNAPSHOT)
        if models is not None:
            made = new_snapshot(targets.signed.version, models.signed.version)
        elif before is not None:
            made = new_snapshot(*(before.signed.meta[f"{role}.json"].version for role in (TARGETS, MODELS)))
        else:
            return None
        return self._signed_for(roots, SNAPSHOT, before, made, now)

    def _timestamp(self, roots: list[Root], snapshot: Metadata[Any], now: float) -> None:
        made = new_timestamp(snapshot.signed.version)
        self._signed_for(roots, TIMESTAMP, self._files.latest(TIMESTAMP), made, now)

    def _signed_for(
        self, roots: list[Root], role: str, before: Metadata[Any] | None, made: Signed, now: float
    ) -> Metadata[Any]:
        """Metadata of a role as all ``roots`` want it, as far as the keys are here; the same where it is that."""
        signers = {key.public_key.keyid: key for root in roots for key in self._of(root, role)}
        if not signers:
            raise _no_key(self._keys)
        signable = [root for root in roots if self._of(root, role)]
        if before is None or self._is_due(before, made, role, now):
            return self._write(role, made, before, list(signers.values()), now)
        if not all(is_signed(root, role, before) for root in signable):
            return self._write(role, made, before, list(signers.values()), now)
        return before

    def _is_due(self, before: Metadata[Any], made: Signed, role: str, now: float) -> bool:
        return not same_content(before.signed, made) or not is_fresh(before.signed, self._settings.days(role), now)

    def _write(
        self, role: str, made: Signed, before: Metadata[Any] | None, signers: list[Signer], now: float
    ) -> Metadata[Any]:
        least = 0 if before is None else before.signed.version
        dated(made, next_version(least, now), self._settings.days(role), now)
        metadata: Metadata[Any] = Metadata(made)
        for signer in signers:
            add_signature(metadata, signer)
        self._files.write(role, metadata)
        return metadata

    def _of(self, by: Root | Targets, role: str) -> list[Signer]:
        """What signs with the keys of a role that are here; only these are opened."""
        counting = keyids_of(by, role)
        missing = counting - self._signers.keys()
        if missing:
            for key in read_list(self._keys):
                if key.public.keyid in missing:
                    self._signers[key.public.keyid] = open_key(self._keys, key, self._passphrase())
        return [self._signers[keyid] for keyid in sorted(counting) if keyid in self._signers]


def _no_key(folder: Path) -> ConfigError:
    return ConfigError(
        str(folder / LIST), ONLINE, "lists no key that the root trusts; was it brought back from a backup?"
    )
