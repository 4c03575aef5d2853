"""What is told of one task's promise, as values; ``docs/cluster.md`` says what they mean.

A figure that is not known is ``None``. Shares lie in [0, 1], times are Unix seconds.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from cloud_worker.reports.promise.limits import LimitsTold
from cloud_worker.reports.promise.pool import PoolTold
from router.core.domain.task import Mode
from router.core.monitoring.drift import Comparison
from router.core.statistics.intervals import Interval


class PromiseState(StrEnum):
    """How far a promise holds."""

    NO_STUDENT = "no_student"
    PROVEN = "proven"
    BLIND = "blind"
    UNPROVEN = "unproven"
    ALARMED = "alarmed"
    ESCALATING = "escalating"


@dataclass(frozen=True, slots=True)
class Proof:
    """The certificate of the release that serves.

    Attributes:
        rows: Observed, or missed.
        losses: Of them.
        weight: How many independent drawn rows they are worth.
        distinct: How many different texts they ask; ``None`` where it was not noted.
        allowance: Largest loss that they speak against, in (0, 1).
        attempt: Which of its lineage, from 1.
        first_asked_at: Unix time in seconds of the first row.
        last_asked_at: Unix time in seconds of the last row.
    """

    rows: int
    losses: int
    weight: float
    distinct: int | None
    allowance: float
    attempt: int
    first_asked_at: float
    last_asked_at: float


@dataclass(frozen=True, slots=True)
class ClassLoss:
    """What the rows that certified say of one label."""

    label: str
    rows: int
    kept: float
    losses: int
    loss: float
    loss_low: float
    loss_high: float


@dataclass(frozen=True, slots=True)
class Suspected:
    """Since which Unix time in seconds everything is explored, and how many rows without suspicion end that."""

    since: float
    rows_left: int


@dataclass(frozen=True, slots=True)
class Used:
    """The loss of the release that serves, and the share of the allowance that it is, where there is one."""

    release: int
    rows: int
    losses: int
    loss: float | None
    loss_low: float
    loss_high: float
    of_allowance: float | None
    of_allowance_low: float | None
    of_allowance_high: float | None
    evidence_of_break: float
    suspected: Suspected | None


@dataclass(frozen=True, slots=True)
class MissingRows:
    """The rows that the next fit waits for; ``queries`` only where every query gives a row."""

    release: None
    have: int
    expected: int
    rows: int
    queries: int | None


@dataclass(frozen=True, slots=True)
class MissingProof:
    """What a certificate waits for, in drawn rows; ``queries`` only while rows count at the rate in force."""

    release: int
    looked_at: int
    have: int
    losses: int
    expected: int | None
    patience: int
    rate: float
    rows: int | None
    queries: int | None


@dataclass(frozen=True, slots=True)
class Found:
    """When the watch finds a loss of ``ratio`` times the promise; see ``detection_delay``."""

    ratio: float
    rows: int
    queries: float | None
    least_rows: int


@dataclass(frozen=True, slots=True)
class Covered:
    """What devices did since each one's start."""

    answered: int
    covered: int
    degraded: int
    share: float | None


@dataclass(frozen=True, slots=True)
class Saved:
    """How many queries asked the reference, for whatever reason, since each device's start.

    Attributes:
        answered: Queries that got an answer.
        asked: Of them, those that a device sent on, before its answer or, where it was drawn for that, behind it.
        share: Of ``answered`` that were not asked: the net saving.
    """

    answered: int
    asked: int
    share: float | None


@dataclass(frozen=True, slots=True)
class Hour:
    """Explored rows of the last hour, and those that should have come."""

    rows: int
    planned: float
    blind: bool


@dataclass(frozen=True, slots=True)
class Inputs:
    """The last look at the inputs."""

    window_rows: int
    windows: int
    chance_of_a_false_warning: float
    comparisons: tuple[Comparison, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Bin:
    """A ``share`` of the rows, the score that they had, and the agreement that came true."""

    share: float
    said: float
    was: float


@dataclass(frozen=True, slots=True)
class Believed:
    """How far the scores of the release that serves can be believed, on its calibrating rows.

    The error is that of scores fitted without the row; the bins are those of the score as it serves.
    """

    error: float
    taught_rows: int
    bins: tuple[Bin, ...]


@dataclass(frozen=True, slots=True)
class WouldStay:
    """What would have stayed while the operator observes, and what that would have saved."""

    release: int
    since: float
    rows: int
    kept: Interval
    disagreement: Interval
    disagreement_by_devices: float
    saved_usd: float
    saved_seconds: float
    saved_tokens: float


@dataclass(frozen=True, slots=True)
class Ordered:
    """The operator override."""

    mode: Mode
    frozen: bool
    pinned: int | None
    forced: bool


@dataclass(frozen=True, slots=True)
class Promise:
    """The promise of one task."""

    max_disagreement: float
    max_escalation: float | None
    escalation: float | None
    bends: str
    assurance: float
    reference: str
    judged_by: str
    state: PromiseState
    why: str
    as_of: float | None
    certificate: Proof | None
    classes: tuple[ClassLoss, ...]
    used: Used | None
    missing: MissingRows | MissingProof | None
    exploration: float
    delays: tuple[Found, ...]
    covered: Covered
    saved: Saved
    hour: Hour
    inputs: Inputs | None
    calibration: Believed | None
    limits: LimitsTold | None
    pool: PoolTold | None
    observed: WouldStay | None
    hand: Ordered

    def as_json(self) -> dict[str, Any]:
        """Ready for JSON; what is missing says what it is ``for``."""
        said = asdict(self)
        if self.missing is not None:
            aim = "certificate" if isinstance(self.missing, MissingProof) else "fit"
            said["missing"] = {"for": aim, **said["missing"]}
        return said
