"""Reports and orders <-> protobuf, both ways; see ``wire.py`` for its rules."""

from __future__ import annotations

from router.core.domain.task import Mode
from router.core.errors import BadInputError
from router.core.privacy.erasure import Erased, Erasure
from router.core.release.orders import Order, Orders
from router.core.release.reports import DeviceReport, TaskReport
from router.transport.limit_checks import check_message
from router.transport.wire_fields import enum, extend, optional, put_all, same
from router.v1 import fleet_pb2

_SHA256_BYTES = 32
_SEED_BYTES = 32
# Fields of the same name and type on both sides.
_DEVICE_INFO = ("agent_version", "platform", "processor", "memory_bytes")
_DEVICE = ("device", "outbox_pending", "outbox_dropped", "state", "life")
_COUNTERS = (
    *("task", "active_release", "staged_release", "answered", "kept", "escalated", "explored", "degraded", "failed"),
    *("covered", "healthy_answers", "explored_kept", "explored_disagreed", "threshold_version"),
    *("model", "float32_because"),
)
_REPORTED = (*_COUNTERS, "p50_milliseconds", "p95_milliseconds", "exploration")
_ORDER = ("task", "release", "watch", "threshold_version", "may_leave")
_LIMITS = ("queries_per_minute", "queries_per_day")  # absent for none


def report_to_proto(report: DeviceReport) -> fleet_pb2.SyncRequest:
    """The request that carries ``report``.

    Raises:
        BadInputError: A value that the wire can't carry.
    """
    request = fleet_pb2.SyncRequest()
    put_all(request, report, (*_DEVICE, "free_disk_bytes"))
    put_all(request.info, report, _DEVICE_INFO, "info.")
    extend(request.info, "formats", report.formats, "info.")
    for position, task in enumerate(report.tasks):
        sent = request.tasks.add()
        put_all(sent, task, _REPORTED, f"tasks[{position}].")
        for release, reason in task.refused:
            sent.refused.add(release=release, reason=reason)
    for why, count in report.outbox_dropped_because:
        request.dropped.add(why=why, count=count)
    for one in report.erased:
        numbers = [fleet_pb2.ErasedNumber(task=task, place=number) for task, number in one.numbers]
        request.erased.add(number=one.number, rows=one.rows, numbers=numbers)
    return request


def report_from_proto(request: fleet_pb2.SyncRequest) -> DeviceReport:
    """The report that ``request`` carries.

    Raises:
        BadInputError: A field is over its limit.
    """
    check_message(request)
    return DeviceReport(
        **same(request, _DEVICE),
        **same(request.info, _DEVICE_INFO),
        formats=tuple(request.info.formats),
        free_disk_bytes=request.free_disk_bytes,
        tasks=tuple(_task_report(sent) for sent in request.tasks),
        erased=tuple(
            Erased(sent.number, sent.rows, tuple((one.task, one.place) for one in sent.numbers))
            for sent in request.erased
        ),
        outbox_dropped_because=tuple((sent.why, sent.count) for sent in request.dropped),
    )


def _task_report(sent: fleet_pb2.TaskReport) -> TaskReport:
    return TaskReport(
        **same(sent, _REPORTED),
        refused=tuple((refused.release, refused.reason) for refused in sent.refused),
    )


def orders_to_proto(orders: Orders) -> fleet_pb2.SyncResponse:
    """The response that carries ``orders``.

    Raises:
        BadInputError: A value that the wire can't carry.
    """
    response = fleet_pb2.SyncResponse()
    put_all(response, orders, ("interval_seconds", "seed", "message", "now", "contract"))
    for position, order in enumerate(orders.tasks):
        sent = response.tasks.add(manifest_sha256=bytes.fromhex(order.manifest_sha256))
        put_all(sent, order, (*_ORDER, "exploration", "threshold", *_LIMITS), f"tasks[{position}].")
        sent.mode = fleet_pb2.Mode.Value(f"MODE_{order.mode.name}")
    for one in orders.erasures:
        response.erasures.add(number=one.number, subject_sha256=bytes.fromhex(one.subject))
    return response


def orders_from_proto(response: fleet_pb2.SyncResponse) -> Orders:
    """The orders that ``response`` carries.

    Raises:
        BadInputError: A field is over its limit, or a digest or a seed has not its length.
    """
    check_message(response)
    if len(response.seed) not in (0, _SEED_BYTES):
        raise BadInputError("seed", f"has {len(response.seed)} bytes; {_SEED_BYTES} or none are right")
    return Orders(
        tasks=tuple(_order(f"tasks[{position}].", sent) for position, sent in enumerate(response.tasks)),
        interval_seconds=response.interval_seconds,
        seed=response.seed,
        message=response.message,
        now=response.now,
        erasures=tuple(_erasure(sent) for sent in response.erasures),
        contract=response.contract,
    )


def _erasure(sent: fleet_pb2.ErasureOrder) -> Erasure:
    if len(sent.subject_sha256) not in (0, _SHA256_BYTES):
        raise BadInputError("erasures.subject_sha256", f"has {len(sent.subject_sha256)} bytes; 32 or none are right")
    return Erasure(sent.number, sent.subject_sha256.hex())


def _order(prefix: str, sent: fleet_pb2.TaskOrder) -> Order:
    if len(sent.manifest_sha256) not in (0, _SHA256_BYTES):
        raise BadInputError(f"{prefix}manifest_sha256", f"has {len(sent.manifest_sha256)} bytes; 32 are right")
    return Order(
        **same(sent, _ORDER),
        manifest_sha256=sent.manifest_sha256.hex(),
        exploration=sent.exploration,
        mode=enum(Mode, fleet_pb2.Mode, "MODE_", sent.mode, Mode.SERVE),
        threshold=optional(sent, "threshold"),
        **{field: optional(sent, field) for field in _LIMITS},
    )
