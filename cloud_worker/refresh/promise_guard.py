"""Does what keeps the promise of a task: what the loop decided of the release that serves, in the store."""

from __future__ import annotations

import logging
from typing import Any

from cloud_worker.fleet.quarantines import Quarantines
from cloud_worker.refresh.failure_reason import reason_of
from cloud_worker.refresh.release_snapshot import ReleaseSnapshot
from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.rollback import mark_alarmed, mark_fallen, roll_back, whole_release
from cloud_worker.state.store import Store
from router.core.certification.certificate_validity import OVERTAKEN
from router.core.certification.served_releases import ServedRelease
from router.core.domain.task import Task
from router.core.errors import HeadraceError
from router.core.refresh import actions
from router.core.release.manifest import Manifest
from router.core.release.orders import Watch

log = logging.getLogger(__name__)


class PromiseGuard:
    """The guard of one task's promise."""

    def __init__(self, task: Task, store: Store, publisher: Publisher, snapshot: ReleaseSnapshot) -> None:
        """Change what ``store`` says of the releases of ``task``, which lie where ``publisher`` says."""
        self._task = task
        self._store = store
        self._publisher = publisher
        self._snapshot = snapshot

    def do(self, action: actions.Action) -> Any:
        """Do one action of the loop, and answer what the loop needs to know."""
        name = self._task.name
        match action:
            case actions.Find(number):
                return self._find(number)
            case actions.Alarm(number):
                log.warning("task %s: release %d breaks its promise; everything escalates", name, number)
                mark_alarmed(self._store, name, number)
            case actions.EscalateAll():
                self._escalate_all(action)
            case actions.Reinstate(number):
                log.warning("task %s: release %d: its certificate stands again", name, number)
                self._store.update_task(name, watch=Watch.QUIET)
            case actions.NoteOvertaken(number, is_overtaken):
                why = OVERTAKEN if is_overtaken else ""
                if self._snapshot.noted_fallen(number) != why:
                    mark_fallen(self._store, name, number, why)
            case actions.ServeUnproven():
                self._store.update_task(name, watch=Watch.UNPROVEN)
            case actions.ServeAgain():
                return self._serve_again(action)
            case actions.SetApart() | actions.TakeBack():
                self._quarantine(action)
        return None

    def _escalate_all(self, action: actions.EscalateAll) -> None:
        if action.why:
            said = "task %s: release %d: %s; everything escalates"
            log.warning(said, self._task.name, action.release, action.why)
        changes = {"watch": Watch.ALARMED, "rows_at_refresh": 0, "exploration": action.exploration}
        self._store.update_task(self._task.name, **changes)

    def _quarantine(self, action: actions.SetApart | actions.TakeBack) -> None:
        task, quarantines = self._task.name, Quarantines(self._store.engine)
        if isinstance(action, actions.SetApart):
            log.warning("task %s: device %s escalates everything: %s", task, action.device, action.why)
            quarantines.begin(task, action.device, action.since, action.why)
        else:
            log.warning("task %s: device %s is in quarantine no more: %s", task, action.device, action.why)
            self._store.update_task(task, attempt=action.attempt)  # spent first: a kill then proves nothing twice
            quarantines.end(task, action.device, action.until)

    def _find(self, number: int) -> Manifest | None:
        """The manifest of a release that is pinned, ``None`` where it can't serve."""
        try:
            return whole_release(self._store, self._publisher, self._task.name, number)
        except (HeadraceError, OSError) as error:
            self._refuse(number, error)
            return None

    def _serve_again(self, action: actions.ServeAgain) -> ServedRelease | None:
        name = self._task.name
        changes: dict[str, Any] = {"watch": action.watch, "exploration": action.exploration}
        try:
            number = roll_back(self._store, self._publisher, self._task, action.release, **changes)
        except (HeadraceError, OSError) as error:
            self._refuse(action.release, error)
            return None
        assert number == action.number
        log.warning("task %s: release %d serves again, as release %d", name, action.release, number)
        return self._snapshot.read().served[number]

    def _refuse(self, number: int, error: Exception) -> None:
        log.error("task %s: release %d is to serve, and can't: %s", self._task.name, number, error)
        self._store.update_task(self._task.name, phase_note=f"release {number} can't serve: {reason_of(error)}")
