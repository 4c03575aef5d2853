"""What the refresher has in mind of one task."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.fleet.device_lives import Lives
from cloud_worker.judging.task_judge import agreeing
from cloud_worker.log.distillation_log import DistillationLog
from cloud_worker.log.rows import give_back_memory, numbered_records_of
from cloud_worker.pool.attempts import PoolAttempts
from cloud_worker.pool.policy_store import PoolPolicies
from cloud_worker.refresh.pool_policy_loop import Tiering
from cloud_worker.refresh.promise_guard import Around, Guard
from cloud_worker.refresh.reference_consistency import AskAgain, SecondAnswers, draws
from cloud_worker.state.lineages import Lineages
from cloud_worker.state.repeated_rows import Repeats
from cloud_worker.state.store import Store
from router.core.certification.ambiguous_rows import set_apart
from router.core.certification.certifying_rows import certifying
from router.core.certification.missing_rows import lines_of, missed, settled
from router.core.certification.refresh_schedule import Pace
from router.core.certification.trial import Judging, Trial
from router.core.domain.believed_times import not_from_the_future
from router.core.domain.prediction import DeviceStudent
from router.core.domain.record import Record
from router.core.domain.task import Task
from router.core.learning.training_rows import Key, current


@dataclass(slots=True)
class Room:
    """Of one task.

    Attributes:
        task: The task.
        judging: Its judge.
        second: What the reference says when it is asked again.
        guard: Keeps its promise.
        tiering: Keeps its pool's policy.
        repeats: What came, and the log had before.
        lives: When devices had twins.
        rows: Pairs of batch and record, all of the task, in the log's order.
        known: How many of the rows have been looked at for twins.
        held: Why nothing is to be fitted or promoted now; empty when nothing holds it.
        last_batch: Of the rows.
        read_version: Version of the log that was read last; -2 before the first time.
        trial: Of the challenger that waits.
        student: The challenger.
        remark: What the operator should know of how the challenger was taught; empty for nothing.
    """

    task: Task
    judging: Judging
    second: SecondAnswers
    guard: Guard
    tiering: Tiering
    repeats: Repeats
    lives: Lives
    rows: list[tuple[int, Record]] = field(default_factory=list)
    held: str = ""
    known: int = 0
    last_batch: int = -1
    read_version: int = -2
    trial: Trial | None = None
    student: DeviceStudent | None = None
    remark: str = ""

    @classmethod
    def of(
        cls, task: Task, config: CloudConfig, around: Around, lineages: Lineages, ask_again: AskAgain | None
    ) -> Room:
        """An empty one of ``task``; ``ask_again`` asks the pool a second time."""
        judging = agreeing(task, config)
        reference = next(teacher for teacher in config.teachers if teacher.name == task.reference)
        second = SecondAnswers(task, judging, lineages, ask_again, draws(task, reference))
        policies = PoolPolicies(around.store.engine, PoolAttempts(config.releases_folder))
        tiering = Tiering(task, judging, policies, pace_of(config))
        guard, engine = Guard(task, judging, around), around.store.engine
        return cls(task, judging, second, guard, tiering, Repeats(engine), Lives(engine))

    def read(self, log: DistillationLog, version: int) -> None:
        """Take in what is new in the log, which has been at ``version`` at least, and of which devices had twins."""
        if version != self.read_version:
            self._read(log, version)
        self._set_apart()

    def _read(self, log: DistillationLog, version: int) -> None:
        self.read_version = version
        table = log.read(self.task.name, after_batch=self.last_batch)
        batches = table.column("batch").to_pylist()
        found = numbered_records_of(table)
        sound = not_from_the_future([record for _, record in found], time.time())
        self.rows.extend((batches[place], record) for (place, _), record in zip(found, sound, strict=True))
        self.last_batch = max([self.last_batch, *batches])
        del table
        give_back_memory()

    def _set_apart(self) -> None:
        """Leave out of every proof what devices with twins asked; what was counted by then is counted anew."""
        twins = self.lives.spans()
        apart = [(batch, set_apart(record, twins)) for batch, record in self.rows] if twins else self.rows
        known = self.known
        late = any(new is not old for (_, new), (_, old) in zip(apart[:known], self.rows[:known], strict=True))
        self.rows, self.known = apart, len(apart)
        if not late:
            return
        self.guard.begin_again()
        self.tiering.begin_again()
        if self.trial is not None and self.student is not None:
            looked = [record for _, record in self.rows if record.key in self.trial.looked and record.covered]
            self.trial = self.trial.begun_again()
            self.trial.take_up(looked, self.student, self.judging)

    def begin_anew(self, log: DistillationLog, store: Store) -> None:
        """Certify on rows to come alone, after the state of the task was lost: which have certified is not known."""
        self.trial = self.student = None
        self.read(log, log.last_batch())
        store.settle_loss(self.task.name, (row.key for row in self.records()), time.time())

    def records(self) -> list[Record]:
        """All of the task, in the log's order."""
        return [record for _, record in self.rows]

    def look(self, trial: Trial, student: DeviceStudent, spent: set[Key]) -> list[Record]:
        """Let a trial look at the rows before which nothing is awaited, and at how many never came."""
        blind = self.guard.blind
        lines = lines_of(self.rows, trial.freeze, blind, self.repeats.of(self.task.name), self.lives.spans())
        rows = certifying(settled(self.current(), lines, blind), trial, spent)
        seen = trial.look(rows, student, self.judging)
        trial.miss(missed(self.rows, lines, trial.counts))
        return seen

    def current(self) -> list[tuple[int, Record]]:
        """Pairs of batch and record, of the task's present version and reference."""
        keep = {record.key for record in current(self.records(), self.task)}
        return [(batch, record) for batch, record in self.rows if record.key in keep]


def pace_of(config: CloudConfig) -> Pace:
    """How often a student is fitted."""
    return Pace(config.refresh.min_rows, config.refresh.growth, config.refresh.patience_rows)


def settle_losses(rooms: Iterable[Room], log: DistillationLog, store: Store) -> None:
    """Begin anew with the tasks whose state was lost since the last look."""
    lost = store.losses_to_settle()
    for room in rooms:
        if room.task.name in lost:
            room.begin_anew(log, store)
