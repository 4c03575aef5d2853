"""How many queries should leave the devices now, and why that is more than the operator asked for.

Nothing here reads a store or a clock: every input is an argument.

Rules:
 * What is explored counts, at the rate in force.
 * A limit that is exceeded is told with its reason, whatever the reason.
 * What the certifying rows, at what they are worth, may show by chance of a share that is kept is not told.
"""

from __future__ import annotations

import math

from cloud_worker.state.overrides import Override
from cloud_worker.state.store import TaskState
from router.core.domain.task import Mode, Task
from router.core.release.manifest import Manifest
from router.core.release.orders import Watch
from router.core.statistics.intervals import BETTER


def leaving(state: TaskState, override: Override, manifest: Manifest | None) -> float | None:
    """Share of covered queries that should leave the devices now, in [0, 1]; ``None`` where that is not known.

    Args:
        state: Where the task stands.
        override: The operator's.
        manifest: Of the release that serves, ``None`` if it can't be read.
    """
    if manifest is None or manifest.task.local_only:
        return None
    if manifest.student is None or state.watch == Watch.ALARMED or override.mode is not Mode.SERVE:
        return 1.0
    at_rest = manifest.task.exploration.floor
    if manifest.escalation is None or at_rest >= 1.0:
        return manifest.escalation
    kept = (1.0 - manifest.escalation) / (1.0 - at_rest)
    return 1.0 - kept * (1.0 - state.exploration)


def why_exceeded(
    task: Task, state: TaskState, override: Override, manifest: Manifest | None, *, is_suspected: bool = False
) -> str:
    """Why more leaves than was asked for, with both shares; empty where it does not.

    Args:
        task: As the operator sets it.
        state: Where it stands.
        override: The operator's.
        manifest: Of the release that serves, ``None`` if it can't be read.
        is_suspected: It seems to lose more than it may.
    """
    most, now = task.objective.max_escalation, leaving(state, override, manifest)
    if most is None or now is None or manifest is None or now <= most + _chance(most, manifest):
        return ""
    why = _why(task, state, override, manifest, is_suspected)
    return f"{now:.1%} should leave, and {most:.1%} is the objective: {why}"


def _chance(most: float, manifest: Manifest) -> float:
    proof = manifest.certificate
    rows = 0 if proof is None else proof.rows if proof.weight is None else proof.weight
    return BETTER * math.sqrt(most * (1.0 - most) / rows) if rows else 0.0


def _why(task: Task, state: TaskState, override: Override, manifest: Manifest, is_suspected: bool) -> str:
    if manifest.student is None:
        return "no student is proven yet" if not manifest.number else "a release without a student serves"
    if state.watch == Watch.ALARMED:
        return "the release that serves broke its promise"
    if override.mode is not Mode.SERVE:
        return f"operator override: {override.mode.value}"
    if is_suspected:
        return "everything is explored, since the watch suspects a change"
    if state.exploration > manifest.task.exploration.floor:
        return f"{state.exploration:.0%} are explored while a challenger waits"
    return "the floor wins" if task.objective.has_floor else "the traffic has changed since the threshold was chosen"
