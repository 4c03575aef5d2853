"""What a device reports of itself and of what it did.

Counters grow from the device's start and never shrink while it runs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from router.core.privacy.erasure import Erased

DEVICE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
MOST_NAME_CHARACTERS = 64


def is_device_name(name: str) -> bool:
    """Whether a device may have this name: letters, digits, ``.``, ``_`` and ``-``, up to 64."""
    return len(name) <= MOST_NAME_CHARACTERS and re.fullmatch(DEVICE_NAME, name) is not None


@dataclass(frozen=True, slots=True)
class TaskReport:
    """What one device did with one task since it started.

    Attributes:
        task: The task.
        active_release: Serving now, 0 for none.
        staged_release: In the idle slot, 0 for none.
        answered: Queries answered, for whatever reason.
        kept: Of them, by the student, degraded ones left out.
        escalated: Of them, by the next tier.
        explored: Drawn for the reference.
        degraded: Kept although they should have been deferred.
        failed: Queries that got an error.
        covered: Queries that count in the promise.
        healthy_answers: By the active release since its activation.
        explored_kept: Explored, kept, and answered by the reference since.
        explored_disagreed: Of them, those where the reference answered something else.
        p50_milliseconds: Median time to answer, over the last queries.
        p95_milliseconds: 95th percentile of it.
        exploration: Rate in force, in [0, 1].
        threshold_version: Version of the policy in force.
        refused: Releases refused, each with its reason.
        model: File of the model that runs, empty without one.
        float32_because: Why that is the release's float32 file; empty where it is not.
    """

    task: str
    active_release: int = 0
    staged_release: int = 0
    answered: int = 0
    kept: int = 0
    escalated: int = 0
    explored: int = 0
    degraded: int = 0
    failed: int = 0
    covered: int = 0
    healthy_answers: int = 0
    explored_kept: int = 0
    explored_disagreed: int = 0
    p50_milliseconds: float = 0.0
    p95_milliseconds: float = 0.0
    exploration: float = 0.0
    threshold_version: int = 0
    refused: tuple[tuple[int, str], ...] = ()
    model: str = ""
    float32_because: str = ""


@dataclass(frozen=True, slots=True)
class DeviceReport:
    """What one device says of itself.

    ``state`` is ``ok`` or names what hinders it. ``life`` names the
    incarnation of the agent: random, drawn at each start; older agents have none.
    ``outbox_dropped_because`` counts ``outbox_dropped`` by why. ``erased`` is what it has erased since its last report
    that was heard.
    """

    device: str
    agent_version: str = ""
    platform: str = ""
    processor: str = ""
    memory_bytes: int = 0
    formats: tuple[str, ...] = ()
    tasks: tuple[TaskReport, ...] = ()
    outbox_pending: int = 0
    outbox_dropped: int = 0
    free_disk_bytes: float = 0.0
    state: str = "ok"
    life: str = ""
    erased: tuple[Erased, ...] = ()
    outbox_dropped_because: tuple[tuple[str, int], ...] = ()
