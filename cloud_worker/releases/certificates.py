"""Does the certificate of a release stand? The one rule for devices' orders, ``status``, pins and the refresher.

Rules:
 * It stands while it speaks for the task as it is now, neither its content nor the same at a stricter threshold has
   ever alarmed, and the reference has the version that its rows were answered by.
 * A release keeps answers while its certificate stands, or while the operator has pinned this very release by force.
 * What is wished may change back, and what fell with a wish stands again; an alarm stays.
"""

from __future__ import annotations

from collections.abc import Iterable

from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.rollback import is_same_release
from cloud_worker.state.lineages import Lineages
from cloud_worker.state.overrides import Hand
from cloud_worker.state.store import ReleaseRow, Store, TaskState
from router.core.certification.certificate_validity import OVERTAKEN, content_of, why_fallen
from router.core.domain.task import Task
from router.core.errors import ReleaseError
from router.core.release.manifest import Manifest

BROKEN = "it broke its promise"
LOST = "what its watch had seen was lost with the fleet's database"
UNREADABLE = "the manifest of what serves can't be read"


class Certificates:
    """Of one cluster."""

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
            task: As the operator wishes it now.
            judged_by: The judge of the task's lineage, empty for none; ``None`` looks it up.
            teacher_version: The reference's version now; empty takes what the refresher has noted.
        """
        if judged_by is None:
            judged_by = self._lineages.judge(task.name, task.version)
        why = why_fallen(manifest, task, judged_by)
        if why or manifest.student is None:
            return why
        rows = self._store.releases(task.name)
        if self._is_content_of(manifest, [row for row in rows if row.alarmed]):
            return BROKEN
        if self._is_content_of(manifest, [row for row in rows if row.lost]):
            return LOST
        if teacher_version:
            return OVERTAKEN if self.is_overtaken(manifest, teacher_version) else ""
        return next((row.fallen for row in rows if row.number == manifest.number), "")

    def why_nothing_is_kept(self, task: Task, state: TaskState, hand: Hand) -> str:
        """Why the release that serves may keep no answer on a device; empty where it may.

        Args:
            task: As the operator wishes it now.
            state: Where it stands.
            hand: The operator's.
        """
        manifest = self.manifest(task.name, state.champion)
        if manifest is None:
            return UNREADABLE
        if manifest.student is None or self._is_forced(manifest, hand):
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

    def has_alarmed(self, manifest: Manifest) -> bool:
        """Whether the watch over this content, at this threshold or a stricter one, has ever alarmed."""
        rows = self._store.releases(manifest.task.name)
        return self._is_content_of(manifest, [row for row in rows if row.alarmed])

    def manifest(self, task: str, number: int) -> Manifest | None:
        """Of a release; ``None`` where it can't be read."""
        try:
            return self._publisher.manifest(task, number)
        except (OSError, ReleaseError):
            return None

    def _is_content_of(self, manifest: Manifest, rows: Iterable[ReleaseRow]) -> bool:
        """Whether some of ``rows`` are of the same content, at the same threshold or a stricter one."""
        others = (self.manifest(row.task, row.number) for row in rows)
        return any(
            content_of(other) == content_of(manifest) and other.policy.threshold >= manifest.policy.threshold
            for other in others
            if other is not None
        )

    def _is_forced(self, manifest: Manifest, hand: Hand) -> bool:
        """Whether the operator has pinned this very release by force."""
        if not hand.forced or hand.pinned is None:
            return False
        pinned = self.manifest(manifest.task.name, hand.pinned)
        return pinned is not None and is_same_release(pinned, manifest)
