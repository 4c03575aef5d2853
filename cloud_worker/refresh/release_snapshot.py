"""Where the releases of a task stand in the store, read once a step."""

from __future__ import annotations

import logging

from cloud_worker.releases.certificates import Certificates
from cloud_worker.releases.publisher import Publisher
from cloud_worker.state.store import ReleaseRow, Store
from router.core.certification.served_releases import ServedRelease
from router.core.errors import HeadraceError
from router.core.refresh.loop_state import TaskReleases
from router.core.release.manifest import Manifest

log = logging.getLogger(__name__)


class ReleaseSnapshot:
    """The releases of one task at one step. A manifest is read once: it does not change once its release has served."""

    def __init__(self, task: str, store: Store, publisher: Publisher) -> None:
        """Read from ``store``, and the manifests where ``publisher`` puts them."""
        self._task = task
        self._store = store
        self._publisher = publisher
        self._certificates = Certificates(store, publisher)
        self._manifests: dict[tuple[int, str], Manifest] = {}
        self._rows: dict[int, ReleaseRow] = {}  # of those that have served

    def read(self) -> TaskReleases:
        """Where they stand now."""
        state, rows = self._store.task_state(self._task), self._store.releases(self._task)
        self._rows = {row.number: row for row in rows if row.state.has_served}
        found = ((row, self._manifest(row)) for row in self._rows.values())
        return TaskReleases(
            exploration=state.exploration,
            champion=state.champion,
            watch=state.watch,
            attempt=state.attempt,
            last_release=max((row.number for row in rows), default=-1),
            rows_at_refresh=state.rows_at_refresh,
            refreshed_at=state.refreshed_at,
            served={row.number: _served(row, manifest) for row, manifest in found if manifest is not None},
        )

    def noted_fallen(self, number: int) -> str:
        """Why the certificate of a release is noted to have fallen; empty where it is not."""
        row = self._rows.get(number)
        return "" if row is None else row.fallen

    def is_overtaken(self, manifest: Manifest, version: str) -> bool:
        """Whether another version of the reference answered the rows of a certificate; as noted while none is known."""
        if not version:
            return bool(self.noted_fallen(manifest.number))
        return self._certificates.is_overtaken(manifest, version)

    def _manifest(self, row: ReleaseRow) -> Manifest | None:
        key = (row.number, row.manifest_sha256)
        if key not in self._manifests:
            try:
                self._manifests[key] = self._publisher.manifest(self._task, row.number)
            except (HeadraceError, OSError) as error:
                log.error("task %s: release %d can't be read: %s", self._task, row.number, error)
                return None
        return self._manifests[key]


def _served(row: ReleaseRow, manifest: Manifest) -> ServedRelease:
    return ServedRelease(manifest, row.local_share, alarmed=row.alarmed, lost=row.lost)
