"""The release that a task begins with: no student, so everything escalates."""

from __future__ import annotations

import time
from collections.abc import Iterable

from cloud_worker.publisher import Publisher
from cloud_worker.store import ReleaseRow, Store
from router.deferral import Policy
from router.guarantee import NEVER
from router.release import MANIFEST_FILE, Manifest, digest
from router.task import Task


def publish_first_releases(tasks: Iterable[Task], store: Store, publisher: Publisher) -> None:
    """Give every declared task that has no champion one without a student."""
    for task in tasks:
        if store.task_state(task.name).manifest_sha256:
            continue
        number, now = store.next_release(task.name), time.time()
        sha256 = _publish(Manifest(task, number, now, Policy(NEVER)), publisher)
        store.add_release(ReleaseRow(task.name, number, "building", sha256, now, "no student"))
        store.promote(task.name, number, sha256)


def _publish(manifest: Manifest, publisher: Publisher) -> str:
    written = publisher.path(manifest.task.name, manifest.number) / MANIFEST_FILE
    if written.is_file():  # by a start that was killed before it could say so
        return digest(written.read_bytes())
    return publisher.publish(manifest, {})
