"""What a step of the loop is told beside the rows: of releases, of the operator override, of devices."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Engine

from cloud_worker.fleet.quarantines import Quarantines
from cloud_worker.fleet.rollouts.store import Rollouts
from cloud_worker.fleet.twins import Incarnations
from cloud_worker.refresh.task_context import TaskContext
from cloud_worker.state.lineages import Lineages
from cloud_worker.state.repeated_rows import Repeats
from router.core.certification.missing_rows import Spans
from router.core.refresh.loop_state import StepInputs


class InputReader:
    """Reads what a step is told, in one snapshot of the fleet."""

    def __init__(self, engine: Engine) -> None:
        """Read from the store behind ``engine``."""
        self._lineages = Lineages(engine)
        self._repeats = Repeats(engine)
        self._incarnations, self._quarantines = Incarnations(engine), Quarantines(engine)
        self._rollouts = Rollouts(engine)

    def twins(self) -> Mapping[str, Spans]:
        """When each device had twins."""
        return self._incarnations.spans()

    def inputs(self, context: TaskContext, now: float) -> StepInputs:
        """What there is at Unix time ``now`` in seconds."""
        task, override, releases = context.task, context.override, context.snapshot.read()
        rollout = self._rollouts.open_of(task.name, releases.champion)
        return StepInputs(
            now=now,
            releases=releases,
            pinned=override.pinned,
            forced=override.forced,
            is_held=bool(override.holds) or rollout is not None,
            base=None if rollout is None else rollout.base,
            is_blind=context.blindness.last_hour.is_blind,
            judged_by=self._lineages.judge(task.name, task.version),
            blind=context.blindness.spans,
            repeats=self._repeats.of(task.name),
            twins=context.log.twins,
            quarantines=self._quarantines.of(task.name),
            is_overtaken=context.snapshot.is_overtaken,
        )
