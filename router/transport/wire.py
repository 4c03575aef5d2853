"""Domain <-> protobuf, both ways; nowhere else.

Rules:
 * What a query, an answer, a report or an order says survives the way there and back unchanged.
 * A route or a consent unknown here, from a newer peer, is refused: it may be a stricter wish than this side can keep.
   Every other enum number unknown here reads as the field's default.
 * What comes in is held against ``limits.py`` first, and refused with the name of its field, as the contract spells it.
 * Roles and emptiness are not looked at here: ``check_query`` does that, with the task's limits.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, TypeVar

from google.protobuf.message import Message as ProtoMessage

from router.core.domain.query import (
    Answer,
    Attempt,
    Consent,
    Distribution,
    FinishReason,
    GenerationLimits,
    Message,
    Provenance,
    Query,
    Reason,
    Route,
    Tier,
    TokenProbability,
    Tool,
    ToolCall,
    Usage,
    Wanted,
)
from router.core.domain.task import Mode
from router.core.errors import BadInputError
from router.core.release.orders import DeviceReport, Order, Orders, TaskReport
from router.transport.limit_checks import check_message
from router.v1 import cascade_pb2, fleet_pb2

_E = TypeVar("_E", bound=StrEnum)
_SHA256_BYTES = 32
_SEED_BYTES = 32
# Fields of the same name and type on both sides.
_USAGE_TOKENS = ("tokens_in", "tokens_out")
_ATTEMPT = ("release", "explored", "kept", "degraded", "committed_prefix", "threshold_version", "place")
_QUERY = ("task", "tenant", "subject", "conversation", "response_schema")
_PROVENANCE = ("model", "model_version", "release", "degraded", "covered", "logged", "explored", "node")
_DEVICE_INFO = ("agent_version", "platform", "processor", "memory_bytes")
_DEVICE = ("device", "outbox_pending", "outbox_dropped", "state", "life")
_COUNTERS = (
    *("task", "active_release", "staged_release", "answered", "kept", "escalated", "explored", "degraded", "failed"),
    *("covered", "healthy_answers", "explored_kept", "explored_disagreed", "threshold_version"),
)
_REPORTED = (*_COUNTERS, "p50_milliseconds", "p95_milliseconds", "exploration")
_ORDER = ("task", "release", "watch", "threshold_version", "may_leave")
_LIMITS = ("queries_per_minute", "queries_per_day")  # absent for none


# Queries


def query_to_proto(query: Query) -> cascade_pb2.AnswerRequest:
    """The request that asks ``query``.

    Raises:
        BadInputError: A value that the wire can't carry: a negative count, or text with lone surrogates.
    """
    request = cascade_pb2.AnswerRequest()
    _put(request, "query_id", query.id)
    _put_all(request, query, _QUERY)
    if query.text:
        _put(request, "text", query.text)
    if query.messages:
        request.chat.SetInParent()
    for position, message in enumerate(query.messages):
        sent = request.chat.messages.add()
        _put_all(sent, message, ("role", "content", "tool_call_id"), f"chat.messages[{position}].")
        _put_calls(sent.tool_calls, message.tool_calls)
    for tool in query.tools:
        _put_all(request.tools.add(), tool, ("name", "description", "parameters_schema"), "tools.")
    limits = query.limits
    if limits != GenerationLimits():
        request.limits.SetInParent()
        _put_all(request.limits, limits, ("max_tokens", "temperature", "seed"), "limits.")
        _extend(request.limits, "stop", limits.stop, "limits.")
    request.route = cascade_pb2.Route.Value(f"ROUTE_{query.route.name}")
    if query.consent is not Consent.AS_TASK:
        request.consent = cascade_pb2.Consent.Value(f"CONSENT_{query.consent.name}")
    _put_all(request.wanted, query.wanted, ("top_k", "rationale"), "wanted.")
    if query.attempt is not None:
        _put_attempt(request.attempt, query.attempt)
    return request


def query_from_proto(request: cascade_pb2.AnswerRequest) -> Query:
    """The query that ``request`` asks; its id is empty where the caller gave none.

    Raises:
        BadInputError: A field is over its limit, or ``route`` or ``consent`` has a number unknown here.
    """
    check_message(request)
    limits = request.limits
    return Query(
        id=request.query_id,
        **_same(request, _QUERY),
        text=request.text,
        messages=tuple(Message(m.role, m.content, _calls(m.tool_calls), m.tool_call_id) for m in request.chat.messages),
        tools=tuple(Tool(tool.name, tool.description, tool.parameters_schema) for tool in request.tools),
        limits=GenerationLimits(
            max_tokens=limits.max_tokens,
            temperature=_optional(limits, "temperature"),
            stop=tuple(limits.stop),
            seed=_optional(limits, "seed"),
        ),
        route=_wish(Route, cascade_pb2.Route, "route", request.route, Route.AUTO),
        consent=_wish(Consent, cascade_pb2.Consent, "consent", request.consent, Consent.AS_TASK),
        wanted=Wanted(request.wanted.top_k, request.wanted.rationale),
        attempt=_attempt(request.attempt) if request.HasField("attempt") else None,
    )


def _put_attempt(sent: cascade_pb2.Attempt, attempt: Attempt) -> None:
    _put_all(sent, attempt, (*_ATTEMPT, "answer", "score", "exploration", "asked_at", "threshold"), "attempt.")
    sent.reason = cascade_pb2.Reason.Value(f"REASON_{attempt.reason.name}")
    _put_calls(sent.tool_calls, attempt.tool_calls)


def _attempt(sent: cascade_pb2.Attempt) -> Attempt:
    return Attempt(
        **_same(sent, (*_ATTEMPT, "exploration", "asked_at")),
        answer=_optional(sent, "answer"),
        score=_optional(sent, "score"),
        reason=_enum(Reason, cascade_pb2.Reason, "REASON_", sent.reason, Reason.NO_STUDENT),
        threshold=_optional(sent, "threshold"),
        tool_calls=_calls(sent.tool_calls),
    )


def _put_calls(sent: Any, calls: Iterable[ToolCall]) -> None:
    for call in calls:
        _put_all(sent.add(), call, ("id", "name", "arguments"), "tool_calls.")


def _calls(sent: Iterable[cascade_pb2.ToolCall]) -> tuple[ToolCall, ...]:
    return tuple(ToolCall(name=call.name, arguments=call.arguments, id=call.id) for call in sent)


# Answers


def answer_to_proto(answer: Answer) -> cascade_pb2.AnswerResponse:
    """The response that carries ``answer``.

    Raises:
        BadInputError: A value that the wire can't carry.
    """
    response = cascade_pb2.AnswerResponse()
    _put_all(response, answer, ("query_id", "rationale", "confidence"))
    _put(response, "answer", answer.text)
    response.finish_reason = cascade_pb2.FinishReason.Value(f"FINISH_REASON_{answer.finish_reason.name}")
    _put_calls(response.tool_calls, answer.tool_calls)
    _put_labels(response.distribution.top, answer.distribution)
    _put(response.distribution, "tail_log_probability", answer.distribution.tail)
    for token in answer.tokens:
        sent = response.tokens.add(token=token.token, log_probability=token.log_probability)
        _put_labels(sent.alternatives, token.alternatives)
        _put(sent, "tail_log_probability", token.alternatives.tail)
    _put_all(response.provenance, answer.provenance, _PROVENANCE, "provenance.")
    response.provenance.tier = cascade_pb2.Tier.Value(f"TIER_{answer.provenance.tier.name}")
    response.provenance.reason = cascade_pb2.Reason.Value(f"REASON_{answer.provenance.reason.name}")
    _put_all(response.usage, answer.usage, (*_USAGE_TOKENS, "usd", "joules"), "usage.")
    for stage, milliseconds in answer.usage.stages:
        response.usage.stages.add(stage=stage, milliseconds=milliseconds)
    return response


def answer_from_proto(response: cascade_pb2.AnswerResponse) -> Answer:
    """The answer that ``response`` carries.

    Raises:
        BadInputError: A field is over its limit.
    """
    check_message(response)
    finish = _enum(FinishReason, cascade_pb2.FinishReason, "FINISH_REASON_", response.finish_reason, FinishReason.STOP)
    return Answer(
        query_id=response.query_id,
        text=response.answer,
        provenance=_provenance(response.provenance),
        finish_reason=finish,
        tool_calls=_calls(response.tool_calls),
        confidence=_optional(response, "confidence"),
        distribution=_distribution(response.distribution.top, response.distribution),
        tokens=tuple(
            TokenProbability(token.token, token.log_probability, _distribution(token.alternatives, token))
            for token in response.tokens
        ),
        rationale=response.rationale,
        usage=_usage(response.usage),
    )


def _provenance(sent: cascade_pb2.Provenance) -> Provenance:
    return Provenance(
        tier=_enum(Tier, cascade_pb2.Tier, "TIER_", sent.tier, Tier.CLUSTER),
        reason=_enum(Reason, cascade_pb2.Reason, "REASON_", sent.reason, Reason.DIRECT),
        **_same(sent, _PROVENANCE),
    )


def _usage(sent: cascade_pb2.Usage) -> Usage:
    return Usage(
        **_same(sent, (*_USAGE_TOKENS, "usd", "joules")),
        stages=tuple((stage.stage, stage.milliseconds) for stage in sent.stages),
    )


def _put_labels(sent: Any, distribution: Distribution) -> None:
    for label, log_probability in distribution.top:
        sent.add(label=label, log_probability=log_probability)


def _distribution(top: Iterable[cascade_pb2.LabelProbability], holder: ProtoMessage) -> Distribution:
    return Distribution(
        top=tuple((entry.label, entry.log_probability) for entry in top),
        tail=_optional(holder, "tail_log_probability"),
    )


# Reports and orders


def report_to_proto(report: DeviceReport) -> fleet_pb2.SyncRequest:
    """The request that carries ``report``.

    Raises:
        BadInputError: A value that the wire can't carry.
    """
    request = fleet_pb2.SyncRequest()
    _put_all(request, report, (*_DEVICE, "free_disk_bytes"))
    _put_all(request.info, report, _DEVICE_INFO, "info.")
    _extend(request.info, "formats", report.formats, "info.")
    for position, task in enumerate(report.tasks):
        sent = request.tasks.add()
        _put_all(sent, task, _REPORTED, f"tasks[{position}].")
        for release, reason in task.refused:
            sent.refused.add(release=release, reason=reason)
    return request


def report_from_proto(request: fleet_pb2.SyncRequest) -> DeviceReport:
    """The report that ``request`` carries.

    Raises:
        BadInputError: A field is over its limit.
    """
    check_message(request)
    return DeviceReport(
        **_same(request, _DEVICE),
        **_same(request.info, _DEVICE_INFO),
        formats=tuple(request.info.formats),
        free_disk_bytes=request.free_disk_bytes,
        tasks=tuple(_task_report(sent) for sent in request.tasks),
    )


def _task_report(sent: fleet_pb2.TaskReport) -> TaskReport:
    return TaskReport(
        **_same(sent, _REPORTED),
        refused=tuple((refused.release, refused.reason) for refused in sent.refused),
    )


def orders_to_proto(orders: Orders) -> fleet_pb2.SyncResponse:
    """The response that carries ``orders``.

    Raises:
        BadInputError: A value that the wire can't carry.
    """
    response = fleet_pb2.SyncResponse()
    _put_all(response, orders, ("interval_seconds", "seed", "message"))
    for position, order in enumerate(orders.tasks):
        sent = response.tasks.add(manifest_sha256=bytes.fromhex(order.manifest_sha256))
        _put_all(sent, order, (*_ORDER, "exploration", "threshold", *_LIMITS), f"tasks[{position}].")
        sent.mode = fleet_pb2.Mode.Value(f"MODE_{order.mode.name}")
    return response


def orders_from_proto(response: fleet_pb2.SyncResponse) -> Orders:
    """The orders that ``response`` carries.

    Raises:
        BadInputError: A field is over its limit, or a digest or a seed has not its length.
    """
    check_message(response)
    if len(response.seed) not in (0, _SEED_BYTES):
        raise BadInputError("seed", f"has {len(response.seed)} bytes; {_SEED_BYTES} or none are right")
    return Orders(
        tasks=tuple(_order(f"tasks[{position}].", sent) for position, sent in enumerate(response.tasks)),
        interval_seconds=response.interval_seconds,
        seed=response.seed,
        message=response.message,
    )


def _order(place: str, sent: fleet_pb2.TaskOrder) -> Order:
    if len(sent.manifest_sha256) not in (0, _SHA256_BYTES):
        raise BadInputError(f"{place}manifest_sha256", f"has {len(sent.manifest_sha256)} bytes; 32 are right")
    return Order(
        **_same(sent, _ORDER),
        manifest_sha256=sent.manifest_sha256.hex(),
        exploration=sent.exploration,
        mode=_enum(Mode, fleet_pb2.Mode, "MODE_", sent.mode, Mode.SERVE),
        threshold=_optional(sent, "threshold"),
        **{field: _optional(sent, field) for field in _LIMITS},
    )


# One field at a time


def _put(message: ProtoMessage, field: str, value: object, place: str = "") -> None:
    """Set a field unless the value is absent; what protobuf refuses is said with the field's name."""
    if value is None:
        return
    try:
        setattr(message, field, value)
    except (ValueError, TypeError) as error:
        raise BadInputError(f"{place}{field}", f"can't be sent: {error}") from error


