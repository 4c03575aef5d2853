"""How large every field of every message may be: one table, for requests and for what comes back.

``limit_checks.py`` holds messages against it; ``docs/limits.md`` shows it. A test asks the contract for its fields,
so that none can be left out.

Rules:
 * Every field has its limit here: a length, a count, a range, or the reason why it needs none.
 * A whole number that reaches a database fits a signed 64-bit column.
 * What a caller says and the attempt that an agent adds to it fit one message together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from router.core.domain.query import (
    MAX_QUERY_ID_BYTES,
    MAX_STOP_BYTES,
    MAX_STOPS,
    MAX_TEXT_BYTES,
    MAX_TOKENS,
    MAX_TOP_K,
)

MAX_REQUEST_BYTES: Final = 1024 * 1024  # of one request, the attempt left out
MAX_ATTEMPT_BYTES: Final = 1024 * 1024
MAX_DEVICE_BYTES: Final = 64
MAX_NAME_BYTES: Final = 256
MAX_VERSION_BYTES: Final = 1024  # of what answered
MAX_TASK_BYTES: Final = 128
MAX_LABEL_BYTES: Final = 4 * 1024
MAX_ANSWER_BYTES: Final = 512 * 1024  # 16 for each of the most tokens
MAX_SCHEMA_BYTES: Final = 64 * 1024
MAX_REASON_BYTES: Final = 1024
MAX_ALTERNATIVES: Final = 131_072  # of all tokens of one answer together
MAX_REFUSED: Final = 64
MOST_THRESHOLD: Final = 1e6  # 1 and above defers everything
MAX_RELEASE: Final = 10**9
MAX_COUNT: Final = 10**15  # a million years at 30 a second
MAX_INT64: Final = 2**63 - 1
_MAX_SECONDS: Final = 253_402_300_799.0  # the last second of the year 9999
_KIB: Final = 1024


class Characters(Enum):
    """Which characters a text may hold; the value says it in words."""

    PLAIN = "no control characters"
    NO_NUL = "no NUL"
    ANY = "any characters"


@dataclass(frozen=True, slots=True)
class Text:
    """A text of at most ``most`` bytes in UTF-8."""

    most: int
    characters: Characters = Characters.PLAIN


@dataclass(frozen=True, slots=True)
class Bytes:
    """A limit of ``most`` bytes."""

    most: int


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number from ``least`` to ``most``."""

    most: int
    least: int = 0


@dataclass(frozen=True, slots=True)
class Real:
    """A finite number from ``least`` to ``most``."""

    most: float
    least: float = 0.0


@dataclass(frozen=True, slots=True)
class LogProbability:
    """A natural log-probability: 0 or less, minus infinity included."""


@dataclass(frozen=True, slots=True)
class Inner:
    """A message with limits of its own, of at most ``most`` bytes where that is given."""

    most: int | None = None


@dataclass(frozen=True, slots=True)
class Free:
    """Needs no limit: ``why``."""

    why: str


Single = Text | Bytes | Whole | Real | LogProbability | Inner | Free


@dataclass(frozen=True, slots=True)
class Many:
    """A limit of ``most`` parts, of ``each`` kind."""

    most: int
    each: Single


Limit = Single | Many

_FLAG = Free("true or false")
_CHOICE = Free("an unknown number reads as the default")
_ASKED_FOR = Free("an unknown number is refused")
_ID = Text(MAX_QUERY_ID_BYTES)
_TASK = Text(MAX_TASK_BYTES)
_NAME = Text(MAX_NAME_BYTES)
_LABEL = Text(MAX_LABEL_BYTES, Characters.ANY)
_SCHEMA = Text(MAX_SCHEMA_BYTES, Characters.NO_NUL)
_WRITTEN = Text(MAX_ANSWER_BYTES, Characters.ANY)  # by a model
_RELEASE, _COUNT = Whole(MAX_RELEASE), Whole(MAX_COUNT)
_SHARE, _THRESHOLD = Real(1.0), Real(MOST_THRESHOLD)
_AMOUNT = Real(1e12)
_POSITION = Whole(MAX_INT64)  # in a file
_INNER = Inner()

