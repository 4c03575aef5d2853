"""A device as the cloud sees it, for tests: it draws, escalates, teaches, reports and fetches over real gRPC.

It records what it asked and what it was answered.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from grpc import RpcError, aio

from router.core.domain.query import Answer, Attempt, Query
from router.core.policy.exploration import is_explored
from router.core.release.orders import Orders
from router.core.release.reports import DeviceReport
from router.transport.channel import call_error, open_channel
from router.transport.fleet_wire import orders_from_proto, report_to_proto
from router.transport.telemetry_names import META_DEVICE
from router.transport.wire import answer_from_proto, query_to_proto
from router.v1 import cascade_pb2_grpc, fleet_pb2_grpc, release_pb2, release_pb2_grpc


@dataclass(slots=True)
class EdgeSimulator:
    """One device. Made by ``edge``.

    Attributes:
        device: Its name.
        orders: The last that it heard.
        asked: Every query that it sent, in order.
        answers: Every answer that it got, by query id.
    """

    device: str
    channel: aio.Channel
    orders: Orders = field(default_factory=Orders)
    asked: list[Query] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)
    _heard: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def sync(self, report: DeviceReport | None = None, seconds: float = 60.0) -> Orders:
        """Report, and take the orders."""
        stub = fleet_pb2_grpc.FleetStub(self.channel)
        report = replace(report or DeviceReport(self.device), device=self.device)
        try:
            response = await stub.Sync(report_to_proto(report), metadata=self._metadata, timeout=seconds)
        except RpcError as error:
            raise call_error(error) from error
        self.orders = orders_from_proto(response)
        return self.orders

    async def ask(self, query: Query, seconds: float = 120.0) -> Answer:
        """Send a query as it is, and record it.

        Raises:
            HeadraceError: What the cloud says instead of an answer.
        """
        self.asked.append(query)
        stub = cascade_pb2_grpc.CascadeStub(self.channel)
        try:
            response = await stub.Answer(query_to_proto(query), metadata=self._metadata, timeout=seconds)
        except RpcError as error:
            raise call_error(error) from error
        answer = self.answers[query.id] = answer_from_proto(response)
        async with self._heard:
            self._heard.notify_all()
        return answer

    async def heard(self, count: int) -> None:
        """Wait until ``count`` queries have been answered."""
        async with self._heard:
            await self._heard.wait_for(lambda: len(self.answers) >= count)

    async def escalate(
        self, text: str, task: str, attempt: Attempt | None = None, query_id: str = "", seconds: float = 120.0
    ) -> Answer:
        """Draw with the seed of the last orders, and send the text up as a device does.

        Args:
            text: The question.
            task: Its task.
            attempt: What the device did; ``explored`` is filled in by the draw.
            query_id: A fresh one if empty.
            seconds: The deadline.
        """
        query_id = query_id or uuid.uuid4().hex
        attempt = attempt or Attempt(exploration=1.0)
        drawn = bool(self.orders.seed) and is_explored(self.orders.seed, query_id, attempt.exploration)
        return await self.ask(Query(query_id, task, text, attempt=replace(attempt, explored=drawn)), seconds)

    async def fetch(self, task: str, release: int, file: str) -> bytes:
        """One file of a release."""
        stub = release_pb2_grpc.ReleasesStub(self.channel)
        request = release_pb2.FetchRequest(task=task, release=release, file=file)
        try:
            return b"".join([chunk.data async for chunk in stub.Fetch(request, metadata=self._metadata, timeout=120)])
        except RpcError as error:
            raise call_error(error) from error

    @property
    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return ((META_DEVICE, self.device),)


@asynccontextmanager
async def edge(target: str, device: str) -> AsyncIterator[EdgeSimulator]:
    """A device that speaks to the gateway at ``target`` while the context lasts."""
    channel = open_channel(target, insecure=True)
    try:
        yield EdgeSimulator(device, channel)
    finally:
        await channel.close(None)
