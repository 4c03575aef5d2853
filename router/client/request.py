"""One question on its way, as both clients see it: checked, named, spanned, with the steps to its answer."""

from __future__ import annotations

import contextlib
import random
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypedDict

from opentelemetry import trace

from router.client.argument_types import (
    check_keywords,
    checked_flag,
    checked_seconds,
    checked_text,
    checked_value,
    shown,
)
from router.client.failover import Steps, failover
from router.core.domain.feedback import Feedback, Opinion, check_feedback
from router.core.domain.limits import MAX_DEVICE_BYTES
from router.core.domain.query import Answer, Consent, Query, Route, Wanted, check_query
from router.core.errors import BadInputError, ConfigError, HeadraceError, ServiceError, UnknownTaskError
from router.transport import telemetry_names
from router.transport.channel import check_target
from router.transport.feedback_wire import feedback_to_proto
from router.transport.limit_checks import check_message
from router.transport.trace_context import call_metadata
from router.transport.wire import answer_from_proto, query_to_proto
from router.v1 import cascade_pb2

DEFAULT_DEADLINE_SECONDS = 30.0


class AskOptions(TypedDict, total=False):
    """What may be said with a question.

    Attributes:
        query_id: Up to 64 bytes, unique for this caller; made up if it is left out.
        deadline: Seconds until an answer is of no use any more; the client's own by default.
        route: Where the query may go.
        consent: Whether its answer may be logged for teaching.
        top_k: How many of the likeliest labels to return.
        rationale: Whether to return the teacher's reason.
        tenant: On whose behalf.
        subject: Opaque name of the person concerned; kept with what is logged.
        conversation: What it belongs to.
    """

    query_id: str
    deadline: float
    route: Route
    consent: Consent
    top_k: int
    rationale: bool
    tenant: str
    subject: str
    conversation: str