_QUESTIONS: Mapping[str, Limit] = {
    "AnswerRequest.query_id": _ID,
    "AnswerRequest.task": _TASK,
    "AnswerRequest.tenant": _NAME,
    "AnswerRequest.subject": _NAME,
    "AnswerRequest.conversation": _NAME,
    "AnswerRequest.text": Text(MAX_TEXT_BYTES, Characters.NO_NUL),
    "AnswerRequest.chat": _INNER,
    "AnswerRequest.tools": Many(128, _INNER),
    "AnswerRequest.response_schema": _SCHEMA,
    "AnswerRequest.limits": _INNER,
    "AnswerRequest.route": _ASKED_FOR,
    "AnswerRequest.consent": _ASKED_FOR,
    "AnswerRequest.wanted": _INNER,
    "AnswerRequest.attempt": Inner(MAX_ATTEMPT_BYTES),
    "Messages.messages": Many(512, _INNER),
    "Message.role": Text(64),
    "Message.content": Text(MAX_TEXT_BYTES, Characters.NO_NUL),
    "Message.tool_calls": Many(32, _INNER),
    "Message.tool_call_id": _NAME,
    "Tool.name": _NAME,
    "Tool.description": Text(16 * _KIB, Characters.NO_NUL),
    "Tool.parameters_schema": _SCHEMA,
    "ToolCall.id": Text(MAX_NAME_BYTES, Characters.ANY),
    "ToolCall.name": Text(MAX_NAME_BYTES, Characters.ANY),
    "ToolCall.arguments": Text(MAX_SCHEMA_BYTES, Characters.ANY),
    "GenerationLimits.max_tokens": Whole(MAX_TOKENS),
    "GenerationLimits.temperature": Real(10.0),
    "GenerationLimits.stop": Many(MAX_STOPS, Text(MAX_STOP_BYTES, Characters.NO_NUL)),
    "GenerationLimits.seed": Whole(2**64 - 1),
    "Wanted.top_k": Whole(MAX_TOP_K),
    "Wanted.rationale": _FLAG,
    "Attempt.release": _RELEASE,
    "Attempt.answer": _WRITTEN,
    "Attempt.score": _SHARE,
    "Attempt.reason": _CHOICE,
    "Attempt.explored": _FLAG,
    "Attempt.exploration": _SHARE,
    "Attempt.kept": _FLAG,
    "Attempt.degraded": _FLAG,
    "Attempt.committed_prefix": _WRITTEN,
    "Attempt.threshold_version": _RELEASE,
    "Attempt.asked_at": Real(_MAX_SECONDS),
    "Attempt.tool_calls": Many(32, _INNER),
    "Attempt.threshold": _THRESHOLD,
    "Attempt.place": Whole(MAX_INT64),
    "FeedbackRequest.query_id": _ID,
    "FeedbackRequest.task": _TASK,
    "FeedbackRequest.verdict": _CHOICE,
    "FeedbackRequest.correction": Text(16 * _KIB, Characters.NO_NUL),
    "FeedbackRequest.comment": Text(2000, Characters.NO_NUL),
    "FeedbackRequest.attempt": Inner(MAX_ATTEMPT_BYTES),
}

