"""What is signed, as a device would find it: by timestamp, snapshot and the lists that it names.

Rules:
 * Nothing is verified here: the files are the cloud's own, and devices verify what they fetch.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tuf.api.metadata import Targets

from cloud_worker.releases.repository.files import MODELS, SNAPSHOT, TARGETS, TIMESTAMP, RepositoryFiles
from router.core.domain.task import Task
from router.core.errors import ConfigError, ReleaseError
from router.core.release.signed_task import SIGNED_FIELDS, manifest_target, read_signed_task, task_target

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SignedNow:
    """What is signed.

    Attributes:
        tasks: What is signed of each task.
        releases: SHA-256 of each release's manifest, in hex, by target path.
    """

    tasks: Mapping[str, Task] = field(default_factory=dict)
    releases: Mapping[str, str] = field(default_factory=dict)

    def holds(self, task: str, number: int, sha256: str) -> bool:
        """Whether a release is signed, with this manifest."""
        return self.releases.get(manifest_target(task, number)) == sha256

    def before(self, task: str, number: int) -> tuple[int, str] | None:
        """The signed release of a task with the highest number below ``number``, and its manifest's SHA-256."""
        for lower in range(number - 1, -1, -1):
            found = self.releases.get(manifest_target(task, lower))
            if found is not None:
                return lower, found
        return None


class SignedReleases:
    """The signed releases of one repository; read again when its timestamp has changed. Threads may share it."""

    def __init__(self, files: RepositoryFiles) -> None:
        """Read from ``files``."""
        self._files = files
        self._stamp = -1
        self._now: SignedNow | None = None

    def now(self) -> SignedNow | None:
        """What is signed now; ``None`` where there are no keys, and so nothing needs to be."""
        path = self._files.metadata / "timestamp.json"
        stamp = path.stat().st_mtime_ns if path.exists() else 0
        if stamp != self._stamp:
            try:
                self._now = self._read()
            except (ConfigError, OSError) as error:
                log.error("what is signed of releases can't be read: %s", error)
                return self._now if self._now is not None else SignedNow()
            self._stamp = stamp
        return self._now

    def _read(self) -> SignedNow | None:
        if not self._files.is_there:
            return None
        timestamp = self._files.latest(TIMESTAMP)
        if timestamp is None:
            return SignedNow()
        snapshot = self._files.numbered(SNAPSHOT, timestamp.signed.snapshot_meta.version)
        targets, models = (
            self._files.numbered(role, snapshot.signed.meta[f"{role}.json"].version).signed
            for role in (TARGETS, MODELS)
        )
        listed = {path: target.hashes["sha256"] for path, target in models.targets.items()}
        return SignedNow(signed_tasks_of(self._files, targets), listed)


def signed_tasks_of(files: RepositoryFiles, targets: Targets) -> dict[str, Task]:
    """What is signed of each task, as metadata lists it; one that can't be read is left out."""
    found = {}
    for path, target in targets.targets.items():
        name = path.removeprefix("tasks/").removesuffix(".json")
        try:
            if task_target(name) == path:
                found[name] = read_signed_task(files.statement(name, target.hashes["sha256"]))
        except (OSError, ReleaseError) as error:
            log.error("what is signed of task %s can't be read: %s", name, error)
    return found


def task_changes(tasks: Iterable[Task], signed: Mapping[str, Task]) -> list[str]:
    """What tasks are configured with and is not signed, one line a field."""
    configured = {task.name: task for task in tasks}
    lines = [f"{name}: no task any more, was signed as one" for name in sorted(signed.keys() - configured.keys())]
    for name, task in configured.items():
        if name not in signed:
            lines.append(f"{name}: a new task")
            continue
        for key in SIGNED_FIELDS:
            ours, theirs = getattr(task, key), getattr(signed[name], key)
            if ours != theirs:
                lines.append(f"{name}: {key} is {ours}, was signed as {theirs}")
    return lines
