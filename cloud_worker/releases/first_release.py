"""What serves when a cluster starts: the first release of a task, or the one before with what is set now.

Rules:
 * The first release has no student, so everything escalates.
 * What a device reads of its task stands in its release. When the operator has changed it, what serves is published
   anew before devices are told of anything, so that it binds with their next report.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.rollback import roll_back
from cloud_worker.state.attempts import Left, leave, was_left
from cloud_worker.state.states import ReleaseState
from cloud_worker.state.store import ReleaseRow, Store
from router.core.certification.certificate_validity import as_promised_now
from router.core.domain.task import Privacy, Task
from router.core.errors import HeadraceError
from router.core.policy.deferral import Policy
from router.core.release.manifest import MANIFEST_FILE, Manifest, digest
from router.core.release.signed_task import differing_field
from router.core.statistics.threshold_planning import NEVER

log = logging.getLogger(__name__)


def publish_first_releases(tasks: Iterable[Task], store: Store, publisher: Publisher) -> None:
    """Give every declared task that has no champion one without a student."""
    for task in tasks:
        if store.task_state(task.name).manifest_sha256:
            continue
        number, now = store.next_release(task.name), time.time()
        sha256 = _publish(Manifest(task, number, now, Policy(NEVER)), publisher)
        store.add_release(ReleaseRow(task.name, number, ReleaseState.BUILDING, sha256, now, "no student"))
        store.promote(task.name, number, sha256)


def publish_objectives(tasks: Iterable[Task], store: Store, publisher: Publisher, *, signed: bool = False) -> None:
    """Publish anew what serves a task whose devices' objectives have changed; without a student where it is not whole.

    Args:
        tasks: As they are set now.
        store: Where the releases stand.
        publisher: Where they lie.
        signed: Releases are signed: every objective that is signed counts, since devices compare.
    """
    for task in tasks:
        champion = store.task_state(task.name).champion
        try:
            before = publisher.manifest(task.name, champion).task
            promised = as_promised_now(before, task)
            if _at_device(before) != _at_device(task) or (signed and differing_field(before, promised)):
                number = roll_back(store, publisher, task, champion)
                log.warning("task %s: release %d carries what is configured now", task.name, number)
        except (HeadraceError, OSError) as error:
            log.error("task %s: release %d can't carry what is configured now: %s", task.name, champion, error)
            store.update_task(task.name, champion=0, manifest_sha256="")
            publish_first_releases([task], store, publisher)


def recall_attempts(tasks: Iterable[Task], store: Store, publisher: Publisher) -> None:
    """Take the attempts of each task's version from its releases, where the store may have begun to count anew."""
    for task in tasks:
        with store.engine.begin() as connection:
            if was_left(connection, task.name, task.version):
                continue
        state = store.task_state(task.name)
        manifests = [_manifest(publisher, task, row) for row in store.releases(task.name)]
        spent = [one.lineage.attempt for one in manifests if one is not None and one.task.version == task.version]
        last = max([state.attempt, *spent])
        if last > state.attempt:
            log.warning("task %s: version %d goes on after attempt %d", task.name, task.version, last)
            store.update_task(task.name, attempt=last)
        with store.engine.begin() as connection:
            leave(connection, task.name, task.version, Left(last, state.mode))


def _manifest(publisher: Publisher, task: Task, row: ReleaseRow) -> Manifest | None:
    try:
        return publisher.manifest(task.name, row.number)
    except (HeadraceError, OSError):
        return None


def _at_device(task: Task) -> tuple[bool, bool, int, Privacy]:
    """What its devices do by their release alone."""
    return task.local_only, task.log_by_default, task.max_text_bytes, task.privacy


def _publish(manifest: Manifest, publisher: Publisher) -> str:
    written = publisher.path(manifest.task.name, manifest.number) / MANIFEST_FILE
    if written.is_file():  # by a start that was killed before it could say so
        return digest(written.read_bytes())
    return publisher.publish(manifest, {})
