"""The agent's spans and metrics.

Rules:
 * Names come from ``router.names``, so that they join with the cloud's.
 * Nothing of what is asked or answered is in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.trace import Tracer

from edge_agent.outbox import Outbox
from edge_agent.tasks import Tasks
from edge_agent.upstream import Upstream
from router import names
from router.query import Answer, Tier
from router.telemetry import Telemetry


class EdgeTelemetry:
    """What the agent counts, measures and traces.

    Attributes:
        tracer: Starts spans.
    """

    def __init__(self, telemetry: Telemetry) -> None:
        """Count and trace with ``telemetry``."""
        meter = telemetry.meter
        self.tracer: Tracer = telemetry.tracer
        self._meter: Meter = meter
        self._queries = meter.create_counter(names.QUERIES)
        self._escalations = meter.create_counter(names.ESCALATIONS)
        self._explorations = meter.create_counter(names.EXPLORATIONS)
        self._degradations = meter.create_counter(names.DEGRADATIONS)
        self._disagreements = meter.create_counter(names.DISAGREEMENTS)
        self._failures = meter.create_counter(names.FAILURES)
        self._latency = meter.create_histogram(names.LATENCY, unit="ms")

    def watch(self, tasks: Tasks, outbox: Outbox, upstream: Upstream) -> None:
        """Report what is in place whenever a reader asks."""
        self._meter.create_observable_gauge(names.ACTIVE_RELEASE, [_observe(lambda: _releases(tasks))])
        self._meter.create_observable_gauge(
            names.UPSTREAM_REACHED, [_observe(lambda: [Observation(int(not upstream.reach.is_away))])]
        )
        self._meter.create_observable_gauge(names.OUTBOX_PENDING, [_observe(lambda: [Observation(outbox.pending)])])
        self._meter.create_observable_counter(names.OUTBOX_DROPPED, [_observe(lambda: [Observation(outbox.dropped)])])

    def count_answer(self, task: str, answer: Answer, milliseconds: float) -> None:
        """One query was answered, ``milliseconds`` after it came."""
        provenance = answer.provenance
        attributes = {names.TASK: task}
        self._queries.add(1, attributes)
        self._latency.record(milliseconds, {names.TASK: task, names.TIER: provenance.tier.value})
        if provenance.explored:
            self._explorations.add(1, attributes)
        if provenance.degraded:
            self._degradations.add(1, {names.TASK: task, names.REASON: provenance.reason.value})
        if provenance.tier is not Tier.DEVICE:
            self._escalations.add(1, {names.TASK: task, names.REASON: provenance.reason.value})

    def count_failure(self, task: str) -> None:
        """One query got an error."""
        self._failures.add(1, {names.TASK: task})

    def count_disagreement(self, task: str) -> None:
        """The reference answered an explored query otherwise than the student had."""
        self._disagreements.add(1, {names.TASK: task})


def _observe(read: Callable[[], list[Observation]]) -> Callable[[CallbackOptions], Iterable[Observation]]:
    return lambda _options: read()


def _releases(tasks: Tasks) -> list[Observation]:
    return [
        Observation(hosted.serving.manifest.number, {names.TASK: hosted.name})
        for hosted in tasks
        if hosted.serving is not None
    ]
