"""Posts what the drawn rows say of a release that rolls out, for the loop that leads it."""

from __future__ import annotations

from sqlalchemy import Engine

from cloud_worker.fleet.rollouts.store import Rollouts
from cloud_worker.refresh.task_context import TaskContext
from router.core.refresh.rollout_evidence import why_broken, why_doubted


class EvidencePosts:
    """The evidence for and against the releases that roll out, of every task."""

    def __init__(self, engine: Engine) -> None:
        """Write to the database of ``engine``."""
        self._rollouts = Rollouts(engine)

    def post(self, context: TaskContext) -> None:
        """Tell what a step of the loop has seen, where something of the task rolls out."""
        loop = context.loop
        rollout = self._rollouts.open_of(context.task.name, loop.releases.champion)
        if rollout is None:
            return
        live_watch = (
            loop.live_watch if loop.live_watch is not None and loop.live_watch.release == rollout.number else None
        )
        broken = rollout.broken or ("" if live_watch is None else why_broken(live_watch))
        doubted = why_doubted(live_watch, context.blindness.last_hour.is_blind)
        if (broken, doubted) != (rollout.broken, rollout.doubted):
            self._rollouts.change(rollout, broken=broken, doubted=doubted)