_ANSWERS: Mapping[str, Limit] = {
    "AnswerResponse.query_id": _ID,
    "AnswerResponse.answer": _WRITTEN,
    "AnswerResponse.finish_reason": _CHOICE,
    "AnswerResponse.tool_calls": Many(32, _INNER),
    "AnswerResponse.confidence": _SHARE,
    "AnswerResponse.distribution": _INNER,
    "AnswerResponse.tokens": Many(2 * MAX_TOKENS, _INNER),  # a reason is written beside the answer
    "AnswerResponse.rationale": _WRITTEN,
    "AnswerResponse.provenance": _INNER,
    "AnswerResponse.usage": _INNER,
    "AnswerChunk.delta": _WRITTEN,
    "AnswerChunk.response": _INNER,
    "Distribution.top": Many(64, _INNER),
    "Distribution.tail_log_probability": LogProbability(),
    "LabelProbability.label": _LABEL,
    "LabelProbability.log_probability": LogProbability(),
    "TokenProbability.token": _LABEL,
    "TokenProbability.log_probability": LogProbability(),
    "TokenProbability.alternatives": Many(64, _INNER),
    "TokenProbability.tail_log_probability": LogProbability(),
    "Provenance.tier": _CHOICE,
    "Provenance.model": _NAME,
    "Provenance.model_version": Text(MAX_VERSION_BYTES),
    "Provenance.release": _RELEASE,
    "Provenance.reason": _CHOICE,
    "Provenance.degraded": _FLAG,
    "Provenance.covered": _FLAG,
    "Provenance.logged": _FLAG,
    "Provenance.explored": _FLAG,
    "Provenance.node": _NAME,
    "StageTime.stage": _NAME,
    "StageTime.milliseconds": _AMOUNT,
    "Usage.tokens_in": Whole(2**32 - 1),
    "Usage.tokens_out": Whole(2**32 - 1),
    "Usage.stages": Many(64, _INNER),
    "Usage.usd": _AMOUNT,
    "Usage.joules": _AMOUNT,
}

_FLEET: Mapping[str, Limit] = {
    "DeviceInfo.agent_version": _NAME,
    "DeviceInfo.platform": _NAME,
    "DeviceInfo.processor": _NAME,
    "DeviceInfo.memory_bytes": Whole(10**18),
    "DeviceInfo.formats": Many(64, Text(64)),
    "DeviceInfo.tags": Many(64, _INNER),
    "TagsEntry.key": Text(64),
    "TagsEntry.value": _NAME,
    "TaskReport.task": _TASK,
    "TaskReport.active_release": _RELEASE,
    "TaskReport.staged_release": _RELEASE,
    "TaskReport.answered": _COUNT,
    "TaskReport.kept": _COUNT,
    "TaskReport.escalated": _COUNT,
    "TaskReport.explored": _COUNT,
    "TaskReport.degraded": _COUNT,
    "TaskReport.failed": _COUNT,
    "TaskReport.healthy_answers": _COUNT,
    "TaskReport.explored_kept": _COUNT,
    "TaskReport.explored_disagreed": _COUNT,
    "TaskReport.p50_milliseconds": _AMOUNT,
    "TaskReport.p95_milliseconds": _AMOUNT,
    "TaskReport.refused": Many(MAX_REFUSED, _INNER),
    "TaskReport.exploration": _SHARE,
    "TaskReport.threshold_version": _RELEASE,
    "TaskReport.covered": _COUNT,
    "TaskReport.model": _NAME,
    "TaskReport.float32_because": Text(MAX_REASON_BYTES, Characters.NO_NUL),
    "RefusedRelease.release": _RELEASE,
    "RefusedRelease.reason": Text(MAX_REASON_BYTES, Characters.NO_NUL),
    "SyncRequest.device": Text(MAX_DEVICE_BYTES),
    "SyncRequest.info": _INNER,
    "SyncRequest.tasks": Many(1000, _INNER),
    "SyncRequest.outbox_pending": _COUNT,
    "SyncRequest.outbox_dropped": _COUNT,
    "SyncRequest.free_disk_bytes": Real(1e18),
    "SyncRequest.state": _NAME,
    "SyncRequest.life": Text(64),
    "SyncRequest.erased": Many(64, _INNER),
    "SyncRequest.dropped": Many(64, _INNER),
    "DroppedHere.why": Text(64),
    "DroppedHere.count": _COUNT,
    "ErasedHere.number": _COUNT,
    "ErasedHere.rows": _COUNT,
    "ErasedHere.numbers": Many(10_000, _INNER),
    "ErasedNumber.task": _TASK,
    "ErasedNumber.place": Whole(MAX_INT64),
    "ErasureOrder.number": _COUNT,
    "ErasureOrder.subject_sha256": Bytes(32),
    "TaskOrder.task": _TASK,
    "TaskOrder.release": _RELEASE,
    "TaskOrder.manifest_sha256": Bytes(32),
    "TaskOrder.exploration": _SHARE,
    "TaskOrder.mode": _CHOICE,
    "TaskOrder.watch": Text(64),
    "TaskOrder.threshold": _THRESHOLD,
    "TaskOrder.threshold_version": _RELEASE,
    "TaskOrder.unsettled": Many(1000, _RELEASE),
    "TaskOrder.queries_per_minute": Whole(MAX_INT64),
    "TaskOrder.queries_per_day": Whole(MAX_INT64),
    "TaskOrder.may_leave": _FLAG,
    "SyncResponse.tasks": Many(1000, _INNER),
    "SyncResponse.interval_seconds": Real(1e9),
    "SyncResponse.seed": Bytes(32),
    "SyncResponse.message": Text(MAX_REASON_BYTES, Characters.ANY),
    "SyncResponse.now": Real(1e12),
    "SyncResponse.erasures": Many(64, _INNER),
    "SyncResponse.contract": Whole(2**32 - 1),
}

