"""Puts together what answers queries at a gateway: pool, spool, draws, limits, feedback."""

from __future__ import annotations

from collections.abc import Callable

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.gateway.cascade_parts import CascadeParts
from cloud_worker.gateway.draws import Draws
from cloud_worker.gateway.feedback_taker import FeedbackTaker
from cloud_worker.gateway.metrics import GatewayMetrics
from cloud_worker.log.distillation_log import DistillationLog
from cloud_worker.log.spool import Spool
from cloud_worker.pool.batcher import Ask, Gatherer, UnderWay
from cloud_worker.pool.serving_policy import Serving
from cloud_worker.pool.tiered_pool import TieredPool
from cloud_worker.state.feedback import Feedbacks
from cloud_worker.state.fleet_quota import FleetLimits
from cloud_worker.state.store import Store
from router.transport.telemetry import Telemetry


class Gatherers(dict[str, Gatherer]):
    """What gathers the questions for each teacher, by its name.

    Attributes:
        under_way: How many queries their gateway works on.
    """

    def __init__(self, under_way: UnderWay) -> None:
        """None yet."""
        super().__init__()
        self.under_way = under_way


def gatherers(config: CloudConfig, ask: Callable[[str], Ask]) -> Gatherers:
    """What gathers the questions for each teacher.

    Args:
        config: All that is set.
        ask: How a teacher is asked, by its name.
    """
    made = Gatherers(UnderWay())
    for teacher in config.teachers:
        made[teacher.name] = Gatherer(
            teacher.name,
            ask(teacher.name),
            max_batch=teacher.max_batch,
            max_calls=teacher.replicas * teacher.calls_of_a_replica,
            max_waiting=config.door.max_waiting,
            under_way=made.under_way,
        )
    return made


def query_parts(
    config: CloudConfig,
    node: str,
    store: Store,
    teachers: Gatherers,
    spool: Spool,
    draws: Draws,
    telemetry: Telemetry,
    *,
    insecure: bool,
) -> CascadeParts:
    """The parts that the Cascade service of the gateway ``node`` works with."""
    tasks = {task.name: task for task in config.tasks}
    log_of_feedback = DistillationLog(config.log_folder)
    return CascadeParts(
        node=node,
        insecure=insecure,
        tasks=tasks,
        pool=TieredPool(teachers, Serving(store)),
        spool=spool,
        draws=draws,
        metrics=GatewayMetrics(
            telemetry,
            lambda: sum(gatherer.waiting for gatherer in teachers.values()),
            lambda: spool.bytes_used,
            spool.quarantined,
        ),
        spool_max_bytes=config.log.spool_max_bytes,
        feedback=FeedbackTaker(Feedbacks(store.engine), tasks, spool, log_of_feedback),
        limits=FleetLimits(store),
        under_way=teachers.under_way,
    )
