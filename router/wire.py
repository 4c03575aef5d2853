"""Queries and answers <-> protobuf messages, both ways. (Reports and orders: ``fleet_wire.py``.)

These two modules are the only places that know both.

Rules:
 * What one side writes the other reads back as the same value.
 * An enum number that this version does not know reads as its default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from router.errors import BadInputError
from router.query import (
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
from router.v1 import cascade_pb2 as cascade

_T = TypeVar("_T")


def both(pairs: Mapping[_T, Any]) -> tuple[dict[_T, Any], dict[int, _T]]:
    """A table of enum values, and the same table read backwards."""
    return dict(pairs), {int(number): value for value, number in pairs.items()}


_ROUTE, _FROM_ROUTE = both(
    {
        Route.AUTO: cascade.ROUTE_AUTO,
        Route.LOCAL_ONLY: cascade.ROUTE_LOCAL_ONLY,
        Route.CLOUD_ONLY: cascade.ROUTE_CLOUD_ONLY,
    }
)
_CONSENT, _FROM_CONSENT = both(
    {
        Consent.AS_TASK: cascade.CONSENT_UNSPECIFIED,
        Consent.GRANTED: cascade.CONSENT_GRANTED,
        Consent.REFUSED: cascade.CONSENT_REFUSED,
    }
)
_TIER, _FROM_TIER = both(
    {Tier.DEVICE: cascade.TIER_DEVICE, Tier.SITE: cascade.TIER_SITE, Tier.CLUSTER: cascade.TIER_CLUSTER}
)
_REASON, _FROM_REASON = both({reason: cascade.Reason.Value(f"REASON_{reason.name}") for reason in Reason})
_FINISH, _FROM_FINISH = both(
    {finish: cascade.FinishReason.Value(f"FINISH_REASON_{finish.name}") for finish in FinishReason}
)


def query_to_proto(query: Query) -> cascade.AnswerRequest:
    """The message that carries a query."""
    request = cascade.AnswerRequest(
        query_id=query.id,
        task=query.task,
        tenant=query.tenant,
        subject=query.subject,
        conversation=query.conversation,
        tools=[
            cascade.Tool(name=t.name, description=t.description, parameters_schema=t.parameters_schema)
            for t in query.tools
        ],
        response_schema=query.response_schema,
        limits=cascade.GenerationLimits(
            max_tokens=query.limits.max_tokens,
            temperature=query.limits.temperature,
            stop=query.limits.stop,
            seed=query.limits.seed,
        ),
        route=_ROUTE[query.route],
        consent=_CONSENT[query.consent],
        wanted=cascade.Wanted(top_k=query.wanted.top_k, rationale=query.wanted.rationale),
        attempt=None if query.attempt is None else _attempt_to_proto(query.attempt),
    )
    if query.messages:
        request.chat.messages.extend(_message_to_proto(message) for message in query.messages)
    else:
        request.text = query.text
    return request


def query_from_proto(request: cascade.AnswerRequest) -> Query:
    """The query that a message carries.

    Raises:
        BadInputError: A field is out of the range that the domain knows.
    """
    if request.limits.max_tokens > 1_000_000:
        raise BadInputError("limits.max_tokens", f"is {request.limits.max_tokens}; use at most 1000000")
    return Query(
        id=request.query_id,
        task=request.task,
        text=request.text,
        messages=tuple(_message_from_proto(message) for message in request.chat.messages),
        tenant=request.tenant,
        subject=request.subject,
        conversation=request.conversation,
        tools=tuple(Tool(t.name, t.description, t.parameters_schema) for t in request.tools),
        response_schema=request.response_schema,
        limits=GenerationLimits(
            max_tokens=request.limits.max_tokens,
            temperature=optional(request.limits, "temperature"),
            stop=tuple(request.limits.stop),
            seed=optional(request.limits, "seed"),
        ),
        route=_FROM_ROUTE.get(request.route, Route.AUTO),
        consent=_FROM_CONSENT.get(request.consent, Consent.AS_TASK),
        wanted=Wanted(request.wanted.top_k, request.wanted.rationale),
        attempt=_attempt_from_proto(request.attempt) if request.HasField("attempt") else None,
    )


def answer_to_proto(answer: Answer) -> cascade.AnswerResponse:
    """The message that carries an answer."""
    provenance = answer.provenance
    return cascade.AnswerResponse(
        query_id=answer.query_id,
        answer=answer.text,
        finish_reason=_FINISH[answer.finish_reason],
        tool_calls=[_call_to_proto(call) for call in answer.tool_calls],
        confidence=answer.confidence,
        distribution=_distribution_to_proto(answer.distribution),
        tokens=[_token_to_proto(token) for token in answer.tokens],
        rationale=answer.rationale,
        provenance=cascade.Provenance(
            tier=_TIER[provenance.tier],
            model=provenance.model,
            model_version=provenance.model_version,
            release=provenance.release,
            reason=_REASON[provenance.reason],
            degraded=provenance.degraded,
            covered=provenance.covered,
            logged=provenance.logged,
            explored=provenance.explored,
            node=provenance.node,
        ),
        usage=cascade.Usage(
            tokens_in=answer.usage.tokens_in,
            tokens_out=answer.usage.tokens_out,
            stages=[cascade.StageTime(stage=name, milliseconds=time) for name, time in answer.usage.stages],
            usd=answer.usage.usd,
            joules=answer.usage.joules,
        ),
    )


def answer_from_proto(response: cascade.AnswerResponse) -> Answer:
    """The answer that a message carries."""
    provenance = response.provenance
    return Answer(
        query_id=response.query_id,
        text=response.answer,
        provenance=Provenance(
            tier=_FROM_TIER.get(provenance.tier, Tier.CLUSTER),
            model=provenance.model,
            model_version=provenance.model_version,
            release=provenance.release,
            reason=_FROM_REASON.get(provenance.reason, Reason.DIRECT),
            degraded=provenance.degraded,
            covered=provenance.covered,
            logged=provenance.logged,
            explored=provenance.explored,
            node=provenance.node,
        ),
        finish_reason=_FROM_FINISH.get(response.finish_reason, FinishReason.STOP),
        tool_calls=tuple(_call_from_proto(call) for call in response.tool_calls),
        confidence=optional(response, "confidence"),
        distribution=_distribution_from_proto(response.distribution),
        tokens=tuple(_token_from_proto(token) for token in response.tokens),
        rationale=response.rationale,
        usage=Usage(
            tokens_in=response.usage.tokens_in,
            tokens_out=response.usage.tokens_out,
            stages=tuple((stage.stage, stage.milliseconds) for stage in response.usage.stages),
            usd=response.usage.usd,
            joules=response.usage.joules,
        ),
    )


def optional(message: Any, field: str) -> Any:
    """A field's value, or ``None`` where it is absent."""
    return getattr(message, field) if message.HasField(field) else None


