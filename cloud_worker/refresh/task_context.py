"""What the refresher holds of one task between two steps."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field

from cloud_worker.refresh.monitoring.blindness import CHECK_SECONDS, BlindnessCheck
from cloud_worker.refresh.monitoring.reference_consistency import SecondAnswers
from cloud_worker.refresh.monitoring.release_figures import ReleaseFigures
from cloud_worker.refresh.pool.policy_loop import PoolPolicyLoop
from cloud_worker.refresh.release_snapshot import ReleaseSnapshot
from cloud_worker.refresh.task_log import Rows, TaskLog
from cloud_worker.state.overrides import Override
from router.core.certification.missing_rows import Spans
from router.core.domain.prediction import DeviceStudent
from router.core.domain.record import Record
from router.core.domain.task import Task
from router.core.learning.training_rows import Key
from router.core.refresh.loop_state import LoopState


@dataclass(slots=True)
class TaskContext:
    """The context of one task from step to step.

    Attributes:
        loop: What decides.
        log: Its rows.
        second: What the reference says when it is asked again.
        blindness: Whether as many rows come as were planned.
        policies: Keeps its pool's policy.
        figures: What is told of the release that serves.
        snapshot: Reads where its releases stand.
        override: The operator's override, as read last.
        checked_at: Unix time in seconds of the last step.
        read_batch: Last batch of the log that was there when it was read last; -2 before the first time.
        student: That of the challenger that waits.
        remark: What the operator should know of how the challenger was taught; empty for nothing.
    """

    loop: LoopState
    log: TaskLog
    second: SecondAnswers
    blindness: BlindnessCheck
    policies: PoolPolicyLoop
    figures: ReleaseFigures
    snapshot: ReleaseSnapshot
    override: Override = field(default_factory=Override)
    checked_at: float = 0.0
    read_batch: int = -2
    student: DeviceStudent | None = None
    remark: str = ""

    @property
    def task(self) -> Task:
        """The task."""
        return self.loop.task

    def is_due(self, override: Override, now: float) -> bool:
        """Whether to look again without new rows: another override came, or it has been a while."""
        return override != self.override or now - self.checked_at >= CHECK_SECONDS

    def read_new(self, last_batch: int) -> None:
        """Take in what came to the log, which has a batch ``last_batch`` by now."""
        if last_batch != self.read_batch:
            rows = self.log.new(max(self.loop.rows.last_batch, self.read_batch), last_batch)
            self.read_batch = last_batch
            self.loop.take(rows)
            self._tell(rows)

    def read_all(self, spent: Set[Key], observed: Set[Key] = frozenset()) -> list[Record]:
        """Take in the whole log anew; return the covered rows that the trial that waits had observed.

        Args:
            spent: Keys that a certificate has observed.
            observed: Of them, those of the release that waits: by this trial, or by one before an alarm.
        """
        after = -1 if self.loop.trial is None else self.loop.trial.after
        freeze = self.loop.trial.freeze if self.loop.trial is not None else None
        self.loop.forget_rows()
        if freeze is not None:
            self.loop.rows.begin_trial(freeze)
        for part in (self.blindness, self.policies, self.figures):
            part.begin_again()
        found: list[Record] = []
        for rows in self.log.pieces():
            self.loop.rows.take(rows, spent)
            self._tell(rows)
            mine = (record for batch, record in rows if batch > after and record.key in observed and record.covered)
            found += (record for record in mine if not self.loop.rows.is_apart(record))
        return found

    def _tell(self, rows: Rows) -> None:
        """Let the others look at rows that were read."""
        self.policies.take(rows)
        records = [record for _, record in rows]
        self.blindness.take(records)
        self.figures.take(records)

    def hear_of_twins(self, twins: Mapping[str, Spans], spent: Set[Key]) -> None:
        """Leave out of every proof what devices with twins asked; what was counted by then is counted anew.

        Args:
            twins: When each device had twins.
            spent: Keys that a certificate has observed.
        """
        before, self.log.twins = self.log.twins, twins
        if not any(self._may_have_come(device, before.get(device, ()), spans) for device, spans in twins.items()):
            return
        trial = self.loop.trial
        if trial is None or self.student is None:
            self.read_all(spent)
            return
        self.loop.trial = trial.begun_again()
        self.loop.trial.take_up(self.read_all(spent, trial.observed), self.student, self.loop.judging)

    def _may_have_come(self, device: str, before: Spans, spans: Spans) -> bool:
        """Whether rows of a device may have been read that lie within its spans, and not within those of before."""
        known = dict(before)
        latest = self.loop.rows.latest_of(device)
        return any(latest >= known.get(began, began) for began, until in spans if known.get(began) != until)
