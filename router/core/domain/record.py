"""What a log record is, which records teach, which may certify, and which stay out.

Rules:
 * A record's key is (caller, query id, teacher version); it stands in the log exactly once.
 * A fixed share of explored records is set aside for certifying, by a hash of the query id alone.
 * A record may certify only if it was explored by a verified draw at the first tier, covered and not degraded.
 * Nothing that certifies a release has trained, calibrated or chosen anything in it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum

SET_ASIDE_SHARE = 0.2


class Source(StrEnum):
    """How a record came to the log."""

    ESCALATED = "escalated"  # deferred by a device, answered by the teacher
    TAUGHT = "taught"  # kept by a device, sent up for teaching (explored, or degraded)
    DIRECT = "direct"  # asked of the cloud without a device
    IMPORTED = "imported"


@dataclass(frozen=True, slots=True)
class Tried:
    """What a cheaper teacher said of a query, whether or not its answer was taken.

    Attributes:
        teacher: Its name.
        version: Its version, empty where it failed.
        answer: Its answer.
        log_confidence: Natural logarithm of how sure it was, <= 0; ``None`` where it can't say.
        usd: Its price.
        milliseconds: Its time.
        failed: It gave no answer in time.
    """

    teacher: str
    version: str = ""
    answer: str = ""
    log_confidence: float | None = None
    usd: float = 0.0
    milliseconds: float = 0.0
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """One row of the distillation log.

    Attributes:
        caller: The authenticated device or client.
        query_id: Unique for its caller.
        teacher: Name of the teacher that answered.
        teacher_version: Its version: model, revision, prompt and sampling.
        task: The task.
        task_version: The task's version.
        asked_at: Unix time in seconds at the first tier.
        received_at: Unix time in seconds at the gateway.
        text: What was asked, after preprocessing; of a chat, its transcript.
        chat: The conversation as JSON, where it was one; see ``router.core.domain.chat``.
        answer: The teacher's answer.
        is_reference: The teacher is the task's reference.
        source: How it came.
        labels: The likeliest labels, highest first.
        log_probabilities: Their natural log-probabilities, same length.
        tail_log_probability: log(1 - sum of the others), ``None`` when none is left out.
        rationale: The teacher's reason, if it was asked for.
        tenant: As the caller said.
        subject: Opaque name of the person concerned, as the caller said.
        conversation: As the caller said.
        release: The release at the first tier, 0 for none.
        local_answer: The student's answer, ``None`` without a student.
        local_score: The student's score in [0, 1].
        kept: The user got the student's answer.
        degraded: It was kept although it should have been deferred.
        covered: Counts in the promise.
        explored: Drawn for the reference, as recomputed by the cloud.
        propensity: The chance that the reference was asked, in (0, 1]: 1 if it had to be, else the exploration rate:
            where the device kept its answer, or a cheaper teacher's would have stood.
        exploration: The exploration rate in force, in [0, 1].
        threshold: Least score kept, as in force at the first tier.
        tokens_in: Tokens that the teacher read.
        tokens_out: Tokens that the teacher wrote.
        milliseconds: The teacher's time.
        usd: The teacher's price.
        tokens: What was written, a reason included, with the likeliest alternatives and their tail, as
            ``router.core.domain.token_codec`` packs them; empty where none were asked for.
        problem: Why the answer is no lesson, such as a reason that can't be read; empty where it is one.
        tried: What the task's cheaper teachers said, in the order in which they stand before the reference.
        sequence_number: Of the last drawn query of the task that the first tier kept, this one included; 0 for none.
    """

    caller: str
    query_id: str
    teacher: str
    teacher_version: str
    task: str
    task_version: int
    asked_at: float
    received_at: float
    text: str
    answer: str
    is_reference: bool = True
    source: Source = Source.ESCALATED
    labels: tuple[str, ...] = ()
    log_probabilities: tuple[float, ...] = ()
    tail_log_probability: float | None = None
    rationale: str = ""
    tenant: str = ""
    subject: str = ""
    conversation: str = ""
    release: int = 0
    local_answer: str | None = None
    local_score: float | None = None
    kept: bool = False
    degraded: bool = False
    covered: bool = True
    explored: bool = False
    propensity: float = 1.0
    exploration: float = 0.0
    threshold: float | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    milliseconds: float = 0.0
    usd: float = 0.0
    chat: str = ""
    tokens: bytes = b""
    problem: str = ""
    tried: tuple[Tried, ...] = ()
    sequence_number: int = 0

    # Of who writes it as JSON, and reads it again; log(0) is a figure.
    __pydantic_config__ = {"val_json_bytes": "base64", "ser_json_bytes": "base64", "ser_json_inf_nan": "constants"}  # noqa: RUF012

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes it the same record."""
        return (self.caller, self.query_id, self.teacher_version)


def is_set_aside(caller: str, query_id: str, share: float = SET_ASIDE_SHARE) -> bool:
    """Whether an explored record is kept out of teaching, to certify.

    Args:
        caller: The record's caller.
        query_id: Its query id.
        share: How many of them, in [0, 1].
    """
    return unit_interval("set-aside", caller, query_id) < share


def may_certify(record: Record) -> bool:
    """Whether a record speaks of the promise: explored by draw, covered, not degraded, from the reference."""
    return (
        record.explored
        and record.covered
        and not record.degraded
        and record.is_reference
        and record.source in (Source.ESCALATED, Source.TAUGHT)
    )


def had_to_be_asked(record: Record) -> bool:
    """Whether a record speaks of the promise without a draw: its device could not answer, and the reference had to."""
    asked = not record.kept and record.propensity == 1.0 and record.local_answer is not None
    return (
        asked and record.covered and not record.degraded and record.is_reference and record.source is Source.ESCALATED
    )


def is_remembered(record: Record) -> bool:
    """Whether the user got what the reference had answered before: a kept answer that no student has scored."""
    has_no_student = record.local_answer is not None and record.local_score is None
    return record.kept and not record.degraded and has_no_student


def may_teach(record: Record) -> bool:
    """Whether a record may train a student: a reference's answer with nothing wrong in it, and not set aside."""
    held_back = may_certify(record) and is_set_aside(record.caller, record.query_id)
    return record.is_reference and bool(record.answer) and not record.problem and not held_back


def unit_interval(purpose: str, *parts: str) -> float:
    """A number in [0, 1) that depends on the words alone; another ``purpose`` gives an independent one."""
    text = "\x1f".join((purpose, *parts)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") / 2**64
