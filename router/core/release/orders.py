"""What a device reports, and what it is told to run.

Rules:
 * A device runs what the last order that it heard names; without one it goes on as it is.
 * Counters grow from the device's start and never shrink while it runs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from router.core.domain.task import Mode
from router.core.privacy.erasure import Erased, Erasure

DEVICE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
MOST_NAME_CHARACTERS = 64
COUNTS_MEMORY = 1  # contract from which on a cloud counts what devices answered from memory against the promise
CONTRACT = COUNTS_MEMORY  # that this version speaks


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


class Watch(StrEnum):
    """What the watch over the release that serves says."""

    QUIET = "quiet"
    BLIND = "blind"  # too few explored rows come to see a break
    ALARMED = "alarmed"  # it may keep nothing: it broke its promise, or its certificate does not stand
    UNPROVEN = "unproven"  # it has no certificate that stands, and serves because an operator orders it


@dataclass(frozen=True, slots=True)
class Order:
    """What a device shall do with one task.

    Attributes:
        task: The task.
        release: To run.
        manifest_sha256: Of that release's manifest, in hex.
        exploration: Rate, in [0, 1].
        mode: The operator override.
        watch: One of ``Watch``, or what a newer cloud says.
        threshold: Overrides the release's own where present, in [0, 1].
        threshold_version: Of the policy in force.
        queries_per_minute: Most that the device may send, ``None`` for no limit.
        queries_per_day: Its share of what the fleet may send, ``None`` for no limit; 0 once the fleet's is spent.
        may_leave: A device that has no release of the task yet may ask the cloud; never of a task that is local only.
    """

    task: str
    release: int
    manifest_sha256: str
    exploration: float
    mode: Mode = Mode.SERVE
    watch: str = Watch.UNPROVEN
    threshold: float | None = None
    threshold_version: int = 0
    queries_per_minute: int | None = None
    queries_per_day: int | None = None
    may_leave: bool = False

    @property
    def is_withdrawn(self) -> bool:
        """Whether the cloud has no such task any more: it names no manifest, and the device serves it no longer."""
        return not self.manifest_sha256


@dataclass(frozen=True, slots=True)
class Orders:
    """The answer to a report: orders, seconds until the next report, and the device's seed where it has none.

    ``now`` is the cloud's Unix time in seconds, 0 where it does not say.
    ``erasures`` are what the device is to erase of what it holds.
    ``contract`` grows with what the cloud knows of; 0 from one that does not say.
    """

    tasks: tuple[Order, ...] = ()
    interval_seconds: float = 10.0
    seed: bytes = b""
    message: str = ""
    now: float = 0.0
    erasures: tuple[Erasure, ...] = ()
    contract: int = 0
