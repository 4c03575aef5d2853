"""Asks a task's reference again what it has answered already: how far does it agree with itself?

Rules:
 * Asked again are explored queries of the reference's version in force, in the log's order, each at most once.
 * The pool is asked itself, past every stored answer, a few queries at a time, so that people wait for nothing; what is
   still missing when a release is to be proposed is asked then.
 * A second answer that the reference can't give counts as another one; one that can't be fetched now is tried again.
 * Nothing is refused before enough queries have been asked twice.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cloud_worker.config.teachers import TeacherSettings
from cloud_worker.pool.answer_records import said_text
from cloud_worker.state.lineages import Lineages
from cloud_worker.teachers.base import NoAnswer, Reply
from router.core.certification.trial import Judging
from router.core.domain.record import Record, may_certify
from router.core.domain.task import Task
from router.core.errors import UnavailableError
from router.core.monitoring.reference_consistency import breaks, in_words, least_promise, wanted
from router.core.statistics.intervals import Interval

log = logging.getLogger(__name__)

AT_ONCE = 20  # queries asked again in one step

LABEL_KINDS = frozenset({"encoder", "patterns", "recorded"})  # of teachers that draw nothing
GREEDY_KINDS = frozenset({"generating"})  # of teachers that draw nothing at temperature 0; servers elsewhere may

AskAgain = Callable[[Task, Sequence[Record]], Sequence[Reply | None]]  # -> replies of its reference, None if too late


def draws(task: Task, teacher: TeacherSettings) -> bool:
    """Whether a task's reference may answer otherwise when it is asked again."""
    if teacher.kind in GREEDY_KINDS:
        return bool(task.limits.temperature)
    return teacher.kind not in LABEL_KINDS


@dataclass(frozen=True, slots=True)
class SecondAnswers:
    """The second answers of one task's reference.

    Attributes:
        task: The task.
        judging: Its judge.
        lineages: Where they are kept.
        ask: Asks the pool; raises ``UnavailableError`` alone. ``None`` where there is no pool: nothing is asked.
        draws: The reference samples its answers.
    """

    task: Task
    judging: Judging
    lineages: Lineages
    ask: AskAgain | None
    draws: bool

    def settle(self, rows: Sequence[Record]) -> None:
        """Ask again all of the queries that are still wanted: before a release is proposed."""
        while self.observe(rows):
            pass

    def observe(self, rows: Sequence[Record]) -> bool:
        """Ask again a few of the queries that are still wanted.

        Args:
            rows: The current ones, in the log's order.

        Returns:
            Whether that made any known.
        """
        known, differed = self._known(rows)
        missing = wanted(differed, draws=self.draws) - len(known)
        if missing <= 0 or self.ask is None:
            return False
        chosen = [row for row in rows if may_certify(row) and row.key not in known][: min(missing, AT_ONCE)]
        if not chosen:
            return False
        try:
            replies = self.ask(self.task, chosen)
        except UnavailableError as error:
            log.warning("task %s: the reference can't be asked again now: %s", self.task.name, error)
            return False
        pairs = [(row, reply) for row, reply in zip(chosen, replies, strict=True) if self._counts(row, reply)]
        found = [(row.key, self._agrees(row, reply)) for row, reply in pairs]
        self.lineages.keep_second_answers(self.task, found, time.time())
        return bool(found)

    def least(self, rows: Sequence[Record]) -> Interval | None:
        """How often the reference differs from itself; ``None`` before enough queries have been asked twice."""
        known, differed = self._known(rows)
        if len(known) < wanted(differed, draws=self.draws):
            return None
        return least_promise(differed, len(known))

    def share(self, rows: Sequence[Record]) -> float | None:
        """How often the reference agrees with itself, in [0, 1]; ``None`` before enough have been asked twice."""
        least = self.least(rows)
        return None if least is None else 1.0 - least.share

    def refusal(self, rows: Sequence[Record]) -> str:
        """Why no release may be proposed: the promise is below what the reference keeps itself; empty if it is not."""
        least = self.least(rows)
        promise = self.task.objective.max_disagreement
        if least is None or not breaks(promise, least):
            return ""
        return f"max_disagreement is {promise:g}, but {in_words(least)}"

    def _known(self, rows: Sequence[Record]) -> tuple[dict[tuple[str, str, str], bool], int]:
        """What has been asked twice of the version in force, and how often the second answer was another one."""
        if not rows:
            return {}, 0
        known = self.lineages.asked_twice(self.task, rows[-1].teacher_version)
        return known, sum(not agreed for agreed in known.values())

    def _counts(self, row: Record, reply: Reply | None) -> bool:
        return isinstance(reply, NoAnswer) or (reply is not None and reply.version == row.teacher_version)

    def _agrees(self, row: Record, reply: Reply | None) -> bool:
        if reply is None or isinstance(reply, NoAnswer):
            return False
        return self.judging(row.text, said_text(reply), row.answer)
