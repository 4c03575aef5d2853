"""A fleet with an authority, and the doors of its gateway, for tests: no Ray, no teachers, real TLS on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.fleet.service import FleetServicer
from cloud_worker.gateway.doors import Doors, Ports
from cloud_worker.gateway.release_parts import releases_service
from cloud_worker.identity.testing import TrustedAuthority, trusted_config
from cloud_worker.releases.first_release import publish_first_releases
from cloud_worker.releases.publisher import Publisher
from cloud_worker.state.store import Store
from router.transport.server import caller_of
from router.v1 import cascade_pb2, cascade_pb2_grpc, fleet_pb2_grpc, release_pb2_grpc


class Callers(cascade_pb2_grpc.CascadeServicer):
    """Answers every query with the name of its caller.

    Attributes:
        heard: Who called, in order.
    """

    def __init__(self) -> None:
        """Nobody has called yet."""
        self.heard: list[str] = []

    async def Answer(self, request: Any, context: Any) -> cascade_pb2.AnswerResponse:  # noqa: N802
        """The caller's name."""
        self.heard.append(caller_of(context, False))
        return cascade_pb2.AnswerResponse(query_id=request.query_id, answer=self.heard[-1])

    async def AnswerStream(self, request: Any, context: Any) -> AsyncIterator[cascade_pb2.AnswerChunk]:  # noqa: N802
        """The caller's name, in one piece."""
        response = await self.Answer(request, context)
        yield cascade_pb2.AnswerChunk(delta=response.answer, response=response)

    async def Feedback(self, request: Any, context: Any) -> cascade_pb2.FeedbackResponse:  # noqa: N802
        """Taken from anybody."""
        self.heard.append(caller_of(context, False))
        return cascade_pb2.FeedbackResponse()


@dataclass
class Gateway:
    """One gateway.

    Attributes:
        ports: Where it listens.
        callers: Who has called it.
        doors: Its own.
    """

    ports: Ports
    callers: Callers
    doors: Doors

    @property
    def target(self) -> str:
        """Where queries go."""
        return f"127.0.0.1:{self.ports.port}"


@dataclass
class TrustedFleet(TrustedAuthority):
    """A fleet whose authority lies in a folder.

    Attributes:
        gateway: Its own, the first.
    """

    gateway: Gateway

    @property
    def callers(self) -> Callers:
        """Who has called the first gateway."""
        return self.gateway.callers

    @property
    def target(self) -> str:
        """Where queries go."""
        return self.gateway.target

    @property
    def enrolment(self) -> str:
        """Where devices enrol."""
        return f"127.0.0.1:{self.gateway.ports.enrolment}"

    @asynccontextmanager
    async def another_gateway(self, name: str, target: str = "") -> AsyncIterator[Gateway]:
        """One more gateway of this fleet, on a free port or at ``target``, open while the context lasts."""

        def listen(address: str, door: str) -> str:
            return target if target and door == "port" else address

        async with _gateway(self.config, self.store, name, listen) as gateway:
            yield gateway


@asynccontextmanager
async def trusted_fleet(
    folder: Path, listen: Callable[[str, str], str] = lambda address, _: address, **settings: Any
) -> AsyncIterator[TrustedFleet]:
    """A fleet whose gateway's doors are open while the context lasts.

    Args:
        folder: For all of it.
        listen: As ``Doors`` takes it.
        **settings: Of the configuration.
    """
    config = trusted_config(folder, **settings)
    store = Store(config.store_url)
    store.declare_tasks(config.tasks)
    publish_first_releases(config.tasks, store, Publisher(config.releases_folder))
    async with _gateway(config, store, "gateway-0", listen) as gateway:
        yield TrustedFleet(folder, config, store, gateway)


@asynccontextmanager
async def _gateway(
    config: CloudConfig, store: Store, name: str, listen: Callable[[str, str], str] = lambda address, _: address
) -> AsyncIterator[Gateway]:
    doors, callers = Doors(config, name, store.engine, listen, insecure=False), Callers()
    cascade_pb2_grpc.add_CascadeServicer_to_server(callers, doors.server)
    fleet = FleetServicer(store, config.fleet, False, config.tasks)
    fleet_pb2_grpc.add_FleetServicer_to_server(fleet, doors.server)
    release_pb2_grpc.add_ReleasesServicer_to_server(releases_service(config), doors.server)
    ports = await doors.start()
    try:
        yield Gateway(ports, callers, doors)
    finally:
        await doors.stop(0)
