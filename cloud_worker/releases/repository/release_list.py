"""Which releases are signed: those that serve or have served, and say of their task what was signed offline.

Rules:
 * What was signed once stays listed while it is known, unchanged; what is new must agree with what is signed of its
   task.
 * A release whose files do not agree with the store is not signed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tuf.api.metadata import TargetFile

from cloud_worker.releases.publisher import Publisher
from cloud_worker.state.states import ReleaseState
from cloud_worker.state.store import ReleaseRow, Store
from router.core.domain.task import Task
from router.core.errors import ReleaseError
from router.core.release.manifest import MANIFEST_FILE, digest, read_manifest
from router.core.release.signed_task import check_signed_task, manifest_target

MOST_LISTED, MOST_OF_TASK = 10_000, 200  # releases, the newest ones: devices take lists of 5 MB at most
SIGNED_STATES = (ReleaseState.CHAMPION, ReleaseState.RETIRED, ReleaseState.APPROVAL)


@dataclass(frozen=True, slots=True)
class ReleaseList:
    """What is to be signed.

    Attributes:
        targets: Manifests by their target path.
        left_out: Why a release that serves is not among them, by task and number.
    """

    targets: Mapping[str, TargetFile]
    left_out: Mapping[tuple[str, int], str]


def releases_to_sign(
    store: Store, publisher: Publisher, signed_tasks: Mapping[str, Task], listed: Mapping[str, TargetFile]
) -> ReleaseList:
    """The releases that devices may be told of.

    Args:
        store: Where they stand.
        publisher: Where they lie.
        signed_tasks: What is signed of each task.
        listed: Those that are signed already.
    """
    targets: dict[str, TargetFile] = {}
    left_out: dict[tuple[str, int], str] = {}
    states = store.task_states()
    most = min(MOST_OF_TASK, max(1, MOST_LISTED // max(1, len(states))))
    for state in states:
        rows = [row for row in store.releases(state.name) if row.state in SIGNED_STATES and row.manifest_sha256]
        for row in rows[-most:]:
            path = manifest_target(row.task, row.number)
            if path in listed and listed[path].hashes.get("sha256") == row.manifest_sha256:
                targets[path] = listed[path]
                continue
            try:
                targets[path] = _target(row, publisher, signed_tasks.get(row.task))
            except (ReleaseError, OSError) as error:
                if row.number == state.champion or row.state is ReleaseState.APPROVAL:
                    left_out[row.task, row.number] = str(error)
    return ReleaseList(targets, left_out)


def _target(row: ReleaseRow, publisher: Publisher, signed: Task | None) -> TargetFile:
    """A manifest as a target.

    Raises:
        ReleaseError: It may not be signed; says why.
        OSError: It can't be read.
    """
    data = (publisher.path(row.task, row.number) / MANIFEST_FILE).read_bytes()
    if digest(data) != row.manifest_sha256:
        raise ReleaseError("its manifest is not the one that the fleet's state names")
    manifest = read_manifest(data)
    if (manifest.task.name, manifest.number) != (row.task, row.number):
        raise ReleaseError(f"its manifest is that of release {manifest.number} of task {manifest.task.name!r}")
    if signed is None:
        raise ReleaseError("nothing is signed of its task: `headrace-cloud keys sign`")
    check_signed_task(manifest, signed)
    return TargetFile.from_data(manifest_target(row.task, row.number), data, ["sha256"])
