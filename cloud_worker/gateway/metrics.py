"""What a gateway counts, and the span that every query has there."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.trace import INVALID_SPAN, Span

from router.core.errors import HeadraceError, OverloadedError
from router.transport import telemetry_names
from router.transport.telemetry import Telemetry
from router.transport.trace_context import carries_trace, extract, passed_on

FALSE_CLAIMS = "headrace.false_exploration_claims"
FALSE_TIMES = "headrace.times_not_believed"
NO_LESSONS = "headrace.answers_kept_out_of_lessons"
_SAMPLE_CHARACTERS = 200

log = logging.getLogger(__name__)

Metadata = Iterable[tuple[str, str | bytes]]
_UNSEEN: AbstractContextManager[Span] = nullcontext(INVALID_SPAN)


class GatewayMetrics:
    """The counters of one gateway."""

    def __init__(
        self,
        telemetry: Telemetry,
        waiting: Callable[[], int],
        spool_bytes: Callable[[], int],
        quarantined: Callable[[], int] = lambda: 0,
    ) -> None:
        """Count with ``telemetry``; ``waiting``, ``spool_bytes`` and ``quarantined`` are read when somebody looks."""
        meter = telemetry.meter
        self._tracer = telemetry.tracer if telemetry.is_traced else None
        self._is_measured = telemetry.is_measured
        self._queries = meter.create_counter(telemetry_names.QUERIES)
        self._failures = meter.create_counter(telemetry_names.FAILURES)
        self._shed = meter.create_counter(telemetry_names.SHED)
        self._logged = meter.create_counter(telemetry_names.RECORDS_LOGGED)
        self._false_claims = meter.create_counter(FALSE_CLAIMS)
        self._false_times = meter.create_counter(FALSE_TIMES)
        self._no_lessons = meter.create_counter(NO_LESSONS)
        self._told: Counter[str] = Counter()
        self._wrong_clocks = 0
        self._latency = meter.create_histogram(telemetry_names.LATENCY, unit="ms")
        meter.create_observable_gauge("headrace.gateway.waiting", [_reading(waiting)])
        meter.create_observable_gauge("headrace.gateway.spool_bytes", [_reading(spool_bytes)], unit="By")
        meter.create_observable_gauge("headrace.gateway.quarantined", [_reading(quarantined)])

    @contextmanager
    def answering(self, task: str, metadata: Metadata | None) -> Iterator[Span]:
        """Count one query and its time, in a span that goes on from what the call's metadata carry.

        Where nobody receives spans none is made, and a trace is only passed on.
        """
        attributes = {telemetry_names.TASK: task[:64]}
        began = time.perf_counter()
        with self._span(metadata, attributes) as span:
            try:
                yield span
            except HeadraceError as error:
                (self._shed if isinstance(error, OverloadedError) else self._failures).add(1, {"status": error.status})
                raise
        if not self._is_measured:
            return
        self._queries.add(1, attributes)
        self._latency.record((time.perf_counter() - began) * 1000, attributes)

    def _span(self, metadata: Metadata | None, attributes: dict[str, str]) -> AbstractContextManager[Span]:
        if self._tracer is not None:
            return self._tracer.start_as_current_span(
                telemetry_names.SPAN_GATEWAY, extract(metadata), attributes=attributes
            )
        return passed_on(metadata) if carries_trace(metadata) else _UNSEEN

    def logged(self, task: str, in_log: bool) -> None:
        """Count an answer that is durable, in the log or not."""
        if not self._is_measured:
            return
        self._logged.add(int(in_log), {telemetry_names.TASK: task})

    def no_lesson(self, task: str, problem: str, answer: str) -> None:
        """Count an answer that is kept out of the lessons; log the 1st, 2nd, 4th, 8th, ... of a task as samples."""
        self._no_lessons.add(1, {telemetry_names.TASK: task})
        self._told[task] += 1
        if self._told[task].bit_count() == 1:
            shown = answer[:_SAMPLE_CHARACTERS]
            log.warning(
                "task %s: %d answers are no lessons; one, because %s: %r", task, self._told[task], problem, shown
            )

    def false_claim(self, task: str) -> None:
        """Count a query whose claimed draw did not verify."""
        self._false_claims.add(1, {telemetry_names.TASK: task})

    def false_time(self, task: str, caller: str) -> None:
        """Count a query whose device's clock can't be right; name the device the 1st, 2nd, 4th, 8th, ... time."""
        self._false_times.add(1, {telemetry_names.TASK: task})
        self._wrong_clocks += 1
        if self._wrong_clocks.bit_count() == 1:
            log.warning("the clock of device %r is wrong: its rows certify nothing; set its time", caller)


def _reading(read: Callable[[], int]) -> Callable[[CallbackOptions], list[Observation]]:
    return lambda _: [Observation(read())]
