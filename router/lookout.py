"""The live watch over the release that serves, fed from the log.

Rules:
 * Every explored row of the release counts once, in the log's order, whether it was kept or escalated.
 * Nothing is stored: after a restart the same rows give the same watch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from router.distillation import Record, may_certify
from router.task import Task
from router.trial import Judging
from router.watch import Watch, WatchState

ALARMED = "alarmed"


@dataclass(slots=True)
class Lookout:
    """Watches one release.

    Attributes:
        release: Its number.
        task: Its task.
        judging: Its judge.
        watch: The bets against the promise being kept.
        seen: How many rows of the log have been looked at.
    """

    release: int
    task: Task
    judging: Judging
    watch: Watch
    seen: int = 0

    @classmethod
    def over(cls, release: int, task: Task, judging: Judging) -> Self:
        """A fresh watch over a release, at the task's promise and assurance."""
        objective = task.objective
        return cls(release, task, judging, Watch(WatchState(objective.max_disagreement, 1.0 - objective.assurance)))

    def look(self, rows: Sequence[Record]) -> bool:
        """Look at the rows that came since; say whether the promise is broken.

        Args:
            rows: All of the task, in the log's order.
        """
        new, self.seen = rows[self.seen :], len(rows)
        alarmed = False
        for row in new:
            if row.release == self.release and row.task_version == self.task.version and may_certify(row):
                alarmed = self.watch.update(self._lost(row))
        return alarmed

    def _lost(self, row: Record) -> bool:
        return row.kept and not self.judging(row.text, row.local_answer or "", row.answer)
