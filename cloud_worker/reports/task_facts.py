"""What ``status`` tells of where a task stands, beside its promise: release, phase, who judges, what rolls out."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from cloud_worker.fleet.rollouts.store import Rollout, Rollouts
from cloud_worker.state.lineages import Lineages
from cloud_worker.state.store import Store, TaskState


class TaskFacts:
    """The facts of all tasks of one cluster."""

    def __init__(self, store: Store) -> None:
        """Read ``store``."""
        self._lineages, self._rollouts = Lineages(store.engine), Rollouts(store.engine)

    def of(self, state: TaskState) -> dict[str, Any]:
        """The facts of the task that stands so, ready for JSON.

        ``least_promise`` is the least that the reference's own unsteadiness leaves, once it has been asked twice;
        ``rollout`` is ``None`` where every device is to run the release.
        """
        least = self._lineages.least_promise(state.name, state.version)
        rollout = self._rollouts.open_of(state.name, state.champion)
        return {
            "task": state.name,
            "release": state.champion,
            "exploration": state.exploration,
            "mode": state.mode.value,
            "watch": state.watch,
            "phase": state.phase,
            "phase_note": state.phase_note,
            "phase_progress": state.phase_progress,
            "rows": state.rows_seen,
            "judged_by": self._lineages.judge(state.name, state.version),
            "least_promise": asdict(least) if least.rows else None,
            "rollout": None if rollout is None else self._facts(rollout),
        }

    def _facts(self, rollout: Rollout) -> dict[str, Any]:
        members = self._rollouts.members(rollout.id).values()
        return {
            "state": rollout.state.value,
            "release": rollout.number,
            "former": rollout.base,
            "labels": dict(rollout.labels),
            "step": rollout.step + 1,
            "steps": list(rollout.steps),
            "devices": len(members),
            "run_it": sum(one.took is not None for one in members),
            "why": rollout.why,
        }


def rollout_line(task: dict[str, Any]) -> str:
    """What rolls out, in words; empty where nothing does."""
    told = task["rollout"]
    if told is None:
        return ""
    labels = " to" * bool(told["labels"]) + "".join(f" {key}={value}" for key, value in sorted(told["labels"].items()))
    share = told["steps"][min(told["step"], len(told["steps"])) - 1]
    return (
        f"{task['task']}: release {told['release']} rolls out{labels}, {told['state']}: step {told['step']} of "
        f"{len(told['steps'])} ({share:.0%}), {told['run_it']} of {told['devices']} devices run it, the others release "
        f"{told['former']}{': ' if told['why'] else ''}{told['why']}"
    )