def _extend(message: ProtoMessage, field: str, texts: Iterable[str], place: str) -> None:
    try:
        getattr(message, field).extend(texts)
    except (ValueError, TypeError) as error:
        raise BadInputError(f"{place}{field}", f"can't be sent: {error}") from error


def _put_all(message: ProtoMessage, value: object, fields: Iterable[str], place: str = "") -> None:
    for field in fields:
        _put(message, field, getattr(value, field), place)


def _same(message: ProtoMessage, fields: Iterable[str]) -> dict[str, Any]:
    return {field: getattr(message, field) for field in fields}


def _optional(message: ProtoMessage, field: str) -> Any:
    return getattr(message, field) if message.HasField(field) else None


def _enum(members: type[_E], wrapper: Any, prefix: str, number: int, default: _E) -> _E:
    if number not in wrapper.values():
        return default
    return members.__members__.get(wrapper.Name(number).removeprefix(prefix), default)


def _wish(members: type[_E], wrapper: Any, field: str, number: int, default: _E) -> _E:
    """As ``_enum``, but a number unknown here is refused: a caller's wish is never weakened in silence."""
    if number not in wrapper.values():
        raise BadInputError(field, f"has the number {number}, unknown to this version; update it or send a known one")
    return _enum(members, wrapper, f"{field.upper()}_", number, default)