_ENROLMENT: Mapping[str, Limit] = {
    "AuthoritiesResponse.authorities": Bytes(256 * _KIB),
    "EnrollRequest.token": Text(4 * _KIB),
    "EnrollRequest.certificate_request": Bytes(64 * _KIB),
    "EnrollRequest.device": Text(MAX_DEVICE_BYTES),
    "EnrollResponse.certificate": Bytes(64 * _KIB),
    "EnrollResponse.authorities": Bytes(256 * _KIB),
    "EnrollResponse.root_metadata": Bytes(256 * _KIB),
    "EnrollResponse.port": Whole(65_535),
    "RenewRequest.certificate": Bytes(64 * _KIB),
    "RenewRequest.certificate_request": Bytes(64 * _KIB),
    "RenewRequest.proof": Bytes(4 * _KIB),
    "RenewResponse.certificate": Bytes(64 * _KIB),
    "RenewResponse.authorities": Bytes(256 * _KIB),
    "RenewResponse.root_metadata": Bytes(256 * _KIB),
}

_RELEASES: Mapping[str, Limit] = {
    "FetchRequest.task": _TASK,
    "FetchRequest.release": _RELEASE,
    "FetchRequest.file": Text(255),  # what a file system takes
    "FetchRequest.offset": _POSITION,
    "FetchRequest.length": _POSITION,
    "FetchChunk.data": Bytes(1024 * _KIB),
    "FetchChunk.offset": _POSITION,
    "FetchChunk.total": _POSITION,
}

LIMITS: Final[Mapping[str, Limit]] = {**_QUESTIONS, **_ANSWERS, **_FLEET, **_ENROLMENT, **_RELEASES}


def in_words(limit: Limit) -> str:
    """A limit as the documentation says it."""
    match limit:
        case Many(most, Inner()):
            return f"at most {most:,}"
        case Many(most, each):
            return f"at most {most:,}, each {in_words(each)}"
        case Text(most, characters):
            return f"up to {most:,} bytes, {characters.value}"
        case Bytes(most):
            return f"up to {most:,} bytes"
        case Whole(most, least):
            return f"from {least:,} to {most:,}"
        case Real(most, least):
            return f"from {least:g} to {most:g}, finite"
        case LogProbability():
            return "0 or less"
        case Inner(most):
            return "as its own fields say" if most is None else f"up to {most:,} bytes"
        case Free(why):
            return why
