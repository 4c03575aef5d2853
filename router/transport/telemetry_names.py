"""Names of spans, metrics and attributes, so that traces and figures of edge and cloud join."""

from __future__ import annotations

from typing import Final

SERVICE_CLIENT: Final = "headrace-client"
SERVICE_EDGE: Final = "headrace-edge"
SERVICE_CLOUD: Final = "headrace-cloud"

# Spans, in the order of the flow.
SPAN_CLIENT: Final = "headrace.client.answer"
SPAN_AGENT: Final = "headrace.agent.answer"
SPAN_STUDENT: Final = "headrace.agent.student"
SPAN_ESCALATE: Final = "headrace.agent.escalate"
SPAN_GATEWAY: Final = "headrace.gateway.answer"
SPAN_TEACHER: Final = "headrace.teacher.answer"

# Attributes.
TASK: Final = "headrace.task"
QUERY_ID: Final = "headrace.query_id"
RELEASE: Final = "headrace.release"
TARGET: Final = "headrace.target"
REASON: Final = "headrace.reason"
TIER: Final = "headrace.tier"
DEVICE: Final = "headrace.device"
TEACHER: Final = "headrace.teacher"
DEGRADED: Final = "headrace.degraded"
EXPLORED: Final = "headrace.explored"

# Metrics: counters unless said.
QUERIES: Final = "headrace.queries"
ESCALATIONS: Final = "headrace.escalations"
EXPLORATIONS: Final = "headrace.explorations"
DISAGREEMENTS: Final = "headrace.explored_disagreements"
DEGRADATIONS: Final = "headrace.degradations"
FAILURES: Final = "headrace.failures"
LATENCY: Final = "headrace.latency"  # histogram, milliseconds
ACTIVE_RELEASE: Final = "headrace.active_release"  # gauge
UPSTREAM_IN_USE: Final = "headrace.upstream_in_use"  # gauge: 1, by the target that replied last
UPSTREAM_REACHED: Final = "headrace.upstream_reached"  # gauge: 1, or 0 while nothing answers
AGENT_STATE: Final = "headrace.agent_state"  # gauge: 1 for each state that holds
OUTBOX_PENDING: Final = "headrace.outbox_pending"  # gauge
OUTBOX_DROPPED: Final = "headrace.outbox_dropped"
RECORDS_LOGGED: Final = "headrace.records_logged"
SPOOL_PENDING: Final = "headrace.spool_pending"  # gauge
SHED: Final = "headrace.shed"

# gRPC metadata keys.
META_DEVICE: Final = "headrace-device"  # who calls, believed only on an insecure loopback door
META_PUSHBACK: Final = "grpc-retry-pushback-ms"
META_RETRY_AFTER: Final = "headrace-retry-after-ms"  # of a refusal that gRPC itself must not try again
META_ERROR: Final = "headrace-error"  # class of the error; says that the details are a public message of ours
