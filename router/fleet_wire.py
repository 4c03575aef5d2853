"""Reports and orders <-> protobuf messages, both ways."""

from __future__ import annotations

from router.rollout import DeviceReport, Order, Orders, TaskReport
from router.task import Mode
from router.v1 import fleet_pb2 as fleet
from router.wire import both, optional

_MODE, _FROM_MODE = both(
    {Mode.SERVE: fleet.MODE_SERVE, Mode.OBSERVE: fleet.MODE_OBSERVE, Mode.ESCALATE_ALL: fleet.MODE_ESCALATE_ALL}
)


def report_to_proto(report: DeviceReport) -> fleet.SyncRequest:
    """The message that carries a device's report."""
    return fleet.SyncRequest(
        device=report.device,
        info=fleet.DeviceInfo(
            agent_version=report.agent_version,
            platform=report.platform,
            processor=report.processor,
            memory_bytes=report.memory_bytes,
            formats=report.formats,
        ),
        tasks=[_task_report_to_proto(task) for task in report.tasks],
        outbox_pending=report.outbox_pending,
        outbox_dropped=report.outbox_dropped,
        free_disk_bytes=report.free_disk_bytes,
        state=report.state,
    )


def report_from_proto(request: fleet.SyncRequest) -> DeviceReport:
    """The report that a message carries."""
    return DeviceReport(
        device=request.device,
        agent_version=request.info.agent_version,
        platform=request.info.platform,
        processor=request.info.processor,
        memory_bytes=request.info.memory_bytes,
        formats=tuple(request.info.formats),
        tasks=tuple(_task_report_from_proto(task) for task in request.tasks),
        outbox_pending=request.outbox_pending,
        outbox_dropped=request.outbox_dropped,
        free_disk_bytes=request.free_disk_bytes,
        state=request.state,
    )


def orders_to_proto(orders: Orders) -> fleet.SyncResponse:
    """The message that carries the cloud's orders."""
    return fleet.SyncResponse(
        tasks=[
            fleet.TaskOrder(
                task=order.task,
                release=order.release,
                manifest_sha256=bytes.fromhex(order.manifest_sha256),
                exploration=order.exploration,
                mode=_MODE[order.mode],
                watch=order.watch,
                threshold=order.threshold,
                threshold_version=order.threshold_version,
            )
            for order in orders.tasks
        ],
        interval_seconds=orders.interval_seconds,
        seed=orders.seed,
        message=orders.message,
    )


def orders_from_proto(response: fleet.SyncResponse) -> Orders:
    """The orders that a message carries."""
    return Orders(
        tasks=tuple(
            Order(
                task=order.task,
                release=order.release,
                manifest_sha256=order.manifest_sha256.hex(),
                exploration=order.exploration,
                mode=_FROM_MODE.get(order.mode, Mode.SERVE),
                watch=order.watch,
                threshold=optional(order, "threshold"),
                threshold_version=order.threshold_version,
            )
            for order in response.tasks
        ),
        interval_seconds=response.interval_seconds,
        seed=response.seed,
        message=response.message,
    )


_SAME_IN_BOTH = (
    "task",
    "active_release",
    "staged_release",
    "answered",
    "kept",
    "escalated",
    "explored",
    "degraded",
    "failed",
    "covered",
    "healthy_answers",
    "explored_kept",
    "explored_disagreed",
    "p50_milliseconds",
    "p95_milliseconds",
    "exploration",
    "threshold_version",
)


def _task_report_to_proto(report: TaskReport) -> fleet.TaskReport:
    message = fleet.TaskReport(
        refused=[fleet.RefusedRelease(release=number, reason=reason) for number, reason in report.refused]
    )
    for name in _SAME_IN_BOTH:
        setattr(message, name, getattr(report, name))
    return message


def _task_report_from_proto(message: fleet.TaskReport) -> TaskReport:
    return TaskReport(
        refused=tuple((refused.release, refused.reason) for refused in message.refused),
        **{name: getattr(message, name) for name in _SAME_IN_BOTH},
    )
