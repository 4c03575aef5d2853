"""Does the certificate of a release stand, by what the store and its manifests say?

Rules:
 * What decides it is ``served_releases.why_uncertified``, for devices' orders, ``status``, pins and the refresher.
 * A release keeps answers while its certificate stands, or while the operator has pinned this very release by force.
 * What is set may change back, and what fell with an objective stands again; an alarm stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cloud_worker.releases.publisher import Publisher
from cloud_worker.state.lineages import Lineages
from cloud_worker.state.overrides import Override
from cloud_worker.state.store import ReleaseRow, Store, TaskState
from router.core.certification.certificate_validity import content_of
from router.core.certification.served_releases import (
    ServedRelease,
    is_same_release,
    why_uncertified,
)
from router.core.domain.task import Task
from router.core.errors import ReleaseError
from router.core.release.manifest import Manifest

UNREADABLE = "the manifest of what serves can't be read"


class Certificates:
    """The certificates of one cluster's releases."""

    def __init__(self, store: Store, publisher: Publisher) -> None:
        """Look at releases that stand in ``store`` and lie where ``publisher`` says."""
        self._store = store
        self._publisher = publisher
        self._lineages = Lineages(store.engine)

    def why_fallen(
        self, manifest: Manifest, task: Task, judged_by: str | None = None, teacher_version: str = ""
    ) -> str:
        """Why a release's certificate does not stand; empty when it does.

        Args:
            manifest: Of the release.
            task: As the operator sets it now.
            judged_by: The judge of the task's lineage, empty for none; ``None`` looks it up.
            teacher_version: The reference's version now; empty takes what the refresher has noted.
        """
        if judged_by is None:
            judged_by = self._lineages.judge(task.name, task.version)
        rows = self._store.releases(task.name)

        def is_overtaken() -> bool:
            if teacher_version:
                return self.is_overtaken(manifest, teacher_version)
            return any(row.fallen for row in rows if row.number == manifest.number)

        return why_uncertified(manifest, self._fallen(rows), task, judged_by, is_overtaken)

    def why_nothing_is_kept(self, task: Task, state: TaskState, override: Override) -> str:
        """Why the release that serves may keep no answer on a device; empty where it may.

        Args:
            task: As the operator sets it now.
            state: Where it stands.
            override: The operator's.
        """
        manifest = self.manifest(task.name, state.champion)
        if manifest is None:
            return UNREADABLE
        if manifest.student is None or self._is_forced(manifest, override):
            return ""
        return self.why_fallen(manifest, task)

    def is_overtaken(self, manifest: Manifest, teacher_version: str) -> bool:
        """Whether another version of the reference answered the rows of a release's certificate, or some of them.

        Args:
            manifest: Of the release.
            teacher_version: The reference's version now, empty if not known.
        """
        noted = manifest.certificate.teacher_version if manifest.certificate else ""
        spent = [] if noted else self._store.spent_by(manifest.task.name, content_of(manifest))
        versions = {noted} if noted else {version for _, _, version in spent}
        return bool(teacher_version and versions) and versions != {teacher_version}

    def manifest(self, task: str, number: int) -> Manifest | None:
        """The manifest of a release; ``None`` where it can't be read."""
        try:
            return self._publisher.manifest(task, number)
        except (OSError, ReleaseError):
            return None

    def _fallen(self, rows: Iterable[ReleaseRow]) -> Iterator[ServedRelease]:
        """The releases of which it is noted that they alarmed, or that what was seen of them is lost."""
        for row in rows:
            manifest = self.manifest(row.task, row.number) if row.alarmed or row.lost else None
            if manifest is not None:
                yield ServedRelease(manifest, alarmed=row.alarmed, lost=row.lost)

    def _is_forced(self, manifest: Manifest, override: Override) -> bool:
        """Whether the operator has pinned this very release by force."""
        if not override.forced or override.pinned is None:
            return False
        pinned = self.manifest(manifest.task.name, override.pinned)
        return pinned is not None and is_same_release(pinned, manifest)
