"""The live watch over the release that serves, fed from the log.

Rules:
 * Every explored row of the release counts once, in the log's order, whether it was kept or escalated. What a device
   answered from memory counts as kept: the promise is over all answers.
 * No device alone decides; see ``fleet_watch``.
 * A release under a later number, same content and threshold, is watched over both lives.
 * While the operator has everything escalate, it is judged by what it would have kept.
 * What was asked while the watch was blind is left out: of that time, what was kept is missing.
 * What escalates says nothing of a loss, but of a change: student and reference both answered it (``suspicion``).
 * Nothing is stored: after a restart the same rows give the same watch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from router.core.certification.certifying_rows import said_by_student
from router.core.certification.device_quarantine import Accusation, Quarantines, is_apart
from router.core.certification.fleet_watch import FleetWatch
from router.core.certification.missing_rows import Spans, is_within
from router.core.certification.trial import Judging
from router.core.domain.prediction import DeviceStudent
from router.core.domain.record import Record, had_to_be_asked, is_remembered, may_certify
from router.core.domain.task import Kind, Task
from router.core.learning.training_rows import would_stay
from router.core.statistics.likeness import likeness, number_of
from router.core.statistics.suspicion import Suspicion

MOST_SINCE = 1000  # latest rows that a fallback release is observed on
MOST_FALLBACKS = 3  # fallback releases that are tried
_NO_QUARANTINES: Quarantines = {}


@dataclass(slots=True)
class LiveWatch:
    """Watches one release.

    Attributes:
        release: Its number.
        task: Its task.
        judging: Its judge.
        watch: The bets against the promise being kept.
        accusation: Of the same rows, whether a device loses alone.
        suspicion: Of the same rows, whether to look closer.
        also: Other numbers under which the same content served at the same threshold.
        content: Its number, and those under which the same content served at whatever threshold.
    """

    release: int
    task: Task
    judging: Judging
    watch: FleetWatch
    accusation: Accusation
    suspicion: Suspicion
    also: frozenset[int] = frozenset()
    content: frozenset[int] = frozenset()

    @classmethod
    def over(
        cls,
        release: int,
        task: Task,
        judging: Judging,
        also: frozenset[int] = frozenset(),
        content: frozenset[int] = frozenset(),
    ) -> Self:
        """A fresh watch over a release, at the task's promise and assurance.

        Args:
            release: Its number.
            task: Its task.
            judging: Its judge.
            also: Other numbers under which the same content served at the same threshold.
            content: Numbers under which it served at whatever threshold.
        """
        objective = task.at_device
        promise, alpha = objective.max_disagreement, 1.0 - objective.assurance
        return cls(
            release,
            task,
            judging,
            FleetWatch(promise, alpha),
            Accusation(promise, alpha),
            Suspicion(promise),
            also=also,
            content=content | also | {release},
        )

    def observe(self, rows: Iterable[Record], blind: Spans = (), quarantines: Quarantines = _NO_QUARANTINES) -> bool:
        """Observe the rows that came since; say whether the promise is broken.

        Args:
            rows: Of the task, in the log's order, each of them once: all that came before are to be observed first.
            blind: When too few rows came to see anything: those asked then, as far as it is known yet, say nothing.
            quarantines: When devices were in quarantine: what they gave by then says nothing.
        """
        alarmed = False
        for row in rows:
            if is_apart(row, quarantines):
                continue
            if may_certify(row) or had_to_be_asked(row):
                self.watch.meet(row.caller, row.received_at)
                self.accusation.meet(row.caller, row.received_at)
            if self._is_mine(row) and may_certify(row) and not is_within(blind, row.asked_at):
                lost = self._lost(row)
                alarmed = self.watch.update(row.caller, lost)
                self.accusation.update(row.caller, likeness(row.text, "", "")[0], lost)
                self.suspicion.update(lost, row.received_at)
            self._seek_change(row, blind)
        return alarmed

    def _seek_change(self, row: Record, blind: Spans) -> None:
        """See what a row tells of the queries, beside whether it was lost: also one that escalated."""
        if row.task_version != self.task.version or not (may_certify(row) or had_to_be_asked(row)):
            return
        text, is_now = likeness(row.text, "", "")[0], row.release in self.content and not is_within(blind, row.asked_at)
        if self.task.kind is Kind.LABEL:
            self.suspicion.hear(number_of(row.answer), text, row.received_at, counts=is_now)
        if is_now and row.local_score is not None and row.local_answer is not None:
            wrong = not self.judging(row.text, row.local_answer, row.answer)
            self.suspicion.compare(wrong, row.local_score, text, row.received_at)

    def _is_mine(self, row: Record) -> bool:
        return row.task_version == self.task.version and (row.release == self.release or row.release in self.also)

    def _lost(self, row: Record) -> bool:
        stayed = would_stay(row) or is_remembered(row)
        return stayed and not self.judging(row.text, row.local_answer or "", row.answer)


def evidence_against(
    rows: Sequence[Record], student: DeviceStudent, threshold: float, task: Task, judging: Judging
) -> float:
    """Natural logarithm of the watch's bet that a student at a threshold breaks the promise on some rows.

    Here one device is enough to speak against it: nothing serves again on a doubt.

    Args:
        rows: That may certify, drawn since its certificate, in the log's order.
        student: Its own.
        threshold: Least score kept.
        task: As it is now.
        judging: Its judge.
    """
    watch = FleetWatch(task.at_device.max_disagreement, 1.0 - task.at_device.assurance)
    for row in rows:
        watch.meet(row.caller, row.received_at)
        score, answer = said_by_student(student, row)
        watch.update(row.caller, score >= threshold and not judging(row.text, answer, row.answer))
    return watch.log_pooled
