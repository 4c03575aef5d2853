"""Rows of the fleet's database as values: of a task, a device, a release."""

from __future__ import annotations

from dataclasses import dataclass

from cloud_worker.state.states import Phase, ReleaseState
from router.core.certification.class_gate import ClassFigures
from router.core.domain.task import Mode
from router.core.release.orders import Watch
from router.core.release.reports import DeviceReport
from router.core.statistics.dependence import Dependence
from router.core.statistics.threshold_planning import Point


@dataclass(frozen=True, slots=True)
class TaskState:
    """Where a task stands; ``phase_progress`` goes from 0 to 1."""

    name: str
    version: int
    mode: Mode
    exploration: float
    champion: int
    manifest_sha256: str
    phase: Phase
    phase_note: str
    phase_progress: float
    attempt: int
    rows_seen: int
    rows_at_refresh: int
    refreshed_at: float
    log_version_seen: int
    watch: Watch
    updated_at: float


@dataclass(frozen=True, slots=True)
class Device:
    """A device as the cloud knows it; times are Unix seconds."""

    id: str
    seed: bytes
    first_seen: float
    last_seen: float
    report: DeviceReport | None


@dataclass(frozen=True, slots=True)
class ReleaseRow:
    """A release, and what was noted of it.

    Attributes:
        task: Its task.
        number: Its number, which no other release of the task ever has.
        state: Where it stands.
        manifest_sha256: Of its manifest, in hex; empty before that is written.
        created_at: Unix time in seconds.
        reason: Why it was rejected, or has no student; else empty.
        remark: What its fit says of itself, for people; may be empty.
        rate: Lowest exploration rate whose rows may certify it, in (0, 1]; ``None`` before it waits.
        patience: Most rows that its trial may observe, as many as they are worth of drawn ones.
        points: Thresholds that its trial is to prove, strict to loose.
        attempt: Which of its lineage that trial is, from 1.
        freeze: Last batch of the log that its student may have learned from, or that came before an alarm.
        earliest: Unix time in seconds: rows asked before it say nothing of it; ``None`` for no such time.
        dependence: How rows depended on each other before its trial.
        local_share: Share of queries that it was expected to keep when it was certified, in [0, 1].
        classes: What the rows that certified it say of each class.
        back_to: Number of the former release whose content it brings back.
        fallen: Why its certificate does not stand any more; empty while it does.
        alarmed: Its watch has alarmed.
        lost: What its watch had seen was lost with the fleet's database.
    """

    task: str
    number: int
    state: ReleaseState
    manifest_sha256: str
    created_at: float
    reason: str = ""
    remark: str = ""
    rate: float | None = None
    patience: float | None = None
    points: tuple[Point, ...] = ()
    attempt: int | None = None
    freeze: int | None = None
    earliest: float | None = None
    dependence: tuple[Dependence, ...] = ()
    local_share: float | None = None
    classes: tuple[ClassFigures, ...] = ()
    back_to: int | None = None
    fallen: str = ""
    alarmed: bool = False
    lost: bool = False
