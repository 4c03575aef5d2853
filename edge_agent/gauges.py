"""The agent's gauges: what is in place on a device, read whenever somebody looks."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from edge_agent.identity.condition import State
from edge_agent.outbox.store import Outbox
from edge_agent.tasks.all_tasks import Tasks
from edge_agent.upstream.client import Upstream
from router.transport import telemetry_names


def add_gauges(
    meter: Meter, tasks: Tasks, outbox: Outbox, upstream: Upstream, states: Callable[[], Iterable[State]]
) -> None:
    """Report releases, outbox, reach, and what is the matter through ``meter``."""
    meter.create_observable_gauge(telemetry_names.ACTIVE_RELEASE, [_observe(lambda: _releases(tasks))])
    meter.create_observable_gauge(
        telemetry_names.UPSTREAM_REACHED, [_observe(lambda: [Observation(int(not upstream.is_away))])]
    )
    meter.create_observable_gauge(
        telemetry_names.UPSTREAM_IN_USE, [_observe(lambda: [Observation(1, {telemetry_names.TARGET: upstream.in_use})])]
    )
    meter.create_observable_gauge(
        telemetry_names.AGENT_STATE, [_observe(lambda: [Observation(1, {"state": state.value}) for state in states()])]
    )
    meter.create_observable_gauge(telemetry_names.OUTBOX_PENDING, [_observe(lambda: [Observation(outbox.pending)])])
    meter.create_observable_counter(telemetry_names.OUTBOX_DROPPED, [_observe(lambda: _dropped(outbox))])


def _observe(read: Callable[[], list[Observation]]) -> Callable[[CallbackOptions], Iterable[Observation]]:
    return lambda _options: read()


def _dropped(outbox: Outbox) -> list[Observation]:
    return [Observation(count, {telemetry_names.REASON: why.value}) for why, count in outbox.drops.items()]


def _releases(tasks: Tasks) -> list[Observation]:
    return [
        Observation(hosted.serving.manifest.number, {telemetry_names.TASK: hosted.name})
        for hosted in tasks
        if hosted.serving is not None
    ]