def _attempt_to_proto(attempt: Attempt) -> cascade.Attempt:
    return cascade.Attempt(
        release=attempt.release,
        answer=attempt.answer,
        score=attempt.score,
        reason=_REASON[attempt.reason],
        explored=attempt.explored,
        exploration=attempt.exploration,
        kept=attempt.kept,
        degraded=attempt.degraded,
        committed_prefix=attempt.committed_prefix,
        threshold=attempt.threshold,
        threshold_version=attempt.threshold_version,
        asked_at=attempt.asked_at,
        tool_calls=[_call_to_proto(call) for call in attempt.tool_calls],
    )


def _attempt_from_proto(attempt: cascade.Attempt) -> Attempt:
    return Attempt(
        release=attempt.release,
        answer=optional(attempt, "answer"),
        score=optional(attempt, "score"),
        reason=_FROM_REASON.get(attempt.reason, Reason.NO_STUDENT),
        explored=attempt.explored,
        exploration=attempt.exploration,
        kept=attempt.kept,
        degraded=attempt.degraded,
        committed_prefix=attempt.committed_prefix,
        threshold=optional(attempt, "threshold"),
        threshold_version=attempt.threshold_version,
        asked_at=attempt.asked_at,
        tool_calls=tuple(_call_from_proto(call) for call in attempt.tool_calls),
    )


def _call_to_proto(call: ToolCall) -> cascade.ToolCall:
    return cascade.ToolCall(id=call.id, name=call.name, arguments=call.arguments)


def _call_from_proto(call: cascade.ToolCall) -> ToolCall:
    return ToolCall(name=call.name, arguments=call.arguments, id=call.id)


def _message_to_proto(message: Message) -> cascade.Message:
    return cascade.Message(
        role=message.role,
        content=message.content,
        tool_calls=[_call_to_proto(call) for call in message.tool_calls],
        tool_call_id=message.tool_call_id,
    )


def _message_from_proto(message: cascade.Message) -> Message:
    return Message(
        role=message.role,
        content=message.content,
        tool_calls=tuple(_call_from_proto(call) for call in message.tool_calls),
        tool_call_id=message.tool_call_id,
    )


def _distribution_to_proto(distribution: Distribution) -> cascade.Distribution:
    return cascade.Distribution(
        top=[cascade.LabelProbability(label=label, log_probability=value) for label, value in distribution.top],
        tail_log_probability=distribution.tail,
    )


def _distribution_from_proto(distribution: cascade.Distribution) -> Distribution:
    return Distribution(
        top=tuple((pair.label, pair.log_probability) for pair in distribution.top),
        tail=optional(distribution, "tail_log_probability"),
    )


def _token_to_proto(token: TokenProbability) -> cascade.TokenProbability:
    alternatives = _distribution_to_proto(token.alternatives)
    return cascade.TokenProbability(
        token=token.token,
        log_probability=token.log_probability,
        alternatives=alternatives.top,
        tail_log_probability=token.alternatives.tail,
    )


def _token_from_proto(token: cascade.TokenProbability) -> TokenProbability:
    return TokenProbability(
        token=token.token,
        log_probability=token.log_probability,
        alternatives=Distribution(
            top=tuple((pair.label, pair.log_probability) for pair in token.alternatives),
            tail=optional(token, "tail_log_probability"),
        ),
    )
