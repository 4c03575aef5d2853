"""Which former release may serve again, now that the one that serves may not?

Rules:
 * Its certificate stands, as ``cloud_worker.releases.certificates`` says.
 * The rows drawn since its certificate, those that spoke against its successor among them, do not speak against it: the
   watch that goes on over them stands at 1 or below. Not to have alarmed yet is not enough.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cloud_worker.releases.certificates import Certificates
from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.rollback import is_same_release, whole_release
from cloud_worker.state.states import ReleaseState
from cloud_worker.state.store import ReleaseRow, Store
from router.core.certification.certificate_validity import OVERTAKEN, content_of
from router.core.certification.live_watch import MOST_FORMER, MOST_SINCE, evidence_against
from router.core.certification.trial import Judging
from router.core.domain.prediction import DeviceStudent
from router.core.domain.record import Record, may_certify
from router.core.domain.task import LABEL_STUDENTS, Task
from router.core.errors import HeadraceError
from router.core.release.manifest import Manifest

log = logging.getLogger(__name__)

MOST_WRITTEN = 100  # latest rows that a student that writes answers once more


@dataclass(frozen=True, slots=True)
class Search:
    """Where to look for a former release.

    Attributes:
        task: As it is now.
        judging: Its judge.
        judged_by: The judge's name or version.
        store: Where its releases stand.
        publisher: Where they lie.
    """

    task: Task
    judging: Judging
    judged_by: str
    store: Store
    publisher: Publisher

    def find(self, champion: Manifest, rows: Sequence[Record]) -> int | None:
        """The latest former release that may serve in the champion's place, ``None`` where none may.

        Args:
            champion: What serves, and may no longer.
            rows: Current ones of the task, in the log's order.
        """
        tried = 0
        for number, manifest in self._former():
            if is_same_release(manifest, champion):
                continue
            tried += 1
            if tried > MOST_FORMER:
                break
            try:
                if self._stands(manifest, rows):
                    return number
            except (HeadraceError, OSError) as error:
                log.warning("task %s: release %d can't be tried again: %s", self.task.name, number, error)
        return None

    def why_fallen(self, manifest: Manifest, teacher_version: str = "") -> str:
        """Why a release's certificate does not stand, empty when it does.

        Args:
            manifest: Of the release.
            teacher_version: The reference's version now, empty if not known.
        """
        return self._certificates.why_fallen(manifest, self.task, self.judged_by, teacher_version)

    def is_overtaken(self, manifest: Manifest, teacher_version: str) -> bool:
        """Whether another version of the reference answered the rows of a release's certificate, or some of them."""
        return self._certificates.is_overtaken(manifest, teacher_version)

    def overtaken(self, manifest: Manifest, teacher_version: str) -> str:
        """The same in words; empty where none did."""
        return OVERTAKEN if self.is_overtaken(manifest, teacher_version) else ""

    @property
    def _certificates(self) -> Certificates:
        return Certificates(self.store, self.publisher)

    def _former(self) -> Iterator[tuple[int, Manifest]]:
        """Releases that have served, the latest first, each content and threshold once."""
        known: list[Manifest] = []
        for row in reversed(self.store.releases(self.task.name)):
            if row.state is not ReleaseState.RETIRED or row.local_share is None:
                continue
            manifest = self._manifest(row)
            if manifest is None or manifest.student is None or any(is_same_release(manifest, one) for one in known):
                continue
            known.append(manifest)
            yield row.number, manifest

    def _manifest(self, row: ReleaseRow) -> Manifest | None:
        try:
            return whole_release(self.store, self.publisher, row.task, row.number)
        except HeadraceError:
            return None

    def _stands(self, manifest: Manifest, rows: Sequence[Record]) -> bool:
        why = self.why_fallen(manifest, rows[-1].teacher_version if rows else "")
        if why:
            log.info("task %s: release %d may not serve again: %s", self.task.name, manifest.number, why)
            return False
        student = self.publisher.student(self.task.name, content_of(manifest), manifest)
        evidence = evidence_since(manifest, student, rows, self.task, self.judging)
        if evidence > 0:
            log.info("task %s: the rows since speak against release %d too", self.task.name, manifest.number)
        return evidence <= 0


def evidence_since(
    manifest: Manifest, student: DeviceStudent, rows: Sequence[Record], task: Task, judging: Judging
) -> float:
    """Natural logarithm of the watch's bet that a release breaks the promise on the rows since its certificate.

    Args:
        manifest: Of the release.
        student: Its own.
        rows: Current ones of the task, in the log's order.
        task: As it is now.
        judging: Its judge.
    """
    last = manifest.certificate.last_asked_at if manifest.certificate else 0.0
    most = MOST_SINCE if manifest.student is not None and manifest.student.kind in LABEL_STUDENTS else MOST_WRITTEN
    since = [row for row in rows if may_certify(row) and row.asked_at > last][-most:]
    return evidence_against(since, student, manifest.policy.threshold, task, judging)
