"""Begins the rollout of a release: of one that was just certified, or of a former one that an operator wants.

Rules:
 * A rollout is written down before its release is promoted, under the number that the release is about to have: killed
   in between, no device has heard of the release.
 * A small fleet takes what is certified at once. What an operator starts rolls out in any fleet.
 * What an operator starts is a release whose certificate stands, and nothing else rolls out meanwhile.
"""

from __future__ import annotations

import time
from typing import Any

from cloud_worker.config.sections import Fleet, RolloutSettings
from cloud_worker.fleet.presence import Presence
from cloud_worker.fleet.rollouts.health import RolloutHealth
from cloud_worker.fleet.rollouts.store import Rollout, Rollouts
from cloud_worker.releases.certificates import Certificates
from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.rollback import roll_back, whole_release
from cloud_worker.state.store import Store
from router.core.certification.refresh_schedule import Champion, exploration_at_rest
from router.core.domain.task import Task
from router.core.errors import HeadraceError, ReleaseError
from router.core.release.manifest import Manifest
from router.core.release.orders import Watch
from router.core.release.rollout import RolloutState

CERTIFIED = "it was certified"
OVERTAKEN = "another release began to roll out"


class RolloutOpening:
    """The rollouts that one cluster opens."""

    def __init__(self, store: Store, publisher: Publisher, settings: RolloutSettings, fleet: Fleet) -> None:
        """Write to ``store``; releases lie where ``publisher`` says."""
        self._store, self._publisher, self._settings = store, publisher, settings
        self._rollouts = Rollouts(store.engine)
        self._health = RolloutHealth(store.engine, Presence.of(fleet.sync_seconds, fleet.jitter))

    def of_certified(self, task: str, number: int) -> None:
        """A release is about to be promoted under ``number``: let it roll out, where the fleet is no small one."""
        now, state = time.time(), self._store.task_state(task)
        self._close(task, now)
        if len(self._health.fleet(task, {}, now)) >= self._settings.smallest_fleet:
            former = {"base": state.champion, "base_sha256": state.manifest_sha256}
            steps = {"content": number, "number": number, "steps": self._settings.steps, **former}
            self._rollouts.add(task, RolloutState.RUNNING, now=now, why=CERTIFIED, **steps)

    def of_wanted(self, task: Task) -> None:
        """Begin what an operator wants, or say why it can't be."""
        wanted, now = self._rollouts.wanted(task.name), time.time()
        if wanted is None:
            return
        try:
            self._begin(task, wanted, now)
        except (HeadraceError, OSError) as error:
            for one in self._rollouts.history(task.name):
                if one.id == wanted.id and one.state in {RolloutState.WANTED, RolloutState.RUNNING}:
                    self._rollouts.end(one, RolloutState.REFUSED, str(error), now)

    def _begin(self, task: Task, wanted: Rollout, now: float) -> None:
        state = self._store.task_state(task.name)
        if self._rollouts.open_of(task.name, state.champion) is not None:
            raise ReleaseError(f"release {state.champion} of task {task.name!r} still rolls out")
        manifest = whole_release(self._store, self._publisher, task.name, wanted.content)
        why = Certificates(self._store, self._publisher).why_fallen(manifest, task)
        if why:
            raise ReleaseError(f"the certificate of release {wanted.content} does not stand: {why}")
        self._close(task.name, now)
        number = self._store.next_release(task.name)
        former = {"base": state.champion, "base_sha256": state.manifest_sha256}
        if self._rollouts.change(wanted, state=RolloutState.RUNNING, number=number, step_began=now, **former):
            roll_back(self._store, self._publisher, task, wanted.content, **as_served(task, manifest))

    def _close(self, task: str, now: float) -> None:
        """End what is still open: another release takes its place."""
        for rollout in self._rollouts.open():
            if rollout.task == task:
                self._rollouts.end(rollout, RolloutState.SUPERSEDED, OVERTAKEN, now)


def as_served(task: Task, manifest: Manifest) -> dict[str, Any]:
    """How the state of a task changes when a former release serves again."""
    has_student = manifest.student is not None
    rate = exploration_at_rest(task, Champion(manifest.number if has_student else 0))
    return {"watch": Watch.QUIET if has_student else Watch.UNPROVEN, "exploration": rate}
