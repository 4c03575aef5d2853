"""A query, its answer, and where the answer came from: what flows through every tier.

Plain values, the same on a device and in the cloud; ``wire.py`` turns them into messages and back.

Rules:
 * Every value here is immutable; a tier that changes one makes a new one.
 * Absent is ``None`` or an empty tuple, never a magic number.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import lru_cache

from router.core.errors import BadInputError
from router.core.visible_text import is_blank

MAX_QUERY_ID_BYTES = 64
MAX_TEXT_BYTES = 256 * 1024
MAX_STOPS = 16
MAX_STOP_BYTES = 256
MAX_TOKENS = 32_768  # new ones of one answer: what models of today write at most
MAX_TOP_K = 20  # that servers of language models give at most


class Route(StrEnum):
    """Where the caller lets a query go."""

    AUTO = "auto"
    LOCAL_ONLY = "local_only"
    CLOUD_ONLY = "cloud_only"


class Consent(StrEnum):
    """Whether the caller lets an answer be logged for teaching."""

    AS_TASK = "as_task"
    GRANTED = "granted"
    REFUSED = "refused"


class Tier(StrEnum):
    """Which tier answered."""

    DEVICE = "device"
    SITE = "site"
    CLUSTER = "cluster"


class Reason(StrEnum):
    """Why a tier kept, deferred or degraded a query."""

    CONFIDENT = "confident"
    UNCONFIDENT = "unconfident"
    NO_STUDENT = "no_student"
    EXPLORED = "explored"
    ROUTE = "route"
    OPERATOR = "operator"
    UNREACHABLE = "unreachable"
    DEADLINE = "deadline"
    BUDGET = "budget"
    REFUSED = "refused"
    PRIVACY = "privacy"
    DIRECT = "direct"
    INPUT_CUT = "input_cut"
    REMEMBERED = "remembered"


class FinishReason(StrEnum):
    """Why an answer ended."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    FILTERED = "filtered"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call that an answer asks for; ``arguments`` is a JSON object as text."""

    name: str
    arguments: str
    id: str = ""


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool that an answer may call; ``parameters_schema`` is a JSON schema as text."""

    name: str
    description: str = ""
    parameters_schema: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: str
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""


@dataclass(frozen=True, slots=True)
class GenerationLimits:
    """Bounds of a generated answer.

    Attributes:
        max_tokens: Most new tokens, up to ``MAX_TOKENS``; 0 takes the task's default.
        temperature: From 0 to 10; ``None`` takes the task's default.
        stop: Texts that end the answer.
        seed: Seed of the sampling, if any.
    """

    max_tokens: int = 0
    temperature: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for beside the answer: the ``top_k`` likeliest labels or tokens, 20 at most, and a rationale."""

    top_k: int = 0
    rationale: bool = False


@dataclass(frozen=True, slots=True)
class Distribution:
    """The likeliest labels of one answer, highest first.

    Attributes:
        top: Pairs of label and natural log-probability (<= 0).
        tail: log(1 - sum of the others), or ``None`` when ``top`` holds every label.
    """

    top: tuple[tuple[str, float], ...] = ()
    tail: float | None = None


@dataclass(frozen=True, slots=True)
class TokenProbability:
    """One generated token, its natural log-probability, and what else it might have been."""

    token: str
    log_probability: float
    alternatives: Distribution = Distribution()


@dataclass(frozen=True, slots=True)
class Attempt:
    """What the tier before already did with a query.

    Attributes:
        release: The release that served there, 0 for none.
        answer: Its student's answer, ``None`` without a student.
        score: The student's score, calibrated, in [0, 1].
        reason: Why it was deferred, or sent for teaching.
        explored: The claimed draw; the cloud recomputes it.
        exploration: The exploration rate in force at the draw, in [0, 1].
        kept: The user has been answered locally; this call is for teaching.
        degraded: The answer was kept although it should have been deferred.
        committed_prefix: Text already streamed to the user.
        threshold: Least score kept, as in force at the decision.
        threshold_version: Version of the policy in force.
        asked_at: Unix time in seconds at the first tier.
        tool_calls: The student's calls, where it made some.
        sequence_number: Of the last drawn query of the task that the first tier kept, this one included; 0 for none.
    """

    release: int = 0
    answer: str | None = None
    score: float | None = None
    reason: Reason = Reason.NO_STUDENT
    explored: bool = False
    exploration: float = 0.0
    kept: bool = False
    degraded: bool = False
    committed_prefix: str = ""
    threshold: float | None = None
    threshold_version: int = 0
    asked_at: float = 0.0
    tool_calls: tuple[ToolCall, ...] = ()
    sequence_number: int = 0


