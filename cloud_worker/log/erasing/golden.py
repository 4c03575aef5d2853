"""Takes erased texts out of the golden inputs of releases, which quote what was asked.

Rules:
 * What serves is published anew without them, under a new number: what a device was told of does not change.
 * Every other release that is kept loses them where it lies, with its manifest.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Set

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.rollback import roll_back
from cloud_worker.state.states import ReleaseState
from cloud_worker.state.store import Store
from router.core.errors import HeadraceError
from router.core.release.manifest import Manifest

log = logging.getLogger(__name__)


def forget_golden(config: CloudConfig, store: Store, publisher: Publisher, texts: Set[bytes]) -> int:
    """Take the texts of these hashes out of all releases; how many releases quoted one."""
    if not texts:
        return 0
    changed = 0
    tasks = {task.name: task for task in config.tasks}
    for state in store.task_states():
        rows = [row.number for row in store.releases(state.name)]
        task = tasks.get(state.name)
        found = {number: _without(publisher, state.name, number, texts) for number in rows}
        quoting = {number: one for number, one in found.items() if one is not None}
        if task is not None and state.champion in quoting:
            manifest, left = quoting[state.champion]
            assert manifest.golden is not None
            number = roll_back(store, publisher, task, state.champion, {manifest.golden.file: left})
            log.warning("task %s: release %d serves on without erased texts", state.name, number)
        for manifest, left in quoting.values():
            _amend(store, publisher, manifest, left)
        changed += len(quoting)
    return changed


def _without(publisher: Publisher, task: str, number: int, texts: Set[bytes]) -> tuple[Manifest, bytes] | None:
    """A release's manifest, and its golden inputs without the texts; ``None`` where it quotes none of them."""
    try:
        manifest = publisher.manifest(task, number)
        if manifest.golden is None:
            return None
        lines = (publisher.path(task, number) / manifest.golden.file).read_bytes().splitlines(keepends=True)
    except (HeadraceError, OSError):
        return None
    left = [line for line in lines if _hash_of(line) not in texts]
    return None if len(left) == len(lines) else (manifest, b"".join(left))


def _amend(store: Store, publisher: Publisher, manifest: Manifest, left: bytes) -> None:
    assert manifest.golden is not None
    digest = publisher.amend(manifest, {manifest.golden.file: left})
    name, number = manifest.task.name, manifest.number
    row = next(row for row in store.releases(name) if row.number == number)
    if row.manifest_sha256 and row.state is not ReleaseState.CHAMPION:
        store.update_release(name, number, manifest_sha256=digest)


def _hash_of(line: bytes) -> bytes:
    try:
        text = json.loads(line)["text"]
    except (ValueError, KeyError, TypeError):
        return b""
    return hashlib.blake2b(str(text).encode(errors="replace"), digest_size=16).digest()
