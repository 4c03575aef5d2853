"""Gathers what is known of every task's promise, from the state of the fleet and the releases."""

from __future__ import annotations

import time
from collections.abc import Iterable

from cloud_worker.pool.policy_store import PoolPolicies
from cloud_worker.releases.certificates import Certificates
from cloud_worker.releases.publisher import Publisher
from cloud_worker.reports.promise.describe import describe
from cloud_worker.reports.promise.known import Known
from cloud_worker.reports.promise.values import Promise
from cloud_worker.state.fleet_quota import FleetLimits
from cloud_worker.state.lineages import Lineages
from cloud_worker.state.overrides import Overrides
from cloud_worker.state.store import Store, TaskState
from cloud_worker.state.tallies import Tallies
from cloud_worker.state.task_figures import Board
from router.core.certification.class_gate import ClassFigures
from router.core.domain.task import Task


class Promises:
    """The promises of one cluster's tasks."""

    def __init__(self, tasks: Iterable[Task], store: Store, publisher: Publisher) -> None:
        """Gather for ``tasks``, as the operator sets them."""
        self._tasks = {task.name: task for task in tasks}
        self._store = store
        self._certificates = Certificates(store, publisher)
        self._overrides = Overrides(store.engine)
        self._board = Board(store.engine)
        self._lineages = Lineages(store.engine)
        self._policies = PoolPolicies(store.engine)
        self._limits = FleetLimits(store)
        self._tallies = Tallies(store.engine)

    def gather(self) -> dict[str, Promise]:
        """Each configured task's promise, by the task's name."""
        states = [state for state in self._store.task_states() if state.name in self._tasks]
        return {state.name: describe(self._known(state)) for state in states}

    def _known(self, state: TaskState) -> Known:
        task, manifest = self._tasks[state.name], self._certificates.manifest(state.name, state.champion)
        judged_by = self._lineages.judge(state.name, state.version)
        return Known(
            task=task,
            state=state,
            override=self._overrides.of(state.name),
            manifest=manifest,
            fallen=self._certificates.why_fallen(manifest, task, judged_by) if manifest is not None else "",
            judged_by=judged_by,
            classes=self._classes(state),
            figures=self._board.read(state.name, state.version),
            reports=self._tallies.of_task(state.name),
            spent=self._limits.account(state.name).spent,
            now=time.time(),
            pool=tuple(self._policies.of(task)) if task.cheaper.teachers else (),
        )

    def _classes(self, state: TaskState) -> tuple[ClassFigures, ...]:
        """What the rows that certified what serves say of each class."""
        rows = self._store.releases(state.name)
        return next((row.classes for row in rows if row.number == state.champion), ())