@dataclass(frozen=True, slots=True)
class Query:
    """One question. Exactly one of ``text`` and ``messages`` is given."""

    id: str
    task: str
    text: str = ""
    messages: tuple[Message, ...] = ()
    tenant: str = ""
    subject: str = ""
    conversation: str = ""
    tools: tuple[Tool, ...] = ()
    response_schema: str = ""
    limits: GenerationLimits = GenerationLimits()
    route: Route = Route.AUTO
    consent: Consent = Consent.AS_TASK
    wanted: Wanted = Wanted()
    attempt: Attempt | None = None

    def digest(self) -> str:
        """SHA-256 of what the caller asked, in hex.

        The attempt is left out: a tier that asks again after a restart may have decided differently, and it is still
        the same question.
        """
        spelt = _JSON.encode
        return hashlib.sha256(
            (
                f'{{"attempt": null, "consent": "{self.consent.value}", "conversation": {spelt(self.conversation)}, '
                f'"id": "", "limits": {_as_json(self.limits)}, "messages": {_all_as_json(self.messages)}, '
                f'"response_schema": {spelt(self.response_schema)}, "route": "{self.route.value}", '
                f'"subject": {spelt(self.subject)}, "task": {spelt(self.task)}, "tenant": {spelt(self.tenant)}, '
                f'"text": {spelt(self.text)}, "tools": {_all_as_json(self.tools)}, "wanted": {_as_json(self.wanted)}}}'
            ).encode()
        ).hexdigest()


_JSON = json.JSONEncoder(sort_keys=True, default=str)


@lru_cache(256)
def _as_json(value: GenerationLimits | Wanted) -> str:
    return _JSON.encode(asdict(value))


def _all_as_json(values: tuple[Message, ...] | tuple[Tool, ...]) -> str:
    return _JSON.encode([asdict(each) for each in values]) if values else "[]"


@dataclass(frozen=True, slots=True)
class Provenance:
    """Who answered, and why there.

    Attributes:
        tier: Which tier answered.
        model: Name of the student or teacher.
        model_version: Its version, never reused.
        release: In force on the device that was asked, whoever answered; 0 for none.
        reason: Why this tier answered.
        degraded: Should have been deferred and could not.
        covered: Counts in the promise.
        logged: The teacher's answer is in the distillation log.
        explored: The first tier drew this query for the reference.
        node: Opaque name of the device or gateway.
    """

    tier: Tier
    model: str
    model_version: str = ""
    release: int = 0
    reason: Reason = Reason.DIRECT
    degraded: bool = False
    covered: bool = False
    logged: bool = False
    explored: bool = False
    node: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """What an answer took. ``stages`` pairs a stage with its time in milliseconds."""

    tokens_in: int = 0
    tokens_out: int = 0
    stages: tuple[tuple[str, float], ...] = ()
    usd: float = 0.0
    joules: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. ``confidence`` is calibrated, in [0, 1], or ``None`` where nothing is known of it."""

    query_id: str
    text: str
    provenance: Provenance
    finish_reason: FinishReason = FinishReason.STOP
    tool_calls: tuple[ToolCall, ...] = ()
    confidence: float | None = None
    distribution: Distribution = Distribution()
    tokens: tuple[TokenProbability, ...] = ()
    rationale: str = ""
    usage: Usage = Usage()


def check_query(query: Query, max_text_bytes: int = MAX_TEXT_BYTES) -> Query:
    """Return ``query`` when every field is in its range.

    Args:
        query: The query as it came in.
        max_text_bytes: Most bytes of text, all messages together, in UTF-8.

    Raises:
        BadInputError: Names the field, and what would do.
    """
    if len(query.id.encode()) > MAX_QUERY_ID_BYTES:
        raise BadInputError("query_id", f"is longer than {MAX_QUERY_ID_BYTES} bytes")
    if not query.task:
        raise BadInputError("task", "is empty; name the task that the query belongs to")
    if (not is_blank(query.text)) == bool(query.messages):
        raise BadInputError("input", "needs either a text that is not empty or chat messages, not both")
    size = len(query.text.encode()) + sum(len(m.content.encode()) for m in query.messages)
    if size > max_text_bytes:
        raise BadInputError("input", f"has {size} bytes of text, over the limit of {max_text_bytes}")
    for position, message in enumerate(query.messages):
        if message.role not in {"system", "user", "assistant", "tool"}:
            raise BadInputError(f"chat.messages[{position}].role", "is no role; use system, user, assistant or tool")
    if not 0 <= query.wanted.top_k <= MAX_TOP_K:
        raise BadInputError("wanted.top_k", f"is {query.wanted.top_k}; use 0 to {MAX_TOP_K}")
    check_limits(query.limits)
    return query


def check_limits(limits: GenerationLimits) -> None:
    """Check that every limit of an answer is in its range.

    Raises:
        BadInputError: Names the field, and what would do.
    """
    if not 0 <= limits.max_tokens <= MAX_TOKENS:
        raise BadInputError("limits.max_tokens", f"is {limits.max_tokens}; use 0 to {MAX_TOKENS}, 0 for the default")
    if limits.temperature is not None and not 0 <= limits.temperature <= 10:
        raise BadInputError("limits.temperature", f"is {limits.temperature}; use 0 to 10")
    if limits.seed is not None and not 0 <= limits.seed < 2**64:
        raise BadInputError("limits.seed", f"is {limits.seed}; use 0 to 2**64 - 1")
    if len(limits.stop) > MAX_STOPS:
        raise BadInputError("limits.stop", f"holds {len(limits.stop)} texts; use {MAX_STOPS} at most")
    for stop in limits.stop:
        if not stop:
            raise BadInputError("limits.stop", "holds an empty text")
        if len(stop.encode()) > MAX_STOP_BYTES:
            raise BadInputError("limits.stop", f"holds a text of more than {MAX_STOP_BYTES} bytes")
