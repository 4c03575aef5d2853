"""Fits a student on what the log teaches, and assesses it; ``staging.py`` makes a release of it.

Rules:
 * Rows are read from the log when a fit is due, and given back when it is done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cloud_worker.config.recipe_needs import others_of, wants_queries
from cloud_worker.judging.task_judge import judged_by
from cloud_worker.refresh.parts import RefreshParts
from cloud_worker.refresh.task_context import TaskContext
from cloud_worker.running.process_memory import give_back_memory
from cloud_worker.state.lineages import Lineages
from cloud_worker.state.states import Phase
from cloud_worker.training.auxiliary_data import AuxiliaryData, auxiliary_data_of
from cloud_worker.training.reviewed_data import taught_of
from cloud_worker.training.spec import Fitted, Recipe
from router.core.domain.record import Record
from router.core.learning.held_out import Calibrated
from router.core.refresh import actions
from router.core.refresh.assessed_fit import assess

RunFit = Callable[[str, Sequence[Record], Recipe], Fitted | None]


@dataclass(frozen=True, slots=True)
class AssessedFit:
    """A fitted student, and what it is worth."""

    fitted: Fitted
    calibrated: Calibrated
    result: actions.FitResult


class Fitting:
    """The fits of every task.

    Attributes:
        last: The fit that was done last; it waits to be staged.
    """

    def __init__(self, parts: RefreshParts, run_fit: RunFit, contexts: Mapping[str, TaskContext]) -> None:
        """Fit by ``run_fit``, wherever it likes; a task may learn from the rows of the others in ``contexts``."""
        self._config = parts.config
        self._store = parts.store
        self._run_fit = run_fit
        self._lineages = Lineages(parts.store.engine)
        self._contexts = contexts
        self.last: AssessedFit | None = None

    def do(self, context: TaskContext, action: actions.Action) -> Any:
        """Do one action of the loop, and answer what the loop needs to know."""
        match action:
            case actions.AskReferenceAgain():
                context.second.settle(context.loop.rows.drawn)
                return context.second.refusal(context.loop.rows.drawn)
            case actions.BeginFit(rows, at):
                changes = {"rows_at_refresh": rows, "refreshed_at": at, "phase_progress": 0.0}
                self._store.update_task(context.task.name, phase=Phase.FITTING, phase_note="", **changes)
            case actions.Fit():
                return self._fit(context, action)
        return None

    def _fit(self, context: TaskContext, action: actions.Fit) -> actions.FitResult | None:
        task, settings = context.task, self._config.refresh
        self._lineages.hold_judge(task, judged_by(task, context.loop.judging))
        version = context.loop.rows.version
        log = (row for row in context.log.whole(action.last_batch) if row.caller not in action.without)
        rows = [row for row in log if _is_current(row, context, version)]
        recipe = Recipe(
            task,
            self._config.encoder,
            self._config.data / "cache",
            settings.seed,
            servers=tuple(self._config.server_urls.items()),
            auxiliary=self._auxiliary(context),
        )
        fitted = self._run_fit(task.name, taught_of(rows, self._store, task.name), recipe)
        del rows
        give_back_memory()
        if fitted is None or not fitted.rows:
            return None
        self._store.update_task(task.name, phase=Phase.JUDGING, phase_progress=0.0)
        calibrated, result = assess(fitted.rows, fitted.measures, context.loop.judging)
        self.last = AssessedFit(fitted, calibrated, result)
        return result

    def _auxiliary(self, context: TaskContext) -> AuxiliaryData:
        """What the student learns from beside its own lessons; only of what its recipe uses the rows are read."""
        names = {*others_of(context.task), *({context.task.name} if wants_queries(context.task) else ())}
        known = {name: self._contexts[name] for name in names if name in self._contexts}
        logs = {name: (one.task, [*one.log.whole(one.loop.rows.last_batch)]) for name, one in known.items()}
        return auxiliary_data_of(context.task, logs, self._store)


def _is_current(row: Record, context: TaskContext, version: str) -> bool:
    task = context.task
    of_task = row.task_version == task.version and row.teacher == task.reference and row.is_reference
    return of_task and row.teacher_version == version
