"""A task: one kind of question, its judge, and what the operator asks of it.

Written in ``cloud.toml``, published to devices inside every release.

Rules:
 * A new judge, label meaning or reference teacher is a new ``version``, and a new lineage.
 * A new label is not: its queries escalate until a student knows it.
 * The operator states an objective; no one sets a threshold.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from router.core.domain.agreement import JUDGES
from router.core.domain.query import GenerationLimits
from router.core.ranges import check_range, shortened


class Kind(StrEnum):
    """What an answer is: one label of a set, or a text."""

    LABEL = "label"
    TEXT = "text"


class Judge(StrEnum):
    """How two answers are compared; see ``agreement``, and ``model_judge`` for a model as judge."""

    LABEL = "label"
    NORMALISED_TEXT = "normalised_text"
    NUMBER = "number"
    STRUCTURE = "structure"
    TOOL_CALL = "tool_call"
    VERDICT = "verdict"


class StudentKind(StrEnum):
    """What a student is; the first two label, the others write."""

    COMPACT = "compact"  # a small model of words, trained whole
    ENCODER_HEAD = "encoder-head"  # a head on a sentence encoder
    GENERATOR = "generator"  # a language model whose weights are shipped
    SERVED = "served"  # one that a server beside the device serves


LABEL_STUDENTS = (StudentKind.COMPACT, StudentKind.ENCODER_HEAD)
WRITING_STUDENTS = (StudentKind.GENERATOR, StudentKind.SERVED)


class Mode(StrEnum):
    """The operator override: serve by the policy, ask the cloud always and record, or escalate everything."""

    SERVE = "serve"
    OBSERVE = "observe"
    ESCALATE_ALL = "escalate_all"


class Way(StrEnum):
    """How cheaper teachers are used; see ``router.core.policy.pool_routing``."""

    CASCADE = "cascade"  # answer, look, go on
    ROUTING = "routing"  # choose from the query before answering
    BOTH = "both"


MOST_TEXT_BYTES = 2**30
MOST_TENANT_BYTES = 256
NO_FLOOR = 0.99  # of disagreement: from here on nothing is promised
_UNSAID = -1.0


@dataclass(frozen=True, slots=True)
class Objective:
    """What the operator asks for: a floor, a share of escalations, or both. Of both, the floor wins.

    Attributes:
        max_disagreement: Largest share of covered queries whose answer may differ from the reference's, in (0, 1). Left
            out it is 0.02, or ``NO_FLOOR`` beside ``max_escalation``.
        max_escalation: Largest share of covered queries that may leave the device, explored ones included, in (0, 1).
        assurance: Probability, over all refreshes together, that no certified release breaks it, in (0, 1).
        min_accuracy: Least share of covered queries whose answer is to be right, in (0, 1), proved on gold labels
            alone; ``None`` promises agreement only.
    """

    max_disagreement: float = _UNSAID
    assurance: float = 0.95
    min_accuracy: float | None = None
    max_escalation: float | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.max_disagreement == _UNSAID:
            default = 0.02 if self.max_escalation is None else NO_FLOOR
            object.__setattr__(self, "max_disagreement", default)
        for name in ("max_disagreement", "assurance", "min_accuracy", "max_escalation"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                raise ValueError(f"{name} is {value}; use a number between 0 and 1, both left out")

    @property
    def has_floor(self) -> bool:
        """Whether a disagreement is promised."""
        return self.max_disagreement < NO_FLOOR


@dataclass(frozen=True, slots=True)
class Limits:
    """What may never be exceeded from the first student on; ``None`` for no limit. Days are those of UTC.

    Attributes:
        queries_per_minute: That one device may send, in any minute.
        queries_per_day: That the fleet may send.
        usd_per_day: That the fleet's queries may cost.
    """

    queries_per_minute: int | None = None
    queries_per_day: int | None = None
    usd_per_day: float | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("queries_per_minute", "queries_per_day", "usd_per_day"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise ValueError(f"{name} is {value}; use 0 or more, or leave it out for no limit")

    @property
    def of_fleet(self) -> bool:
        """Whether the fleet as a whole is limited."""
        return self.queries_per_day is not None or self.usd_per_day is not None


@dataclass(frozen=True, slots=True)
class Exploration:
    """Shares of queries drawn for the reference, each in [0, 1].

    Attributes:
        cold: Without a student.
        floor: While a certified student serves and nothing waits.
        waiting: While a challenger waits for its certificate.
    """

    cold: float = 1.0
    floor: float = 0.0075
    waiting: float = 0.25

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("cold", "floor", "waiting"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}; use a share from 0 to 1")


@dataclass(frozen=True, slots=True)
class Cheaper:
    """Teachers of the pool that stand before the reference, in the order in which they are asked.

    Attributes:
        teachers: Their names; empty for the reference alone.
        way: How they are used.
        share: Of the allowance, and of what the assurance leaves, that their answers may use up, in (0, 1); the
            devices' answers have the rest. Without such teachers the devices have all of it.
        seconds: Longest wait for one of their answers before the next teacher is asked, > 0.
    """

    teachers: tuple[str, ...] = ()
    way: Way = Way.BOTH
    share: float = 0.3
    seconds: float = 5.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0 < self.share < 1:
            raise ValueError(f"share is {self.share}; use a number between 0 and 1, both left out")
        if not 0 < self.seconds < math.inf:
            raise ValueError(f"seconds is {self.seconds}; use more than 0")
        twice = sorted({name for name in self.teachers if self.teachers.count(name) > 1})
        if twice:
            raise ValueError(f"teachers names {', '.join(twice)} twice")


MOST_REDACTORS, MOST_TENANTS = 64, 1000
_PLAIN_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")


@dataclass(frozen=True, slots=True)
class Privacy:
    """What devices and gateways hide of a task's queries, and of whom nothing leaves a device.

    Attributes:
        redact: Names of the redactors through which every text goes before anything is stored or sent: ours are in
            ``router.core.privacy.redaction``.
        local_only_tenants: Tenants whose queries never leave the device.
    """

    redact: tuple[str, ...] = ()
    local_only_tenants: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check names and counts."""
        if len(self.redact) > MOST_REDACTORS or len(self.local_only_tenants) > MOST_TENANTS:
            raise ValueError(f"privacy names too much; {MOST_REDACTORS} redactors, {MOST_TENANTS} tenants at most")
        for name in self.redact:
            if not _PLAIN_NAME.fullmatch(name):
                raise ValueError(f"redact has {shortened(name)}; use names such as mail, of 32 small letters at most")
        for tenant in self.local_only_tenants:
            if not 0 < len(tenant.encode(errors="replace")) <= MOST_TENANT_BYTES:
                raise ValueError(f"local_only_tenants has a name that is empty, or of over {MOST_TENANT_BYTES} bytes")


