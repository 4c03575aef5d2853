"""The cloud in memory, over real gRPC, for tests of agents.

``CloudSimulator`` serves what a cluster serves to devices, records what it was asked, and breaks on demand.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
from grpc import aio

from edge_agent.testing.faults import Faults
from edge_agent.testing.tiny_releases import TASK
from router.core.domain.chat import transcript
from router.core.domain.feedback import Feedback, unknown_answer
from router.core.domain.query import Answer, Consent, Provenance, Query, Reason, Route, Tier, check_query
from router.core.domain.task import Task
from router.core.errors import (
    BadInputError,
    ConflictingQueryError,
    NotPossibleError,
    SpentError,
    UnknownTaskError,
    no_such_task,
)
from router.core.policy.exploration import is_explored
from router.core.release.manifest import MANIFEST_FILE, Manifest, digest, is_plain_name, write_manifest
from router.core.release.orders import DeviceReport, Order, Orders
from router.transport import telemetry_names
from router.transport.connection_limit import Crowd
from router.transport.error_interceptor import NO_RETRY, ErrorInterceptor
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

SEED = bytes(range(32))
_MESSAGE_BYTES = 4 * 1024 * 1024

_Context = aio.ServicerContext[Any, Any]


@dataclass(slots=True)
class CloudSimulator:
    """A cluster as devices see it.

    Attributes:
        answer: What the reference says to a text, or to the transcript of a chat.
        seed: Handed to every device.
        interval: Seconds between reports.
        faults: What goes wrong.
        orders: What devices are told, by task.
        queries: Every query asked, with its device, in order.
        feedback: All that was passed on, in order.
        tasks: What it serves, by name: what was published, at first ``home``.
        metadata: The metadata of every query asked.
        reports: Every report, in order.
        fetches: Every fetch: task, release, file, offset.
    """

    answer: Callable[[str], str]
    seed: bytes = SEED
    interval: float = 0.1
    faults: Faults = field(default_factory=Faults)
    orders: dict[str, Order] = field(default_factory=dict)
    queries: list[Query] = field(default_factory=list)
    feedback: list[Feedback] = field(default_factory=list)
    tasks: dict[str, Task] = field(default_factory=lambda: {TASK.name: TASK})
    metadata: list[dict[str, str]] = field(default_factory=list)
    reports: list[DeviceReport] = field(default_factory=list)
    fetches: list[tuple[str, int, str, int]] = field(default_factory=list)
    port: int = 0
    _files: dict[tuple[str, int, str], bytes] = field(default_factory=dict)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _broken: set[tuple[str, int, str]] = field(default_factory=set)
    _answered: dict[tuple[str, str], tuple[str, cascade_pb2.AnswerResponse]] = field(default_factory=dict)
    _server: aio.Server | None = None

    @property
    def target(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen: at first on a free port, later on the same one."""
        interceptors = [ErrorInterceptor(_MESSAGE_BYTES, Crowd())]
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
        self.tasks[manifest.task.name] = manifest.task
        may_leave = not manifest.task.local_only
        order = Order(manifest.task.name, manifest.number, digest(data), exploration, may_leave=may_leave)
        self.offer(order, {**files, MANIFEST_FILE: data})
        return order

    def offer(self, order: Order, files: dict[str, bytes]) -> None:
        """Order every device to run a release of these files, whatever they hold."""
        for name, content in files.items():
            self._files[order.task, order.release, name] = content
        self.orders[order.task] = order

    def order(self, task: str, **changes: Any) -> None:
        """Change what devices are told of a task."""
        self.orders[task] = replace(self.orders[task], **changes)

    async def until(self, holds: Callable[[], bool], seconds: float = 30.0) -> None:
        """Return when ``holds()``, looked at after everything that it is asked.

        Raises:
            TimeoutError: It does not hold in time.
        """
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(holds)

    async def until_active(self, release: int, seconds: float = 30.0) -> None:
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

    async def suffer(self, context: _Context, *, is_query: bool) -> None:
        """Let the faults of a call happen."""
        if self.faults.hang:
            await asyncio.Event().wait()
        if self.faults.delay:
            await asyncio.sleep(self.faults.delay)
        if self.faults.unavailable:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "unavailable on purpose")
        if is_query and self.faults.unknown_task:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown on purpose")
        if is_query and self.faults.spent:
            told = ((telemetry_names.META_ERROR, SpentError.__name__), (telemetry_names.META_PUSHBACK, NO_RETRY))
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "spent on purpose", told)
        if is_query and self.faults.pushback is not None:
            pushback = ((telemetry_names.META_PUSHBACK, str(int(1000 * self.faults.pushback))),)
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "shed on purpose", pushback)

    async def pieces(self, request: release_pb2.FetchRequest, context: _Context) -> AsyncIterator[bytes]:
        """The bytes of a file as they are sent, with all that goes wrong with them."""
        data = self.file(request)
        key = (request.task, request.release, request.file)
        if request.file in self.faults.corrupt:
            data = bytes([data[0] ^ 1]) + data[1:]
        for start in range(request.offset, len(data), self.faults.chunk_bytes):
            if self.faults.chunk_delay:
                await asyncio.sleep(self.faults.chunk_delay)
            limit = self.faults.break_after
            if limit is not None and start >= limit and key not in self._broken:
                self._broken.add(key)
                await context.abort(grpc.StatusCode.UNAVAILABLE, "broken on purpose")
            yield data[start : start + self.faults.chunk_bytes]

    def file(self, request: release_pb2.FetchRequest) -> bytes:
        """The file that is asked for, whole.

        Raises:
            BadInputError: A name or the offset can't be.
            UnknownTaskError: There is none.
        """
        if not is_plain_name(request.task) or not is_plain_name(request.file):
            raise BadInputError("file", "and task must be plain names")
        data = self._files.get((request.task, request.release, request.file))
        if data is None:
            raise UnknownTaskError(f"no file {request.file!r} in release {request.release} of {request.task!r}")
        if request.offset > len(data):
            raise BadInputError("offset", f"is {request.offset}, past the file's {len(data)} bytes")
        return data

    def checked(self, query: Query) -> Query:
        """The query as it is answered, with an id.

        Raises:
            CallerError: It can't be; says what to change.
        """
        task = self.tasks.get(query.task)
        if not query.task:
            raise BadInputError("task", f"is empty; tasks here: {', '.join(sorted(self.tasks))}")
        if task is None:
            raise no_such_task(query.task, self.tasks)
        query = check_query(query, task.max_text_bytes)
        if task.local_only or query.route is Route.LOCAL_ONLY:
            raise NotPossibleError("this query may not leave its device, and this is the cloud")
        return query if query.id else replace(query, id=uuid.uuid4().hex)

    def said_before(self, caller: str, query: Query) -> cascade_pb2.AnswerResponse | None:
        """What this caller was answered under this id.

        Raises:
            ConflictingQueryError: To another question.
        """
        digest_before, response = self._answered.get((caller, query.id), (query.digest(), None))
        if digest_before != query.digest():
            raise ConflictingQueryError(f"query id {query.id!r} came with another question; use a new id")
        return response

    def remember(self, caller: str, query: Query, response: cascade_pb2.AnswerResponse) -> None:
        """Answer this caller the same under this id from now on."""
        self._answered[caller, query.id] = query.digest(), response

    def has_answered(self, caller: str, query_id: str) -> bool:
        """Whether feedback of this caller may be of an answer from here."""
        return (caller, query_id) in self._answered


