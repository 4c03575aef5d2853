"""Takes erased texts out of releases: out of golden inputs, which quote them, and of the texts that they may keep.

Rules:
 * What serves is published anew without them, under a new number: what a device was told of does not change.
 * Every other release that is kept loses them where it lies, with its manifest.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Set
from dataclasses import dataclass, field
from pathlib import Path

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.rollback import roll_back
from cloud_worker.state.states import ReleaseState
from cloud_worker.state.store import Store
from router.core.errors import HeadraceError
from router.core.release.kept_texts import KeptTexts, number_of_text
from router.core.release.manifest import Manifest

Files = dict[str, bytes]

log = logging.getLogger(__name__)


@dataclass(slots=True)
class ErasedTexts:
    """What is remembered of erased texts until the end.

    Attributes:
        hashes: By which a golden input is known.
        numbers: By which a text that a release may keep is known.
    """

    hashes: set[bytes] = field(default_factory=set)
    numbers: set[int] = field(default_factory=set)

    def add(self, texts: Iterable[str]) -> None:
        """Remember more of them."""
        for text in texts:
            self.hashes.add(_hash_of(text))
            self.numbers.add(number_of_text(text))


def forget_in_releases(config: CloudConfig, store: Store, publisher: Publisher, texts: ErasedTexts) -> int:
    """Take erased texts out of all releases; how many releases had one."""
    if not texts.hashes:
        return 0
    changed = 0
    tasks = {task.name: task for task in config.tasks}
    for state in store.task_states():
        rows = [row.number for row in store.releases(state.name)]
        task = tasks.get(state.name)
        found = {number: _without(publisher, state.name, number, texts) for number in rows}
        quoting = {number: one for number, one in found.items() if one is not None}
        if task is not None and state.champion in quoting:
            number = roll_back(store, publisher, task, state.champion, quoting[state.champion][1])
            log.warning("task %s: release %d serves on without erased texts", state.name, number)
        for manifest, left in quoting.values():
            _amend(store, publisher, manifest, left)
        changed += len(quoting)
    return changed


def _without(publisher: Publisher, task: str, number: int, texts: ErasedTexts) -> tuple[Manifest, Files] | None:
    """A release's manifest, and those of its files that hold the texts without them; ``None`` where none does."""
    try:
        manifest, folder = publisher.manifest(task, number), publisher.path(task, number)
        left = {**_unquoted(manifest, folder, texts), **_unlisted(manifest, folder, texts.numbers)}
    except (HeadraceError, OSError, ValueError):
        return None
    return (manifest, left) if left else None


def _unquoted(manifest: Manifest, folder: Path, texts: ErasedTexts) -> Files:
    """The golden inputs without erased texts, and without those that may be kept no more."""
    if manifest.golden is None:
        return {}
    lines = (folder / manifest.golden.file).read_bytes().splitlines(keepends=True)
    gone = texts.numbers if manifest.only_asked else set()
    quoted = {line: _quoted(line) for line in lines}
    left = [
        line
        for line in lines
        if _hash_of(quoted[line]) not in texts.hashes and number_of_text(quoted[line]) not in gone
    ]
    return {} if len(left) == len(lines) else {manifest.golden.file: b"".join(left)}


def _unlisted(manifest: Manifest, folder: Path, numbers: Set[int]) -> Files:
    if manifest.student is None or not manifest.only_asked:
        return {}
    kept = KeptTexts.read((folder / manifest.student.asked).read_bytes())
    left = kept.without(numbers)
    return {} if len(left) == len(kept) else {manifest.student.asked: left.to_bytes()}


def _amend(store: Store, publisher: Publisher, manifest: Manifest, left: Files) -> None:
    digest = publisher.amend(manifest, left)
    name, number = manifest.task.name, manifest.number
    row = next(row for row in store.releases(name) if row.number == number)
    if row.manifest_sha256 and row.state is not ReleaseState.CHAMPION:
        store.update_release(name, number, manifest_sha256=digest)


def _quoted(line: bytes) -> str:
    """The text of a golden input; empty where there is none."""
    try:
        return str(json.loads(line)["text"])
    except (ValueError, KeyError, TypeError):
        return ""


def _hash_of(text: str) -> bytes:
    return hashlib.blake2b(text.encode(errors="replace"), digest_size=16).digest()
