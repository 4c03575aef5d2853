"""Stages a fitted student: as a release that waits for its certificate.

Rules:
 * First what may not happen twice: an attempt spends assurance, and a number is never used again.
"""

from __future__ import annotations

import time
from dataclasses import replace

from cloud_worker.config.recipe_needs import recipe_name
from cloud_worker.refresh.fitting import AssessedFit
from cloud_worker.refresh.parts import RefreshParts
from cloud_worker.refresh.resume import waiting_of
from cloud_worker.refresh.task_context import TaskContext
from cloud_worker.state.lineages import Lineages
from cloud_worker.state.states import Phase, ReleaseState
from cloud_worker.state.store import ReleaseRow
from cloud_worker.training.golden_inputs import GOLDEN_FILE, golden_inputs
from router.core.domain.task import Kind
from router.core.learning.reliability import reliability_curve
from router.core.policy.deferral import Policy
from router.core.refresh import actions
from router.core.release.manifest import Golden, Lineage, Manifest
from router.core.statistics.threshold_planning import NEVER

ASKED_FILE = "asked.bin"
OF_ASKED = "it keeps only what was asked before it was proved: {:,} texts"
GOLDEN_TOLERANCE = 0.05
GOLDEN_LEAST_EQUAL = {Kind.LABEL: 1.0, Kind.TEXT: 0.9}  # texts part ways where two tokens are as good as equal


class Staging:
    """The staged challengers of every task."""

    def __init__(self, parts: RefreshParts) -> None:
        """Stage with the publisher of ``parts``."""
        self._store = parts.store
        self._publisher = parts.publisher
        self._lineages = Lineages(parts.store.engine)
        self._seed = parts.config.refresh.seed

    def do(self, context: TaskContext, action: actions.Stage, assessed: AssessedFit | None) -> None:
        """Make a release of the fit that was done last."""
        assert assessed is not None
        fitted, trial, name = assessed.fitted, action.trial, context.task.name
        manifest = self._manifest(context, action, assessed)
        self._store.update_task(name, attempt=action.attempt)
        self._store.add_release(ReleaseRow(name, trial.number, ReleaseState.BUILDING, "", manifest.created_at))
        asked = {} if action.keeps is None else {ASKED_FILE: action.keeps.to_bytes()}
        self._publisher.publish(manifest, {**fitted.files, **asked, GOLDEN_FILE: b""})
        of_asked = "" if action.keeps is None else OF_ASKED.format(len(action.keeps))
        remark = "; ".join(filter(None, (fitted.remark, of_asked)))
        context.student = self._publisher.student(name, trial.number, manifest)
        drafted = self._publisher.amend(manifest, {GOLDEN_FILE: golden_inputs(context.student, fitted.golden)})
        self._store.update_release(
            name,
            trial.number,
            state=ReleaseState.WAITING,
            manifest_sha256=drafted,
            remark=remark,
            **waiting_of(trial, action.attempt),
        )
        context.remark = remark
        self._store.update_task(name, phase=Phase.WAITING, phase_progress=0.0, exploration=trial.rate)

    def _manifest(self, context: TaskContext, action: actions.Stage, assessed: AssessedFit) -> Manifest:
        """The manifest of the challenger."""
        task, trial, result = context.task, action.trial, assessed.result
        curve = reliability_curve(assessed.calibrated.scores, result.agrees, result.weights)
        champion, seed = context.loop.releases.champion, self._seed
        return Manifest(
            task=task,
            number=trial.number,
            created_at=time.time(),
            policy=Policy(NEVER),
            student=replace(assessed.fitted.spec, asked="" if action.keeps is None else ASKED_FILE),
            calibration=assessed.calibrated.label,
            text_calibration=assessed.calibrated.text,
            reliability=tuple(curve),
            self_agreement=context.second.share(context.loop.rows.drawn),
            judged_by=self._lineages.judge(task.name, task.version),
            golden=Golden(GOLDEN_FILE, GOLDEN_TOLERANCE, GOLDEN_LEAST_EQUAL[task.kind]),
            lineage=Lineage(champion, action.attempt, action.taught, trial.freeze, recipe_name(task), seed),
        )
