"""Queries and answers <-> protobuf, both ways; reports and orders are in ``fleet_wire.py``, feedback in its own.

Rules:
 * What a query, an answer, a report or an order says survives the way there and back unchanged.
 * A route or a consent unknown here, from a newer peer, is refused: it may ask for more than this side can keep.
   Every other enum number unknown here reads as the field's default.
 * What comes in is held against ``limits.py`` first, and refused with the name of its field, as the contract spells it.
 * Roles and emptiness are not looked at here: ``check_query`` does that, with the task's limits.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

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
from router.transport.limit_checks import check_message
from router.transport.wire_fields import choice, enum, extend, number_of, optional, put, put_all, same
from router.v1 import cascade_pb2

# Fields of the same name and type on both sides.
_USAGE_TOKENS = ("tokens_in", "tokens_out")
_ATTEMPT = ("release", "explored", "kept", "degraded", "committed_prefix", "threshold_version")
_NO_LABELS = Distribution()
_NO_LIMITS, _NOTHING_WANTED = GenerationLimits(), Wanted()  # what most queries have
_QUERY = ("task", "tenant", "subject", "conversation", "response_schema")
_PROVENANCE = ("model", "model_version", "release", "degraded", "covered", "logged", "explored", "node")


# Queries


def query_to_proto(query: Query) -> cascade_pb2.AnswerRequest:
    """The request that asks ``query``.

    Raises:
        BadInputError: A value that the wire can't carry: a negative count, or text with lone surrogates.
    """
    request = cascade_pb2.AnswerRequest()
    put(request, "query_id", query.id)
    put_all(request, query, _QUERY)
    if query.text:
        put(request, "text", query.text)
    if query.messages:
        request.chat.SetInParent()
    for position, message in enumerate(query.messages):
        sent = request.chat.messages.add()
        put_all(sent, message, ("role", "content", "tool_call_id"), f"chat.messages[{position}].")
        _put_calls(sent.tool_calls, message.tool_calls)
    for tool in query.tools:
        put_all(request.tools.add(), tool, ("name", "description", "parameters_schema"), "tools.")
    limits = query.limits
    if limits != GenerationLimits():
        request.limits.SetInParent()
        put_all(request.limits, limits, ("max_tokens", "temperature", "seed"), "limits.")
        extend(request.limits, "stop", limits.stop, "limits.")
    request.route = number_of(cascade_pb2.Route, "ROUTE_", query.route)  # type: ignore[assignment]
    if query.consent is not Consent.AS_TASK:
        request.consent = number_of(cascade_pb2.Consent, "CONSENT_", query.consent)  # type: ignore[assignment]
    put_all(request.wanted, query.wanted, ("top_k", "rationale"), "wanted.")
    if query.attempt is not None:
        _put_attempt(request.attempt, query.attempt)
    return request


def query_from_proto(request: cascade_pb2.AnswerRequest) -> Query:
    """The query that ``request`` asks; its id is empty where the caller gave none.

    Raises:
        BadInputError: A field is over its limit, or ``route`` or ``consent`` has a number unknown here.
    """
    check_message(request)
    has = request.HasField
    return Query(
        id=request.query_id,
        task=request.task,
        text=request.text,
        messages=_messages(request.chat.messages) if has("chat") else (),
        tenant=request.tenant,
        subject=request.subject,
        conversation=request.conversation,
        tools=tuple([Tool(tool.name, tool.description, tool.parameters_schema) for tool in request.tools]),
        response_schema=request.response_schema,
        limits=_limits(request.limits) if has("limits") else _NO_LIMITS,
        route=choice(Route, cascade_pb2.Route, "route", request.route, Route.AUTO),
        consent=choice(Consent, cascade_pb2.Consent, "consent", request.consent, Consent.AS_TASK),
        wanted=Wanted(request.wanted.top_k, request.wanted.rationale) if has("wanted") else _NOTHING_WANTED,
        attempt=_attempt(request.attempt) if has("attempt") else None,
    )


def _messages(sent: Iterable[cascade_pb2.Message]) -> tuple[Message, ...]:
    return tuple(Message(one.role, one.content, _calls(one.tool_calls), one.tool_call_id) for one in sent)


def _limits(sent: cascade_pb2.GenerationLimits) -> GenerationLimits:
    return GenerationLimits(
        max_tokens=sent.max_tokens,
        temperature=optional(sent, "temperature"),
        stop=tuple(sent.stop),
        seed=optional(sent, "seed"),
    )


def _put_attempt(sent: cascade_pb2.Attempt, attempt: Attempt) -> None:
    put_all(sent, attempt, (*_ATTEMPT, "answer", "score", "exploration", "asked_at", "threshold"), "attempt.")
    put(sent, "place", attempt.sequence_number, "attempt.")
    sent.reason = number_of(cascade_pb2.Reason, "REASON_", attempt.reason)  # type: ignore[assignment]
    _put_calls(sent.tool_calls, attempt.tool_calls)


def _attempt(sent: cascade_pb2.Attempt) -> Attempt:
    return Attempt(
        **same(sent, (*_ATTEMPT, "exploration", "asked_at")),
        answer=optional(sent, "answer"),
        score=optional(sent, "score"),
        reason=enum(Reason, cascade_pb2.Reason, "REASON_", sent.reason, Reason.NO_STUDENT),
        threshold=optional(sent, "threshold"),
        tool_calls=_calls(sent.tool_calls),
        sequence_number=sent.place,
    )


def _put_calls(sent: Any, calls: Iterable[ToolCall]) -> None:
    for call in calls:
        put_all(sent.add(), call, ("id", "name", "arguments"), "tool_calls.")


def _calls(sent: Iterable[cascade_pb2.ToolCall]) -> tuple[ToolCall, ...]:
    return tuple(ToolCall(name=call.name, arguments=call.arguments, id=call.id) for call in sent)


# Answers


def answer_to_proto(answer: Answer) -> cascade_pb2.AnswerResponse:
    """The response that carries ``answer``.

    Raises:
        BadInputError: A value that the wire can't carry.
    """
    response = cascade_pb2.AnswerResponse()
    put_all(response, answer, ("query_id", "rationale", "confidence"))
    put(response, "answer", answer.text)
    response.finish_reason = number_of(  # type: ignore[assignment]
        cascade_pb2.FinishReason, "FINISH_REASON_", answer.finish_reason
    )
    if answer.tool_calls:
        _put_calls(response.tool_calls, answer.tool_calls)
    if answer.distribution.top or answer.distribution.tail is not None:
        _put_labels(response.distribution.top, answer.distribution)
        put(response.distribution, "tail_log_probability", answer.distribution.tail)
    for token in answer.tokens:
        sent = response.tokens.add(token=token.token, log_probability=token.log_probability)
        _put_labels(sent.alternatives, token.alternatives)
        put(sent, "tail_log_probability", token.alternatives.tail)
    provenance = response.provenance
    put_all(provenance, answer.provenance, _PROVENANCE, "provenance.")
    provenance.tier = number_of(cascade_pb2.Tier, "TIER_", answer.provenance.tier)  # type: ignore[assignment]
    provenance.reason = number_of(cascade_pb2.Reason, "REASON_", answer.provenance.reason)  # type: ignore[assignment]
    put_all(response.usage, answer.usage, (*_USAGE_TOKENS, "usd", "joules"), "usage.")
    for stage, milliseconds in answer.usage.stages:
        response.usage.stages.add(stage=stage, milliseconds=milliseconds)
    return response


def answer_from_proto(response: cascade_pb2.AnswerResponse) -> Answer:
    """The answer that ``response`` carries.

    Raises:
        BadInputError: A field is over its limit.
    """
    check_message(response)
    finish = enum(FinishReason, cascade_pb2.FinishReason, "FINISH_REASON_", response.finish_reason, FinishReason.STOP)
    return Answer(
        query_id=response.query_id,
        text=response.answer,
        provenance=_provenance(response.provenance),
        finish_reason=finish,
        tool_calls=_calls(response.tool_calls),
        confidence=optional(response, "confidence"),
        distribution=(
            _distribution(response.distribution.top, response.distribution)
            if response.HasField("distribution")
            else _NO_LABELS
        ),
        tokens=tuple(
            [
                TokenProbability(token.token, token.log_probability, _distribution(token.alternatives, token))
                for token in response.tokens
            ]
        ),
        rationale=response.rationale,
        usage=_usage(response.usage),
    )


def _provenance(sent: cascade_pb2.Provenance) -> Provenance:
    return Provenance(
        tier=enum(Tier, cascade_pb2.Tier, "TIER_", sent.tier, Tier.CLUSTER),
        reason=enum(Reason, cascade_pb2.Reason, "REASON_", sent.reason, Reason.DIRECT),
        model=sent.model,
        model_version=sent.model_version,
        release=sent.release,
        degraded=sent.degraded,
        covered=sent.covered,
        logged=sent.logged,
        explored=sent.explored,
        node=sent.node,
    )


def _usage(sent: cascade_pb2.Usage) -> Usage:
    return Usage(
        tokens_in=sent.tokens_in,
        tokens_out=sent.tokens_out,
        usd=sent.usd,
        joules=sent.joules,
        stages=tuple([(stage.stage, stage.milliseconds) for stage in sent.stages]),
    )


def _put_labels(sent: Any, distribution: Distribution) -> None:
    for label, log_probability in distribution.top:
        sent.add(label=label, log_probability=log_probability)


def _distribution(top: Iterable[cascade_pb2.LabelProbability], holder: ProtoMessage) -> Distribution:
    return Distribution(
        top=tuple((entry.label, entry.log_probability) for entry in top),
        tail=optional(holder, "tail_log_probability"),
    )