class _Cascade(cascade_pb2_grpc.CascadeServicer):
    def __init__(self, cloud: CloudSimulator) -> None:
        self._cloud = cloud

    async def Answer(self, request: Any, context: Any) -> cascade_pb2.AnswerResponse:  # noqa: N802
        cloud, query, caller = self._cloud, query_from_proto(request), caller_of(context, insecure=True)
        cloud.queries.append(query)
        cloud.metadata.append({key: str(value) for key, value in context.invocation_metadata()})
        await cloud.note()
        await cloud.suffer(context, is_query=True)
        query = cloud.checked(query)
        before = cloud.said_before(caller, query)
        if before is not None:
            return before
        said = cloud.answer(query.text or transcript(query.messages))
        answer_id = "another" if cloud.faults.other_id else query.id
        response = answer_to_proto(Answer(answer_id, said, self._provenance(query)))
        if not cloud.faults.unlogged:  # a spool that took nothing has no answer to give again either
            cloud.remember(caller, query, response)
        return response

    def _provenance(self, query: Query) -> Provenance:
        attempt, faults = query.attempt, self._cloud.faults
        return Provenance(
            Tier.CLUSTER,
            "simulated",
            "1",
            reason=attempt.reason if attempt else Reason.DIRECT,
            covered=attempt is not None and not attempt.degraded and query.route is Route.AUTO,
            logged=not faults.unlogged and query.consent is not Consent.REFUSED,
            explored=attempt is not None
            and attempt.explored
            and is_explored(self._cloud.seed, query.id, attempt.exploration),
            node="gateway-0",
        )

    async def AnswerStream(  # noqa: N802
        self, request: Any, context: Any
    ) -> AsyncIterator[cascade_pb2.AnswerChunk]:
        response = await self.Answer(request, context)
        yield cascade_pb2.AnswerChunk(delta=response.answer, response=response)

    async def Feedback(self, request: Any, context: Any) -> cascade_pb2.FeedbackResponse:  # noqa: N802
        cloud, feedback = self._cloud, feedback_from_proto(request)
        await cloud.suffer(context, is_query=True)
        kept = feedback.attempt is not None and feedback.attempt.kept
        known = kept or cloud.has_answered(caller_of(context, insecure=True), feedback.query_id)
        if feedback.task not in cloud.tasks or not known:
            raise unknown_answer()
        cloud.feedback.append(feedback)
        await cloud.note()
        return cascade_pb2.FeedbackResponse()


class _Fleet(fleet_pb2_grpc.FleetServicer):
    def __init__(self, cloud: CloudSimulator) -> None:
        self._cloud = cloud

    async def Sync(self, request: Any, context: Any) -> fleet_pb2.SyncResponse:  # noqa: N802
        cloud = self._cloud
        await cloud.suffer(context, is_query=False)
        cloud.reports.append(report_from_proto(request))
        await cloud.note()
        return orders_to_proto(Orders(tuple(cloud.orders.values()), cloud.interval, cloud.seed))


class _Releases(release_pb2_grpc.ReleasesServicer):
    def __init__(self, cloud: CloudSimulator) -> None:
        self._cloud = cloud

    async def Fetch(self, request: Any, context: Any) -> AsyncIterator[release_pb2.FetchChunk]:  # noqa: N802
        self._cloud.fetches.append((request.task, request.release, request.file, request.offset))
        await self._cloud.note()
        offset, total = request.offset, len(self._cloud.file(request))
        if offset == total:
            yield release_pb2.FetchChunk(offset=offset, total=total)
        async for piece in self._cloud.pieces(request, context):
            yield release_pb2.FetchChunk(data=piece, offset=offset, total=total)
            offset += len(piece)
