"""A certified release that waits for somebody's approval: once it is signed it serves."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from cloud_worker.releases.repository.files import RepositoryFiles
from cloud_worker.releases.repository.signed import SignedReleases
from cloud_worker.state.states import ReleaseState
from cloud_worker.state.store import Store
from router.core.domain.task import Task
from router.core.release.orders import Watch

log = logging.getLogger(__name__)

OVERTAKEN = "a later release serves"


def promote_approved(store: Store, tasks: Iterable[Task], files: RepositoryFiles) -> None:
    """Let what was approved serve, and nothing that is older than what serves."""
    signed = None
    for task in tasks:
        waiting = [row for row in store.releases(task.name) if row.state is ReleaseState.APPROVAL]
        for row in reversed(waiting):
            signed = signed or SignedReleases(files).now()
            if store.champion(task.name) > row.number:
                store.update_release(task.name, row.number, state=ReleaseState.REJECTED, reason=OVERTAKEN)
            elif signed is not None and signed.holds(task.name, row.number, row.manifest_sha256):
                rested = {"exploration": task.exploration.floor, "watch": Watch.QUIET}
                store.promote(task.name, row.number, row.manifest_sha256, **rested)
                log.info("task %s: release %d was approved, and serves", task.name, row.number)
