"""What the Cascade service of a gateway works with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cloud_worker.gateway.draws import Draws
from cloud_worker.gateway.feedback_taker import FeedbackTaker
from cloud_worker.gateway.metrics import GatewayMetrics
from cloud_worker.log.spool import Spool
from cloud_worker.pool.batcher import UnderWay
from cloud_worker.pool.tiered_pool import TieredPool
from cloud_worker.state.fleet_quota import FleetLimits
from router.core.domain.task import Task


@dataclass(frozen=True, slots=True)
class CascadeParts:
    """What the service works with.

    Attributes:
        node: Opaque name of this gateway.
        insecure: Callers are who they say they are.
        tasks: By name.
        pool: Asks their teachers.
        spool: Keeps records and answers.
        draws: Tells what was drawn.
        metrics: Counts what happens.
        spool_max_bytes: Above it, answers go out unlogged.
        feedback: Takes what callers think of their answers.
        limits: Of the fleet.
        under_way: How many queries are worked on.
    """

    node: str
    insecure: bool
    tasks: Mapping[str, Task]
    pool: TieredPool
    spool: Spool
    draws: Draws
    metrics: GatewayMetrics
    spool_max_bytes: int
    feedback: FeedbackTaker
    limits: FleetLimits
    under_way: UnderWay = field(default_factory=UnderWay)