@dataclass(frozen=True, slots=True)
class Task:
    """One kind of question.

    Attributes:
        name: Unique in a cluster.
        version: Counts new judges, label meanings and references.
        kind: Label or text.
        judge: How answers are compared.
        reference: Name of the teacher whose answer is "what the cloud would have said".
        cheaper: Teachers before it.
        student: Kind of its students: ``compact``, ``encoder-head``, ``generator`` or ``served``.
        recipe: How a student that writes is taught; empty takes ``responses``.
        options: Of the recipe.
        prompt: Template around the query, as its students read it.
        base: Model that such a student starts from: a name or a folder.
        limits: Of generated answers, where the query names none.
        labels: The labels known beforehand; may be empty and may grow.
        objective: What the operator states.
        budget: What may never be exceeded.
        exploration: How much is drawn for the reference.
        log_by_default: Log answers whose caller said nothing about consent.
        local_only: Queries never leave the device.
        max_text_bytes: Longest input in bytes of UTF-8, redacted.
        privacy: What is hidden of its queries.
    """

    name: str
    reference: str
    version: int = 1
    kind: Kind = Kind.LABEL
    judge: Judge = Judge.LABEL
    student: str = StudentKind.COMPACT
    recipe: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    prompt: str = "{text}"
    base: str = ""
    limits: GenerationLimits = GenerationLimits()
    labels: tuple[str, ...] = ()
    cheaper: Cheaper = Cheaper()
    objective: Objective = Objective()
    budget: Limits = Limits()
    exploration: Exploration = Exploration()
    log_by_default: bool = True
    local_only: bool = False
    max_text_bytes: int = 4096
    privacy: Privacy = Privacy()

    def __post_init__(self) -> None:
        """Check the ranges, and what one key alone can't show."""
        check_range("version", self.version, 0)
        check_range("max_text_bytes", self.max_text_bytes, 1, MOST_TEXT_BYTES)
        most = self.objective.max_escalation
        if most is not None and self.exploration.floor >= most:
            problem = f"is {most}, but {self.exploration.floor:g} of the queries are explored already"
            raise ValueError(f"max_escalation {problem}; raise it, or lower exploration.floor")
        if self.reference in self.cheaper.teachers:
            raise ValueError(f"cheaper.teachers names {self.reference!r}, which is the reference; leave it out")
        if self.cheaper.teachers and not self.objective.has_floor:
            raise ValueError("cheaper.teachers needs objective.max_disagreement: without a floor nothing holds them")

    @property
    def may_leave_unread(self) -> bool:
        """Whether a device that has no release of it yet, and knows nothing of its privacy, may send its queries."""
        return not self.local_only and self.privacy == Privacy()

    @property
    def at_device(self) -> Objective:
        """What the devices' answers alone may use up of the objective."""
        return self._part(1.0 - self.cheaper.share) if self.cheaper.teachers else self.objective

    @property
    def at_pool(self) -> Objective:
        """What the cheaper teachers' answers alone may use up of the objective."""
        return self._part(self.cheaper.share)

    def _part(self, share: float) -> Objective:
        """A part of the allowance, proved with the same part of what the assurance leaves: together they hold it."""
        objective = self.objective
        allowance = objective.max_disagreement * share if objective.has_floor else objective.max_disagreement
        return replace(objective, max_disagreement=allowance, assurance=1.0 - (1.0 - objective.assurance) * share)


# A model judges in the cloud alone; where it can't be asked, its stand-in counts.
FALLBACK = {Judge.VERDICT: Judge.NORMALISED_TEXT}


def agree(judge: Judge, answer: str, reference: str) -> bool:
    """Whether the judge says that two answers are the same.

    Args:
        judge: Which rule.
        answer: A student's or teacher's answer.
        reference: The reference's answer.
    """
    return JUDGES[FALLBACK.get(judge, judge)](answer, reference)
