"""Puts together what the refresher holds of one task, before any row is read."""

from __future__ import annotations

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.judging.task_judge import agreeing
from cloud_worker.refresh.monitoring.blindness import BlindnessCheck
from cloud_worker.refresh.monitoring.reference_consistency import SecondAnswers, draws
from cloud_worker.refresh.monitoring.release_figures import PastRows, ReleaseFigures
from cloud_worker.refresh.parts import RefreshParts
from cloud_worker.refresh.pool.policy_loop import PoolPolicyLoop
from cloud_worker.refresh.release_snapshot import ReleaseSnapshot
from cloud_worker.refresh.task_context import TaskContext
from cloud_worker.refresh.task_log import TaskLog
from cloud_worker.state.lineages import Lineages
from router.core.certification.refresh_schedule import Pace
from router.core.domain.task import Task
from router.core.refresh.loop_state import LoopState


def set_up(task: Task, parts: RefreshParts) -> TaskContext:
    """What is held of ``task``, without any row."""
    config, store, publisher = parts.config, parts.store, parts.publisher
    judging, pace = agreeing(task, config), pace_of(config)
    snapshot, log = ReleaseSnapshot(task.name, store, publisher), TaskLog(parts.log, task)
    loop = LoopState(task, judging, pace, snapshot.read(), config.refresh.max_seconds)
    past = PastRows(
        lambda keys: log.of_keys(keys, loop.rows.last_batch),
        lambda release, since: log.of_release(release, since, loop.rows.last_batch),
    )
    reference = next(teacher for teacher in config.teachers if teacher.name == task.reference)
    second = SecondAnswers(task, judging, Lineages(store.engine), parts.ask_again, draws(task, reference))
    return TaskContext(
        loop=loop,
        log=log,
        second=second,
        blindness=BlindnessCheck(task, store),
        policies=PoolPolicyLoop.kept_in(store.engine, config.releases_folder, task, judging, pace),
        figures=ReleaseFigures(task, judging, store, publisher, past),
        snapshot=snapshot,
    )


def pace_of(config: CloudConfig) -> Pace:
    """How often a student is fitted."""
    said = config.refresh
    return Pace(said.min_rows, said.growth, said.patience_rows, said.early_rows)
