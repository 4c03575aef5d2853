"""Which release of each task a device is to run, while some of them roll out.

Rules:
 * A device that is not in a rollout is told the former release; one that comes new is not in it before the last step.
 * A device that runs the new release already never goes back to a lower number: it counts as in.
 * Under a rollout that was halted no further device takes the release; those that run it keep nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from sqlalchemy import Engine

from cloud_worker.fleet.rollouts.store import Rollout, Rollouts
from cloud_worker.state.rows import TaskState
from router.core.release.orders import Watch
from router.core.release.rollout import RolloutState


@dataclass(frozen=True, slots=True)
class Place:
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
    """Of one fleet."""

    def __init__(self, engine: Engine) -> None:
        """Read in the database of ``engine``."""
        self._rollouts = Rollouts(engine)

    def places(self, device: str, states: Iterable[TaskState], runs: Mapping[str, int]) -> Iterator[Place]:
        """Each task as a device is to see it, in their order.

        Args:
            device: Its name.
            states: Where the tasks stand.
            runs: The release that it says it runs, by task.
        """
        opened = {(one.task, one.number): one for one in self._rollouts.open()}
        inside = self._rollouts.are_in([one.id for one in opened.values()], device) if opened else frozenset()
        for state in states:
            rollout = opened.get((state.name, state.champion))
            if rollout is None or rollout.is_whole:
                yield Place(state)
            else:
                yield _place(state, rollout, rollout.id in inside, runs.get(state.name, 0) == rollout.number)


def _place(state: TaskState, rollout: Rollout, is_in: bool, runs_it: bool) -> Place:
    is_halted = rollout.state is RolloutState.HALTED
    if runs_it or (is_in and not is_halted):
        return Place(state, is_halted=is_halted)
    watch = state.watch if state.watch is Watch.BLIND else Watch.QUIET
    former = replace(state, champion=rollout.base, manifest_sha256=rollout.base_sha256, watch=watch)
    return Place(former, is_former=True)
