"""Everything that is known of a task when its promise is described."""

from __future__ import annotations

from dataclasses import dataclass, field

from cloud_worker.pool.policies import StoredPolicy
from cloud_worker.state.overrides import Override
from cloud_worker.state.store import TaskState
from cloud_worker.state.task_figures import Figures
from router.core.certification.class_gate import ClassFigures
from router.core.domain.task import Task
from router.core.policy.budget import Spent
from router.core.release.manifest import Manifest
from router.core.release.reports import TaskReport


@dataclass(frozen=True, slots=True)
class Known:
    """Everything that is known of one task's promise.

    Attributes:
        task: As the operator sets it.
        state: Where it stands.
        override: The operator's.
        manifest: Of the release that serves, ``None`` if it can't be read.
        fallen: Why its certificate does not stand, empty when it does.
        judged_by: The judge of the task's lineage, empty if none is known yet.
        figures: What the refresher saw last, ``None`` before its first look.
        classes: What the rows that certified the release say of each class; empty where it has none.
        reports: What the devices did with the task since they started, each or all together.
        pool: Policies of its cheaper teachers, oldest first.
        spent: What the fleet has spent of its limits.
        now: Unix time in seconds.
    """

    task: Task
    state: TaskState
    override: Override
    manifest: Manifest | None
    fallen: str
    judged_by: str
    figures: Figures | None
    classes: tuple[ClassFigures, ...] = ()
    reports: tuple[TaskReport, ...] = ()
    pool: tuple[StoredPolicy, ...] = ()
    spent: Spent = field(default_factory=Spent)
    now: float = 0.0
