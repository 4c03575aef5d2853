"""Fits a student on what the log teaches, and stages it: as a release that waits for its certificate.

Rules:
 * Rows are read from the log when a fit is due, and given back when it is done.
 * First what may not happen twice: an attempt spends assurance, and a number is never used again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.config.recipe_needs import others_of, recipe_name, wants_queries
from cloud_worker.judging.task_judge import judged_by
from cloud_worker.log.rows import give_back_memory
from cloud_worker.refresh.take_up import waiting_of
from cloud_worker.refresh.task_context import TaskContext
from cloud_worker.releases.publisher import Publisher
from cloud_worker.state.lineages import Lineages
from cloud_worker.state.states import Phase, ReleaseState
from cloud_worker.state.store import ReleaseRow, Store
from cloud_worker.training.auxiliary_data import Beside, beside_of
from cloud_worker.training.export import GOLDEN_FILE, golden_inputs
from cloud_worker.training.reviewed_data import taught_of
from cloud_worker.training.spec import Fitted, Recipe
from router.core.domain.record import Record
from router.core.domain.task import Kind
from router.core.learning.held_out import Calibrated
from router.core.learning.reliability import reliability_curve
from router.core.policy.deferral import Policy
from router.core.refresh import actions
from router.core.refresh.assessed_fit import assess
from router.core.release.manifest import Golden, Lineage, Manifest
from router.core.statistics.threshold_planning import NEVER

GOLDEN_TOLERANCE = 0.05
GOLDEN_LEAST_EQUAL = {Kind.LABEL: 1.0, Kind.TEXT: 0.9}  # texts part ways where two tokens are as good as equal

RunFit = Callable[[str, Sequence[Record], Recipe], Fitted | None]


@dataclass(frozen=True, slots=True)
class _Assessed:
    """A fitted student, and what it is worth."""

    fitted: Fitted
    calibrated: Calibrated
    result: actions.FitResult


class FitAndStage:
    """Of every task."""

    def __init__(self, config: CloudConfig, store: Store, publisher: Publisher, run_fit: RunFit) -> None:
        """Fit by ``run_fit``, wherever it likes, and stage with ``publisher``."""
        self._config = config
        self._store = store
        self._publisher = publisher
        self._run_fit = run_fit
        self._lineages = Lineages(store.engine)
        self._assessed: _Assessed | None = None  # of the fit that was done last
        self.contexts: dict[str, TaskContext] = {}

    def do(self, context: TaskContext, action: actions.Action) -> Any:
        """Do it, and answer what the loop needs to know."""
        match action:
            case actions.AskReferenceAgain():
                context.second.settle(context.loop.rows.drawn)
                return context.second.refusal(context.loop.rows.drawn)
            case actions.BeginFit(rows, at):
                changes = {"rows_at_refresh": rows, "refreshed_at": at, "phase_progress": 0.0}
                self._store.update_task(context.task.name, phase=Phase.FITTING, phase_note="", **changes)
            case actions.Fit():
                return self._fit(context, action)
            case actions.Stage():
                self._stage(context, action)
        return None

    def _fit(self, context: TaskContext, action: actions.Fit) -> actions.FitResult | None:
        task, settings = context.task, self._config.refresh
        self._lineages.hold_judge(task, judged_by(task, context.loop.judging))
        version = context.loop.rows.version
        rows = [row for row in context.log.whole(action.last_batch) if _is_current(row, context, version)]
        recipe = Recipe(
            task,
            self._config.encoder,
            self._config.data / "cache",
            settings.seed,
            servers=tuple(self._config.server_urls.items()),
            beside=self._beside(context),
        )
        fitted = self._run_fit(task.name, taught_of(rows, self._store, task.name), recipe)
        del rows
        give_back_memory()
        if fitted is None or not fitted.rows:
            return None
        self._store.update_task(task.name, phase=Phase.JUDGING, phase_progress=0.0)
        calibrated, result = assess(fitted.rows, fitted.measures, context.loop.judging)
        self._assessed = _Assessed(fitted, calibrated, result)
        return result

    def _beside(self, context: TaskContext) -> Beside:
        """What the student learns from beside its own lessons; only of what its recipe uses the rows are read."""
        names = {*others_of(context.task), *({context.task.name} if wants_queries(context.task) else ())}
        known = {name: self.contexts[name] for name in names if name in self.contexts}
        logs = {name: (one.task, [*one.log.whole(one.loop.rows.last_batch)]) for name, one in known.items()}
        return beside_of(context.task, logs, self._store)

    def _stage(self, context: TaskContext, action: actions.Stage) -> None:
        assert self._assessed is not None
        fitted, trial, name = self._assessed.fitted, action.trial, context.task.name
        manifest = self._manifest(context, action, self._assessed)
        self._assessed = None
        self._store.update_task(name, attempt=action.attempt)
        self._store.add_release(ReleaseRow(name, trial.number, ReleaseState.BUILDING, "", manifest.created_at))
        self._publisher.publish(manifest, {**fitted.files, GOLDEN_FILE: b""})
        context.student = self._publisher.student(name, trial.number, manifest)
        drafted = self._publisher.amend(manifest, {GOLDEN_FILE: golden_inputs(context.student, fitted.golden)})
        self._store.update_release(
            name,
            trial.number,
            state=ReleaseState.WAITING,
            manifest_sha256=drafted,
            remark=fitted.remark,
            **waiting_of(trial, action.attempt),
        )
        context.remark = fitted.remark
        self._store.update_task(name, phase=Phase.WAITING, phase_progress=0.0, exploration=trial.rate)

    def _manifest(self, context: TaskContext, action: actions.Stage, assessed: _Assessed) -> Manifest:
        """Of the challenger."""
        task, trial, result = context.task, action.trial, assessed.result
        curve = reliability_curve(assessed.calibrated.scores, result.agrees, result.weights)
        champion, seed = context.loop.releases.champion, self._config.refresh.seed
        return Manifest(
            task=task,
            number=trial.number,
            created_at=time.time(),
            policy=Policy(NEVER),
            student=assessed.fitted.spec,
            calibration=assessed.calibrated.label,
            text_calibration=assessed.calibrated.text,
            reliability=tuple(curve),
            self_agreement=context.second.share(context.loop.rows.drawn),
            judged_by=self._lineages.judge(task.name, task.version),
            golden=Golden(GOLDEN_FILE, GOLDEN_TOLERANCE, GOLDEN_LEAST_EQUAL[task.kind]),
            lineage=Lineage(champion, action.attempt, action.taught, trial.freeze, recipe_name(task), seed),
        )


def _is_current(row: Record, context: TaskContext, version: str) -> bool:
    task = context.task
    of_task = row.task_version == task.version and row.teacher == task.reference and row.is_reference
    return of_task and row.teacher_version == version
