"""A certified release that waits for somebody's approval: once it is signed it serves.

Rules:
 * What was certified on rows of before an alarm never serves, and nothing older than what serves does.
 * While the operator has pinned or frozen a task, nothing is promoted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from cloud_worker.releases.repository.files import RepositoryFiles
from cloud_worker.releases.repository.signed import SignedReleases
from cloud_worker.state.overrides import Overrides
from cloud_worker.state.states import ReleaseState
from cloud_worker.state.store import Store
from router.core.domain.task import Task
from router.core.refresh.promise_keeping import OUTDATED
from router.core.release.orders import Watch

log = logging.getLogger(__name__)

Begin = Callable[[str, int], None]  # lets a release roll out that is about to be promoted: its task and number

_WAITS = ReleaseState.APPROVAL
OVERTAKEN = "a later release serves"


def promote_approved(store: Store, tasks: Iterable[Task], files: RepositoryFiles, begin: Begin) -> None:
    """Let what was approved serve, by steps where ``begin`` says so, and nothing that is older than what serves."""
    held = Overrides(store.engine).of_all()
    signed = None
    for task in tasks:
        rows = {row.number: row for row in store.releases(task.name)}
        for number in sorted((number for number, row in rows.items() if row.state is _WAITS), reverse=True):
            state, row = store.task_state(task.name), rows[number]
            signed = signed or SignedReleases(files).now()
            serving = rows.get(state.champion)
            why = OVERTAKEN if state.champion > number else OUTDATED if serving is not None and serving.alarmed else ""
            if why:
                store.update_release(task.name, number, state=ReleaseState.REJECTED, reason=why)
            elif signed is not None and signed.holds(task.name, number, row.manifest_sha256):
                if task.name in held and held[task.name].holds:
                    continue  # until the operator lets promotions go on
                begin(task.name, number)
                rested = {"exploration": task.exploration.floor, "watch": Watch.QUIET, "phase_note": ""}
                store.promote(task.name, number, row.manifest_sha256, **rested)
                log.info("task %s: release %d was approved, and serves", task.name, number)
