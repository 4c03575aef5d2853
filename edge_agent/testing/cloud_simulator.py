"""The cloud in memory, over real gRPC, for tests of agents.

``CloudSimulator`` serves what a cluster serves to devices, records what it was asked, and breaks on demand.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any

from grpc import aio

from edge_agent.testing.answer_book import AnswerBook
from edge_agent.testing.faults import Faults
from edge_agent.testing.release_files import ReleaseFiles
from router.core.domain.chat import transcript
from router.core.domain.feedback import Feedback, unknown_answer
from router.core.domain.query import Answer, Query
from router.core.privacy.erasure import Erasure
from router.core.release.manifest import MANIFEST_FILE, Manifest, digest, write_manifest
from router.core.release.orders import CONTRACT, Order, Orders
from router.core.release.reports import DeviceReport
from router.transport.error_interceptor import ErrorInterceptor
from router.transport.feedback_wire import feedback_from_proto
from router.transport.fleet_wire import orders_to_proto, report_from_proto
from router.transport.server import caller_of
from router.transport.wire import answer_to_proto, query_from_proto
from router.v1 import (
    cascade_pb2,
    cascade_pb2_grpc,
    fleet_pb2,
    fleet_pb2_grpc,
    release_pb2,
    release_pb2_grpc,
)

_MESSAGE_BYTES = 4 * 1024 * 1024

_Context = aio.ServicerContext[Any, Any]


@dataclass(slots=True)
class CloudSimulator:
    """A cluster as devices see it.

    Attributes:
        answer: What the reference says to a text, or to the transcript of a chat.
        interval: Seconds between reports.
        ahead: Seconds by which its clock is ahead; 0 tells devices nothing of it.
        faults: What goes wrong.
        orders: What devices are told, by task.
        queries: Every query asked, with its device, in order.
        feedback: All that was passed on, in order.
        book: What it serves and has answered: what was published, at first ``home``.
        files: Of the releases that were published.
        metadata: The metadata of every query asked.
        reports: Every report, in order.
        erasures: What devices are to erase, until one says that it has.
        contract: That it speaks.
        fetches: Every fetch: task, release, file, offset.
    """

    answer: Callable[[str], str]
    interval: float = 0.1
    ahead: float = 0.0
    faults: Faults = field(default_factory=Faults)
    orders: dict[str, Order] = field(default_factory=dict)
    queries: list[Query] = field(default_factory=list)
    feedback: list[Feedback] = field(default_factory=list)
    book: AnswerBook = field(default_factory=AnswerBook)
    files: ReleaseFiles = field(init=False)
    metadata: list[dict[str, str]] = field(default_factory=list)
    reports: list[DeviceReport] = field(default_factory=list)
    erasures: list[Erasure] = field(default_factory=list)
    fetches: list[tuple[str, int, str, int]] = field(default_factory=list)
    contract: int = CONTRACT
    port: int = 0
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _server: aio.Server | None = None

    def __post_init__(self) -> None:
        self.files = ReleaseFiles(lambda: self.faults)

    @property
    def target(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen: at first on a free port, later on the same one."""
        interceptors = [ErrorInterceptor(_MESSAGE_BYTES)]
        server = aio.server(options=[("grpc.so_reuseport", 0)], interceptors=interceptors)
        cascade_pb2_grpc.add_CascadeServicer_to_server(_Cascade(self), server)
        fleet_pb2_grpc.add_FleetServicer_to_server(_Fleet(self), server)
        release_pb2_grpc.add_ReleasesServicer_to_server(_Releases(self), server)
        self.port = server.add_insecure_port(f"127.0.0.1:{self.port}")
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """Break every connection, as a kill would."""
        if self._server is not None:
            await self._server.stop(0)
            self._server = None

    def publish(self, manifest: Manifest, files: dict[str, bytes], exploration: float = 0.0) -> Order:
        """Make a release ready and order every device to run it."""
        data = write_manifest(manifest)
        self.book.tasks[manifest.task.name] = manifest.task
        may_leave = manifest.task.may_leave_unread
        order = Order(manifest.task.name, manifest.number, digest(data), exploration, may_leave=may_leave)
        self.offer(order, {**files, MANIFEST_FILE: data})
        return order

    def offer(self, order: Order, files: dict[str, bytes]) -> None:
        """Order every device to run a release of these files, whatever they hold."""
        self.files.put(order.task, order.release, files)
        self.orders[order.task] = order

    def order(self, task: str, **changes: Any) -> None:
        """Change what devices are told of a task."""
        self.orders[task] = replace(self.orders[task], **changes)

    async def until(self, holds: Callable[[], bool], seconds: float = 120.0) -> None:
        """Return when ``holds()``, looked at after everything that it is asked.

        Raises:
            TimeoutError: It does not hold in time.
        """
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(holds)

    async def until_active(self, release: int, seconds: float = 120.0) -> None:
        """Return when a report says that a release is active.

        Raises:
            TimeoutError: None does in time.
        """
        await self.until(lambda: any(task.active_release == release for task in self.last_tasks()), seconds)

    def last_tasks(self) -> tuple[Any, ...]:
        """The tasks of the last report."""
        return self.reports[-1].tasks if self.reports else ()

    async def note(self) -> None:
        """Wake who waits in ``until``."""
        async with self._changed:
            self._changed.notify_all()


