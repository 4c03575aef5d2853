"""Leads rollouts through their steps, over a store, beside the loop of the refresh: a fit never delays a halt.

What is decided is decided by ``router.core.release.rollout``.

Rules:
 * First no further device takes a release that is halted, then the former one is published under a new, higher number
   for all. Killed in between, it goes on where it was.
 * What is found bad is noted with its release: it never serves again by itself.
 * It takes the lock of a task where it changes which release serves.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from cloud_worker.config.sections import Fleet, RolloutSettings
from cloud_worker.fleet.presence import Presence
from cloud_worker.fleet.rollouts.health import RolloutHealth, seen
from cloud_worker.fleet.rollouts.store import Member, Rollout, Rollouts
from cloud_worker.refresh.rollout.opening import as_served
from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.rollback import mark_alarmed, roll_back, whole_release
from cloud_worker.state.states import ReleaseState
from cloud_worker.state.store import Store
from router.core.domain.task import Task
from router.core.errors import HeadraceError
from router.core.release.rollout import Decision, Gates, RolloutState, Verdict, decide, members, step_after

log = logging.getLogger(__name__)

RECEIVES = frozenset({RolloutState.RUNNING, RolloutState.REACHED})  # states in which devices come in
LOCK_SECONDS = 1.0
ANOTHER = "release {} serves instead"
BROKEN_OFF = "it was broken off before any device heard of it"


class RolloutLoop:
    """The loop that moves the rollouts of one cluster on."""

    def __init__(
        self,
        store: Store,
        publisher: Publisher,
        tasks: Iterable[Task],
        settings: tuple[RolloutSettings, Fleet],
        locks: Mapping[str, threading.Lock],
    ) -> None:
        """Lead what is open in ``store``.

        Args:
            store: The state of the fleet.
            publisher: Where the releases lie.
            tasks: All that are configured.
            settings: How releases roll out, and how often devices report.
            locks: Of each task, by its name: held by whoever changes which release serves.
        """
        rollout, fleet = settings
        self._store, self._publisher, self._locks = store, publisher, locks
        self._tasks = {task.name: task for task in tasks}
        self._gates = Gates(**{name: getattr(rollout, name) for name in Gates.__slots__})
        self._rollouts = Rollouts(store.engine)
        self._health = RolloutHealth(store.engine, Presence.of(fleet.sync_seconds, fleet.jitter))

    def step(self, now: float) -> None:
        """Look at every rollout that is open, at Unix time ``now`` in seconds."""
        for rollout in self._rollouts.open():
            if rollout.task in self._tasks:
                self._tend(rollout, now)

    def _tend(self, rollout: Rollout, now: float) -> None:
        champion = self._store.champion(rollout.task)
        if champion != rollout.number:
            self._leave(rollout, now)
            return
        inside, fleet = self._rollouts.members(rollout.id), self._health.fleet(rollout.task, rollout.labels, now)
        inside |= self._let_in(rollout, inside, fleet, now)
        said = self._health.said_in(rollout)
        changed = seen(inside, rollout, said, now)
        self._rollouts.note(rollout.id, changed.values())
        facts = self._health.facts(rollout, inside | changed, said, fleet, now)
        self._obey(rollout, decide(facts, self._gates), len(fleet), now)

    def _let_in(
        self, rollout: Rollout, inside: Mapping[str, Member], fleet: Mapping[str, float], now: float
    ) -> dict[str, Member]:
        """Let the devices of the step in that are not yet; those that came."""
        if rollout.state not in RECEIVES or not fleet:
            return {}
        wanted = members(rollout.task, rollout.number, fleet, {*inside}, rollout.share)
        new = self._health.newcomers(rollout, wanted - {*inside}, now)
        self._rollouts.let_in(rollout.id, new)
        return {one.device: one for one in new}

    def _obey(self, rollout: Rollout, decision: Decision, fleet: int, now: float) -> None:
        name, number = rollout.task, rollout.number
        match decision.verdict:
            case Verdict.HALT:
                self._halt(rollout, decision.why, now)
            case Verdict.ADVANCE:
                step = step_after(rollout.steps, rollout.step, fleet)
                if self._rollouts.change(rollout, step=step, step_began=now, why=decision.why):
                    log.info("task %s: release %d goes to %.0f %%", name, number, 100 * rollout.steps[step])
            case Verdict.FINISH if rollout.labels:
                self._rollouts.change(rollout, state=RolloutState.REACHED, why=decision.why)
            case Verdict.FINISH:
                if self._rollouts.end(rollout, RolloutState.DONE, decision.why, now):
                    log.info("task %s: release %d serves the whole fleet", name, number)
            case Verdict.HOLD if decision.why != rollout.why:
                self._rollouts.change(rollout, why=decision.why)

    def _halt(self, rollout: Rollout, why: str, now: float) -> None:
        """No device takes it any more; then all get the former release back."""
        name, number = rollout.task, rollout.number
        if rollout.state is not RolloutState.HALTED:
            if not self._rollouts.change(rollout, state=RolloutState.HALTED, why=why):
                return  # somebody else has moved it: it is read again
            log.error("task %s: release %d is halted: %s", name, number, why)
            rollout = replace(rollout, state=RolloutState.HALTED, why=why)
        with self._alone_with(name) as alone:
            if alone and self._store.champion(name) == number:
                self._bring_back(rollout)
        if self._store.champion(name) != number:
            self._leave(rollout, now)

    @contextmanager
    def _alone_with(self, task: str) -> Iterator[bool]:
        """Hold the lock of a task, where nobody else does: else it is tried again soon."""
        alone = self._locks[task].acquire(timeout=LOCK_SECONDS)
        try:
            yield alone
        finally:
            if alone:
                self._locks[task].release()

    def _bring_back(self, rollout: Rollout) -> None:
        name, number, base, task = rollout.task, rollout.number, rollout.base, self._tasks[rollout.task]
        try:
            if rollout.broken:
                mark_alarmed(self._store, name, number)
            manifest = whole_release(self._store, self._publisher, name, base)
            new = roll_back(self._store, self._publisher, task, base, **as_served(task, manifest))
            log.warning("task %s: release %d serves again, as release %d", name, base, new)
        except (HeadraceError, OSError) as error:
            log.error("task %s: release %d can't serve again: %s", name, base, error)
            self._store.update_task(name, phase_note=f"release {base} can't serve again: {error}")

    def _leave(self, rollout: Rollout, now: float) -> None:
        """End one whose release is not the one that serves."""
        name, number = rollout.task, rollout.number
        with self._alone_with(name) as alone:  # who begins one holds it too, and writes its number first
            rows = {row.number: row for row in self._store.releases(name)}
            champion = self._store.champion(name)
        if champion == number or not alone:
            return
        if rollout.state is RolloutState.HALTED and champion > number and rows[champion].back_to == rollout.base:
            self._store.update_release(name, number, state=ReleaseState.REJECTED, reason=f"rolled back: {rollout.why}")
            self._rollouts.end(rollout, RolloutState.ROLLED_BACK, rollout.why, now)
        else:
            why = ANOTHER.format(champion) if champion > number else BROKEN_OFF
            self._rollouts.end(rollout, RolloutState.SUPERSEDED, why, now)