_WHOLE_QUERY = "give a whole Query to answer()"
# What other clients call it, and people try first.
_OTHERWISE = {
    "id": "it is called query_id here",
    "timeout": "it is called deadline here, in seconds",
    "timeout_seconds": "it is called deadline here, in seconds",
    "local_only": "say route=Route.LOCAL_ONLY",
    "cloud_only": "say route=Route.CLOUD_ONLY",
    "local": "say route=Route.LOCAL_ONLY",
    "private": "say route=Route.LOCAL_ONLY",
    "log": "say consent=Consent.REFUSED or Consent.GRANTED",
    "logged": "say consent=Consent.REFUSED or Consent.GRANTED",
    **dict.fromkeys(
        ("messages", "tools", "response_schema", "limits", "wanted", "max_tokens", "temperature", "stop", "seed"),
        _WHOLE_QUERY,
    ),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """One query on its way.

    Attributes:
        request: What is sent, to whichever target.
        metadata: What goes with it: who asks, and the trace.
        steps: Whom to ask next.
        span: Open until the answer is there.
    """

    request: cascade_pb2.AnswerRequest
    metadata: tuple[tuple[str, str], ...]
    steps: Steps
    span: trace.Span

    def done(self, response: cascade_pb2.AnswerResponse) -> Answer:
        """The answer that came, noted on the span.

        Raises:
            ServiceError: It can't be read.
        """
        try:
            answer = answer_from_proto(response)
        except BadInputError as error:
            raise ServiceError(f"the answer can't be read: {error}") from error
        self.span.set_attributes(
            {
                telemetry_names.TIER: answer.provenance.tier,
                telemetry_names.RELEASE: answer.provenance.release,
                telemetry_names.REASON: answer.provenance.reason,
                telemetry_names.DEGRADED: answer.provenance.degraded,
            }
        )
        return answer


@dataclass(frozen=True, slots=True)
class Caller:
    """What both clients are made of.

    Attributes:
        targets: Whom to ask, in order of preference.
        device: Who asks; empty says nothing.
        deadline: Seconds, for a query that says nothing else.
        tracer: Makes the spans.
    """

    targets: tuple[str, ...]
    device: str
    deadline: float
    tracer: trace.Tracer

    @contextlib.contextmanager
    def asking(self, query: Query, deadline: float | None) -> Iterator[Asked]:
        """Check the query and span its way to the answer.

        Raises:
            BadInputError: A field of the query is of a wrong type, or out of its range.
        """
        seconds = self.deadline if deadline is None else checked_seconds(deadline, "deadline")
        if not isinstance(query, Query):
            raise BadInputError("query", f"is {shown(query)}; give a router.Query, or call ask(text, task)")
        query = checked_value(query)
        query = query if query.id else replace(query, id=uuid.uuid4().hex)
        request = query_to_proto(query)
        check_query(query)
        check_message(request)
        attributes = {telemetry_names.TASK: query.task, telemetry_names.QUERY_ID: query.id}
        with self.tracer.start_as_current_span(
            telemetry_names.SPAN_CLIENT, kind=trace.SpanKind.CLIENT, attributes=attributes
        ) as span:
            steps = failover(self.targets, seconds, time.monotonic, lambda: random.uniform(0.5, 1.5))
            yield Asked(request, call_metadata(self.device), steps, span)

    def giving(self, feedback: Feedback, deadline: float | None) -> Giving:
        """What is sent to give feedback.

        Raises:
            BadInputError: A field is of a wrong type, or out of its range.
        """
        seconds = self.deadline if deadline is None else checked_seconds(deadline, "deadline")
        request = feedback_to_proto(check_feedback(checked_value(feedback)))
        check_message(request)
        return Giving(request, call_metadata(self.device), time.monotonic() + seconds)


@dataclass(frozen=True, slots=True)
class Giving:
    """One caller's feedback on its way.

    Attributes:
        request: What is sent, to each target until one has given that answer.
        metadata: What goes with it.
        ends: Monotonic time in seconds.
    """

    request: cascade_pb2.FeedbackRequest
    metadata: tuple[tuple[str, str], ...]
    ends: float

    @property
    def seconds(self) -> float:
        """What is left."""
        return max(0.001, self.ends - time.monotonic())


def first_to_tell(before: HeadraceError | None, now: HeadraceError) -> HeadraceError:
    """Which failure of two targets a caller hears.

    What is wrong with the feedback itself ends the search; a target that could not be asked may be the one that
    answered, so it goes before those that know nothing of the answer.
    """
    if not isinstance(now, UnknownTaskError | ServiceError):
        raise now
    return now if before is None or isinstance(now, ServiceError) else before


def opinion_of(verdict: str) -> Opinion:
    """What a program says of an answer.

    Raises:
        BadInputError: It is neither ``right`` nor ``wrong``.
    """
    try:
        return Opinion(checked_text(verdict, "verdict"))
    except ValueError:
        raise BadInputError("verdict", f"is {verdict!r}; say 'right' or 'wrong'") from None


def caller(
    targets: str | Sequence[str],
    insecure: bool,
    device: str,
    deadline: float,
    tracer: trace.Tracer | None,
    secured: bool = False,
) -> Caller:
    """Check what a client is made with; ``secured`` says that it has an identity.

    Raises:
        ConfigError: Names the argument, and what would do.
    """
    with _as_config_error():
        checked_flag(insecure, "insecure")
        checked_text(device, "device")
        seconds = checked_seconds(deadline, "deadline")
    if tracer is not None and not isinstance(tracer, trace.Tracer):
        raise ConfigError("client", "tracer", f"is {shown(tracer)}; give an OpenTelemetry tracer, or leave it out")
    targets = _checked_targets(targets)
    for target in targets:
        check_target(target, "client", "targets", insecure=insecure, secured=secured)
    if not (device.isascii() and (device.isprintable() or not device)):
        raise ConfigError("client", "device", f"{device!r} has other characters than printable ASCII")
    if len(device) > MAX_DEVICE_BYTES:
        raise ConfigError("client", "device", f"has {len(device)} characters; use {MAX_DEVICE_BYTES} at most")
    return Caller(targets, device, seconds, tracer or trace.get_tracer(telemetry_names.SERVICE_CLIENT))


@contextlib.contextmanager
def _as_config_error() -> Iterator[None]:
    try:
        yield
    except BadInputError as error:
        raise ConfigError("client", error.field, str(error).removeprefix(f"{error.field} ")) from None


def _checked_targets(targets: object) -> tuple[str, ...]:
    listed = (targets,) if isinstance(targets, str) else targets
    if not isinstance(listed, Sequence) or not all(isinstance(target, str) for target in listed):
        raise ConfigError("client", "targets", f"is {shown(targets)}; use a str HOST:PORT, or a list of them")
    if not listed:
        raise ConfigError("client", "targets", "is empty; name at least one HOST:PORT")
    return tuple(listed)


def query_of(text: str, task: str, options: AskOptions) -> Query:
    """The query that a text and the options make.

    Raises:
        TypeError: An option that there is not.
        BadInputError: The text or the task is no text.
    """
    check_keywords("ask", options, tuple(AskOptions.__annotations__), _OTHERWISE)
    return Query(
        id=options.get("query_id", ""),
        task=checked_text(task, "task"),
        text=checked_text(text, "text"),
        route=options.get("route", Route.AUTO),
        consent=options.get("consent", Consent.AS_TASK),
        wanted=Wanted(options.get("top_k", 0), options.get("rationale", False)),
        tenant=options.get("tenant", ""),
        subject=options.get("subject", ""),
        conversation=options.get("conversation", ""),
    )
