"""What a device is told to run: it does what the last order that it heard names, and without one goes on as it is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from router.core.domain.task import Mode
from router.core.privacy.erasure import Erasure

COUNTS_MEMORY = 1  # contract from which on a cloud counts what devices answered from memory against the promise
CONTRACT = COUNTS_MEMORY  # that this version speaks


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
