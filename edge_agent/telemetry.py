"""What the agent counts, measures and traces of its queries.

Rules:
 * Names come from ``router.transport.telemetry_names``, so that they join with the cloud's.
 * Nothing of what is asked or answered is in them.
 * What nobody reads is not made: no span without a receiver, no figure without a reader. A caller's trace goes on all
   the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final

from opentelemetry.trace import INVALID_SPAN, Span

from router.core.domain.query import Answer, Reason, Tier
from router.transport import telemetry_names
from router.transport.telemetry import Telemetry, TelemetrySettings
from router.transport.trace_context import carries_trace, extract, passed_on

_UNSEEN: Final = nullcontext(INVALID_SPAN)


class EdgeTelemetry:
    """Counters, latencies and spans of the agent.

    Attributes:
        meter: Makes what counts and measures.
        stop: Sends what is left, and stops the exporters.
    """

    def __init__(self, telemetry: Telemetry) -> None:
        """Count and trace with ``telemetry``."""
        self.meter = meter = telemetry.meter
        self._tracer = telemetry.tracer if telemetry.is_traced else None
        self._is_measured = telemetry.is_measured
        self.stop = telemetry.stop
        self._queries = meter.create_counter(telemetry_names.QUERIES)
        self._escalations = meter.create_counter(telemetry_names.ESCALATIONS)
        self._explorations = meter.create_counter(telemetry_names.EXPLORATIONS)
        self._degradations = meter.create_counter(telemetry_names.DEGRADATIONS)
        self._disagreements = meter.create_counter(telemetry_names.DISAGREEMENTS)
        self._failures = meter.create_counter(telemetry_names.FAILURES)
        self._latency = meter.create_histogram(telemetry_names.LATENCY, unit="ms")

    @classmethod
    def started(cls, settings: TelemetrySettings) -> EdgeTelemetry:
        """Count and trace to where ``settings`` say."""
        return cls(Telemetry.start(telemetry_names.SERVICE_EDGE, settings))

    @classmethod
    def of_worker(cls, settings: TelemetrySettings) -> EdgeTelemetry:
        """Trace to where ``settings`` say; what is counted, the owner tells."""
        traces = TelemetrySettings(settings.otlp)
        return cls(Telemetry.start(telemetry_names.SERVICE_EDGE, traces, measured=False))

    def span(self, name: str) -> AbstractContextManager[Span]:
        """A span below the current one."""
        return _UNSEEN if self._tracer is None else self._tracer.start_as_current_span(name)

    @contextmanager
    def escalation(self, reason: Reason | None = None) -> Iterator[None]:
        """A query is on its way to the next tier, for a reason of this device."""
        with self.span(telemetry_names.SPAN_ESCALATE) as span:
            if reason is not None:
                span.set_attribute(telemetry_names.REASON, reason.value)
            yield

    def first_span(self, name: str, metadata: Iterable[tuple[str, Any]] | None) -> AbstractContextManager[Span]:
        """A span below the one that a call's metadata carries."""
        if self._tracer is not None:
            return self._tracer.start_as_current_span(name, context=extract(metadata))
        return passed_on(metadata) if carries_trace(metadata) else _UNSEEN

    def count_answer(self, task: str, answer: Answer, milliseconds: float) -> None:
        """One query was answered, ``milliseconds`` after it came."""
        if not self._is_measured:
            return
        provenance = answer.provenance
        attributes = {telemetry_names.TASK: task}
        self._queries.add(1, attributes)
        self._latency.record(milliseconds, {telemetry_names.TASK: task, telemetry_names.TIER: provenance.tier.value})
        if provenance.explored:
            self._explorations.add(1, attributes)
        if provenance.degraded:
            self._degradations.add(1, {telemetry_names.TASK: task, telemetry_names.REASON: provenance.reason.value})
        if provenance.tier is not Tier.DEVICE:
            self._escalations.add(1, {telemetry_names.TASK: task, telemetry_names.REASON: provenance.reason.value})

    def count_elsewhere(self, task: str, more: Mapping[str, int], milliseconds: Iterable[float]) -> None:
        """Workers have answered since the last time.

        Args:
            task: Which.
            more: How many more of ``answered``, ``degraded`` and ``failed``.
            milliseconds: That some of the last answers took.
        """
        attributes = {telemetry_names.TASK: task}
        self._queries.add(more["answered"], attributes)
        self._degradations.add(more["degraded"], attributes)
        self._failures.add(more["failed"], attributes)
        for one in milliseconds:
            self._latency.record(one, {**attributes, telemetry_names.TIER: Tier.DEVICE.value})

    def count_failure(self, task: str) -> None:
        """One query got an error."""
        self._failures.add(1, {telemetry_names.TASK: task})

    def count_disagreement(self, task: str) -> None:
        """The reference answered an explored query otherwise than the student had."""
        self._disagreements.add(1, {telemetry_names.TASK: task})
