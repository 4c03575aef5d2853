"""A former release serves again, under a new, higher number that names the old content.

Rules:
 * Devices refuse older numbers, so that nobody can bring an old release back to them; the operator's own way back is a
   new one.
 * Content, threshold and certificate are the old release's, and so is what it was made for; the objectives are
   those of now.
 * Killed between its steps, it leaves an unfinished number behind, and is done anew under the next one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cloud_worker.releases.publisher import Publisher
from cloud_worker.state.states import ReleaseState
from cloud_worker.state.store import ReleaseRow, Store
from router.core.certification.certificate_validity import as_promised_now, content_of
from router.core.domain.task import Task
from router.core.errors import ReleaseError
from router.core.release.manifest import Manifest


def roll_back(
    store: Store,
    publisher: Publisher,
    task: Task,
    number: int,
    files: Mapping[str, bytes] | None = None,
    **changes: Any,
) -> int:
    """Let the content of release ``number`` serve; return the number that it has now.

    Args:
        store: Where the releases stand.
        publisher: Where they lie.
        task: As it is now.
        number: A release of it.
        files: Small files in place of those of the same name.
        changes: Of the task's state, in one transaction with the promotion.

    Raises:
        ReleaseError: The release is not there, or a file of it is missing.
    """
    old = whole_release(store, publisher, task.name, number)
    new = store.next_release(task.name)
    manifest = replace(
        old, task=as_promised_now(old.task, task), number=new, content=content_of(old), created_at=time.time()
    )
    before = _row(store, task.name, number)  # its fall is not carried over: it serves again because it stands
    store.add_release(
        ReleaseRow(
            task=task.name,
            number=new,
            state=ReleaseState.BUILDING,
            manifest_sha256="",
            created_at=manifest.created_at,
            remark=before.remark,
            local_share=before.local_share,
            classes=before.classes,
            back_to=number,
            alarmed=before.alarmed,
            lost=before.lost,
        )
    )
    digest = publisher.republish(manifest, number, files)
    store.promote(task.name, new, digest, **changes)
    return new


def whole_release(store: Store, publisher: Publisher, task: str, number: int) -> Manifest:
    """The manifest of a release, all of whose files are there.

    Raises:
        ReleaseError: There is no such release, or a file of it is missing; says which there are.
    """
    _row(store, task, number)
    folder = publisher.path(task, number)
    try:
        manifest = publisher.manifest(task, number)
    except OSError as error:
        raise ReleaseError(f"release {number} of task {task!r} has no manifest in {folder}") from error
    for name, file in manifest.files.items():
        if not (folder / name).is_file() or (folder / name).stat().st_size != file.size:
            raise ReleaseError(f"release {number} of task {task!r} lacks its file {name!r} in {folder}")
    return manifest


def mark_alarmed(store: Store, task: str, number: int) -> None:
    """Note that the watch over a release has alarmed, for as long as the release is known."""
    _row(store, task, number)
    store.update_release(task, number, alarmed=True)


def mark_fallen(store: Store, task: str, number: int, why: str) -> None:
    """Note why the certificate of a release that serves does not stand any more; nothing where it stands again."""
    if _row(store, task, number).fallen != why:
        store.update_release(task, number, fallen=why)


def _row(store: Store, task: str, number: int) -> ReleaseRow:
    rows = {row.number: row for row in store.releases(task)}
    if number not in rows:
        known = ", ".join(str(known) for known in rows) or "none"
        raise ReleaseError(f"task {task!r} has no release {number}; it has: {known}")
    return rows[number]
