"""What ``status`` tells of every task besides its promise of agreement: who is right, and what callers say.

Rules:
 * Accuracy and agreement stand on lines of their own.
 * What callers say is told as a warning, where it warns, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.markup import escape

from cloud_worker.log.distillation_log import DistillationLog
from cloud_worker.reports.accuracy import competence_of
from cloud_worker.reports.accuracy_text import short_lines_of
from cloud_worker.reports.feedback import feedback_of, warnings_of
from cloud_worker.state.store import Store
from router.core.domain.task import Task
from router.core.errors import UnavailableError


class Truths:
    """The accuracy of one cluster's tasks by gold labels."""

    def __init__(self, tasks: Iterable[Task], store: Store, log: DistillationLog) -> None:
        """Tell of ``tasks``, as the operator sets them."""
        self._tasks = {task.name: task for task in tasks}
        self._store, self._log = store, log

    def of(self, name: str) -> dict[str, Any]:
        """One task's ``competence`` and ``feedback``, ready for JSON; ``None`` of a task that is not configured.

        Without ``competence`` too while the log can't be read.
        """
        task = self._tasks.get(name)
        if task is None:
            return {"competence": None, "feedback": None}
        return {"competence": self._competence(task), "feedback": feedback_of(self._store, name)}

    def _competence(self, task: Task) -> dict[str, Any] | None:
        try:
            return competence_of(self._store, self._log, task)
        except UnavailableError:  # the report says so once, of the log
            return None


def truth_lines(task: dict[str, Any]) -> list[str]:
    """Lines in rich's markup, of one task of a report."""
    right = short_lines_of(task["competence"]) if task["competence"] else []
    warnings = warnings_of(task["task"], task["feedback"]) if task["feedback"] else []
    return [*(f"{escape(task['task'])}: {line}" for line in right), *warnings]
