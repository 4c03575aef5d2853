"""What ``status``, the metrics and a rollout are to know of a task, put down after each step."""

from __future__ import annotations

import math
import time

from sqlalchemy import Engine

from cloud_worker.fleet.rollouts.store import Rollouts
from cloud_worker.refresh.task_context import TaskContext
from cloud_worker.state.task_figures import Board, Figures, Waiting, Watched
from router.core.domain.task import Task
from router.core.policy.deferral import Policy
from router.core.refresh.fit_due import rows_needed
from router.core.refresh.rollout_evidence import why_broken, why_doubted
from router.core.release.manifest import Manifest
from router.core.statistics.threshold_planning import NEVER


class FigurePosts:
    """The figures that one fleet's refresher writes down."""

    def __init__(self, engine: Engine) -> None:
        """Put them into the store behind ``engine``."""
        self._board = Board(engine)
        self._rollouts = Rollouts(engine)

    def post(self, context: TaskContext) -> None:
        """Say where a task stands after a step."""
        loop, hour = context.loop, context.blindness.last_hour
        told = Figures(
            at=time.time(),
            taught=loop.rows.taught,
            needed=rows_needed(loop),
            hour_rows=hour.came,
            hour_planned=hour.planned,
            blind=hour.is_blind,
            watched=_watched(context),
            waiting=_waiting(context),
        )
        serving = loop.releases.serving
        champion = _nothing(context.task, loop.releases.champion) if serving is None else serving.manifest
        told = context.figures.complete(told, context.override, champion)
        self._board.post(context.task.name, context.task.version, told)
        self._post_evidence(context)

    def _post_evidence(self, context: TaskContext) -> None:
        """Say what the drawn rows say of a release that rolls out, for the loop that leads it."""
        loop = context.loop
        rollout = self._rollouts.open_of(context.task.name, loop.releases.champion)
        if rollout is None:
            return
        watch = loop.live_watch if loop.live_watch is not None and loop.live_watch.release == rollout.number else None
        broken = rollout.broken or ("" if watch is None else why_broken(watch))
        doubted = why_doubted(watch, context.blindness.last_hour.is_blind)
        if (broken, doubted) != (rollout.broken, rollout.doubted):
            self._rollouts.change(rollout, broken=broken, doubted=doubted)


def _watched(context: TaskContext) -> Watched | None:
    """What the watch saw of the release that serves."""
    live_watch, serving = context.loop.live_watch, context.loop.releases.serving
    if live_watch is None or serving is None or not serving.has_student:
        return None
    seen = live_watch.watch.freeze()
    evidence = max(0.0, live_watch.watch.log_evidence / -math.log(seen.alpha))
    doubt = live_watch.suspicion if context.loop.is_suspected else None
    since, left = (doubt.since, doubt.rows_left) if doubt is not None else (0.0, 0)
    return Watched(live_watch.release, seen.rows, seen.losses, evidence, since, left)


def _waiting(context: TaskContext) -> Waiting | None:
    """How far the challenger is."""
    trial = context.loop.trial
    if trial is None:
        return None
    after = trial.outlook(context.loop.situation(trial))
    return Waiting(
        release=trial.number,
        rows=trial.rows,
        losses=trial.losses(after.threshold),
        expected_rows=after.expected_rows,
        rate=trial.rate,
        patience=int(trial.patience),
        weight=trial.weight,
    )


def _nothing(task: Task, number: int) -> Manifest:
    """Nothing is kept: what stands in for a manifest that is lost."""
    return Manifest(task, number, 0.0, Policy(NEVER))
