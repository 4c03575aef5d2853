"""A policy of a pool of teachers as it is kept: where it stands, what was proved of it, and whether that still holds.

Rules:
 * A policy speaks of one version of the reference: another one unmakes it.
 * It serves only while its certificate speaks for the task as it is configured: its teachers, reference and judge, its
   part of the promise and of the assurance. What falls with a stricter objective stands again when that is taken back.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cloud_worker.pool.word_features import WordHead
from router.core.domain.task import Task
from router.core.policy.pool_routing import PoolPolicy
from router.core.privacy.read_version import is_read_by
from router.core.statistics.e_process import attempt_alpha

_ROUNDING = 1e-12


class PolicyState(StrEnum):
    """Where a policy stands."""

    WAITING = "waiting"  # for its certificate
    SERVING = "serving"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"  # it served, and broke its promise or lost its ground
    RETIRED = "retired"  # a better one serves


@dataclass(frozen=True, slots=True)
class PoolFigures:
    """What the explored rows say of a policy.

    Attributes:
        rows: Observed: to certify it, or since it serves.
        losses: Of them, those where a cheaper teacher's answer stood, or would have, and differs from the reference's.
        stood: Share of what leaves the devices that a cheaper teacher answers, in [0, 1].
        saved: Share of the reference's cost of what leaves the devices that is saved, at most 1.
    """

    rows: int = 0
    losses: int = 0
    stood: float = 0.0
    saved: float = 0.0


@dataclass(frozen=True, slots=True)
class Proved:
    """What a policy's certificate is for.

    Attributes:
        allowance: Largest loss that it speaks against, in (0, 1).
        alpha: Chance of a false certificate that it spends, in (0, 1).
        reference: Name of the reference that it agrees with.
        judge: Name of the rule that says so.
    """

    allowance: float
    alpha: float
    reference: str
    judge: str

    @classmethod
    def of(cls, task: Task, number: int) -> Proved:
        """What policy ``number`` has to prove for a task as it is now."""
        part = task.at_pool
        return cls(part.max_disagreement, attempt_alpha(part.assurance, number), task.reference, task.judge.value)


@dataclass(frozen=True, slots=True)
class StoredPolicy:
    """A policy of a task's pool.

    Attributes:
        task: Its task.
        version: The task's version.
        number: Its own, from 1; the attempt of the task's lineage that it spends.
        reference_version: Of the reference that it agrees with.
        state: Where it stands.
        policy: What it does.
        words: A head for each of its teachers.
        rate: Lowest exploration rate whose rows may certify it, in (0, 1].
        patience: Most rows that it may observe.
        rows: That it was fitted on.
        freeze: Last batch of the log that it may have learned from.
        served_after: Last batch of the log when it began to serve.
        created_at: Unix time in seconds.
        note: Why it stands there.
        figures: What the rows said last.
        proved: What its certificate is for; ``None`` in an old one, which did not note it, and proves nothing.
    """

    task: str
    version: int
    number: int
    reference_version: str
    state: PolicyState
    policy: PoolPolicy
    words: tuple[WordHead, ...]
    rate: float
    patience: int
    rows: int
    freeze: int
    served_after: int
    created_at: float
    note: str = ""
    figures: PoolFigures = PoolFigures()
    proved: Proved | None = None

    def why_fallen(self, task: Task) -> str:
        """Why its certificate does not speak for a task as it is now; empty when it does."""
        if self.proved is None:
            return "what it was certified for is not known"
        part, gone = task.at_pool, {tier.teacher for tier in self.policy.tiers} - {*task.cheaper.teachers}
        if gone:
            return f"teacher {min(gone)} does not stand before the reference any more"
        if self.proved.reference != task.reference:
            return f"its reference was {self.proved.reference}, and is {task.reference}"
        if self.proved.judge != task.judge.value:
            return f"it was judged by {self.proved.judge}, and the judge is {task.judge.value}"
        if not is_read_by(self.reference_version, task.privacy.redact):
            return "it was certified on texts that were redacted otherwise than the task's are now"
        if self.proved.allowance > part.max_disagreement + _ROUNDING:
            return f"it was certified for {self.proved.allowance:.2%}, and {part.max_disagreement:.2%} is its part"
        if self.proved.alpha > attempt_alpha(part.assurance, self.number) + _ROUNDING:
            return "its assurance is below its part of what is promised"
        return ""