class _Cascade(cascade_pb2_grpc.CascadeServicer):
    def __init__(self, cloud: CloudSimulator) -> None:
        self._cloud = cloud

    async def Answer(self, request: Any, context: Any) -> cascade_pb2.AnswerResponse:  # noqa: N802
        cloud, query, caller = self._cloud, query_from_proto(request), caller_of(context, insecure=True)
        cloud.queries.append(query)
        busy = cloud.faults.busy_error(query.task)
        cloud.metadata.append({key: str(value) for key, value in context.invocation_metadata()})
        await cloud.note()
        await cloud.faults.suffer(context, is_query=True)
        if busy is not None:
            raise busy
        query = cloud.book.checked(query)
        before = cloud.book.said_before(caller, query)
        if before is not None:
            return before
        said = cloud.answer(query.text or transcript(query.messages))
        answer_id = "another" if cloud.faults.other_id else query.id
        response = answer_to_proto(
            Answer(answer_id, said, cloud.book.provenance(query, logged=not cloud.faults.unlogged))
        )
        if not cloud.faults.unlogged:  # a spool that took nothing has no answer to give again either
            cloud.book.remember(caller, query, response)
        return response

    async def AnswerStream(  # noqa: N802
        self, request: Any, context: Any
    ) -> AsyncIterator[cascade_pb2.AnswerChunk]:
        response = await self.Answer(request, context)
        yield cascade_pb2.AnswerChunk(delta=response.answer, response=response)

    async def Feedback(self, request: Any, context: Any) -> cascade_pb2.FeedbackResponse:  # noqa: N802
        cloud, feedback = self._cloud, feedback_from_proto(request)
        await cloud.faults.suffer(context, is_query=True)
        kept = feedback.attempt is not None and feedback.attempt.kept
        known = kept or cloud.book.has_answered(caller_of(context, insecure=True), feedback.query_id)
        if feedback.task not in cloud.book.tasks or not known:
            raise unknown_answer()
        cloud.feedback.append(feedback)
        await cloud.note()
        return cascade_pb2.FeedbackResponse()


class _Fleet(fleet_pb2_grpc.FleetServicer):
    def __init__(self, cloud: CloudSimulator) -> None:
        self._cloud = cloud

    async def Sync(self, request: Any, context: Any) -> fleet_pb2.SyncResponse:  # noqa: N802
        cloud = self._cloud
        await cloud.faults.suffer(context, is_query=False)
        cloud.reports.append(report_from_proto(request))
        await cloud.note()
        now = time.time() + cloud.ahead if cloud.ahead else 0.0
        done = {said.number for said in cloud.reports[-1].erased}
        cloud.erasures = [one for one in cloud.erasures if one.number not in done]
        orders, erasures = tuple(cloud.orders.values()), tuple(cloud.erasures)
        told = Orders(orders, cloud.interval, cloud.book.seed, now=now, erasures=erasures, contract=cloud.contract)
        return orders_to_proto(told)


class _Releases(release_pb2_grpc.ReleasesServicer):
    def __init__(self, cloud: CloudSimulator) -> None:
        self._cloud = cloud

    async def Fetch(self, request: Any, context: Any) -> AsyncIterator[release_pb2.FetchChunk]:  # noqa: N802
        self._cloud.fetches.append((request.task, request.release, request.file, request.offset))
        await self._cloud.note()
        offset, total = request.offset, len(self._cloud.files.file(request))
        if offset == total:
            yield release_pb2.FetchChunk(offset=offset, total=total)
        async for piece in self._cloud.files.pieces(request, context):
            yield release_pb2.FetchChunk(data=piece, offset=offset, total=total)
            offset += len(piece)
