"""Which release of each task a device is to run, while some of them roll out.

Rules:
 * A device that is not in a rollout is told the former release; one that comes new is not in it before the last step.
 * A device that runs the new release already never goes back to a lower number: it counts as in.
 * Under a rollout that was halted no further device takes the release; those that run it keep nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from sqlalchemy import Engine

from cloud_worker.fleet.rollouts.store import Rollout, Rollouts
from cloud_worker.state.rows import TaskState
from router.core.release.orders import Watch
from router.core.release.rollout import RolloutState


@dataclass(frozen=True, slots=True)
class TaskView:
    """A task as one device is to see it.

    Attributes:
        state: Where the task stands; for a device that runs the former release, as if that served everybody.
        is_former: It is such a device.
        is_halted: It runs what was halted.
    """

    state: TaskState
    is_former: bool = False
    is_halted: bool = False


class RolloutOrders:
    """The releases that the devices of one fleet are to run while some roll out."""

    def __init__(self, engine: Engine) -> None:
        """Read in the database of ``engine``."""
        self._rollouts = Rollouts(engine)

    def open(self) -> list[Rollout]:
        """The rollouts by which some devices run another release than others."""
        return list(self._rollouts.open())

    def views(
        self, states: Iterable[TaskState], rollouts: Iterable[Rollout], runs: Mapping[str, Mapping[str, int]]
    ) -> dict[str, tuple[TaskView, ...]]:
        """Each task as each of some devices is to see it, in their order.

        Args:
            states: Where the tasks stand, before and after the rollouts were read: one that is rolled back meanwhile
                would leave its release to everybody.
            rollouts: Those that are open.
            runs: The release that each device says it runs, by device and task.
        """
        all_see = tuple(TaskView(state) for state in states)
        opened = {(one.task, one.number): one for one in rollouts}
        mine = [opened.get((view.state.name, view.state.champion)) for view in all_see]
        partial = [None if one is None or one.is_whole else one for one in mine]
        if not any(partial):
            return dict.fromkeys(runs, all_see)
        inside = self._rollouts.members_among([one.id for one in partial if one is not None], runs)
        return {
            device: tuple(
                view
                if one is None
                else _view(view.state, one, (one.id, device) in inside, said.get(one.task, 0) == one.number)
                for view, one in zip(all_see, partial, strict=True)
            )
            for device, said in runs.items()
        }


def _view(state: TaskState, rollout: Rollout, is_in: bool, runs_it: bool) -> TaskView:
    is_halted = rollout.state is RolloutState.HALTED
    if runs_it or (is_in and not is_halted):
        return TaskView(state, is_halted=is_halted)
    watch = state.watch if state.watch is Watch.BLIND else Watch.QUIET
    former = replace(state, champion=rollout.base, manifest_sha256=rollout.base_sha256, watch=watch)
    return TaskView(former, is_former=True)
