"""A fleet with an authority, and the doors of its gateway, for tests: no Ray, no teachers, real TLS on loopback."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.config.teachers import RecordedSettings
from cloud_worker.fleet.service import FleetServicer
from cloud_worker.gateway.doors import Doors, Ports
from cloud_worker.gateway.releases_service import ReleasesServicer
from cloud_worker.identity.authority import make_authority, open_issuer, renew_issuing
from cloud_worker.identity.register import Register, enrol, keep
from cloud_worker.identity.tokens import Tokens
from cloud_worker.releases.initial import publish_first_releases
from cloud_worker.releases.publisher import Publisher
from cloud_worker.state.database.engine import writing
from cloud_worker.state.store import Store
from router.core.domain.task import Task
from router.identity.bundle import Bundle
from router.identity.certificates import key_to_pem, new_key, said_by
from router.identity.names import Identity, Role
from router.transport.server import caller_of
from router.v1 import cascade_pb2, cascade_pb2_grpc, fleet_pb2_grpc, release_pb2_grpc

PASSPHRASE, ROOT_PASSPHRASE = b"the issuing key of a test", b"the offline root of a test"
DAY_SECONDS = 86_400.0


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
class TrustedFleet:
    """A fleet whose authority lies in a folder.

    Attributes:
        folder: Of all of it.
        config: Of its gateway.
        store: Its state.
        ports: Where its gateway listens.
        callers: Who has called it.
    """

    folder: Path
    config: CloudConfig
    store: Store
    ports: Ports
    callers: Callers

    @property
    def target(self) -> str:
        """Where queries go."""
        return f"127.0.0.1:{self.ports.port}"

    @property
    def enrolment(self) -> str:
        """Where devices enrol."""
        return f"127.0.0.1:{self.ports.enrolment}"

    @property
    def register(self) -> Register:
        """Who has which certificate."""
        return Register(self.store.engine)

    def token(self, device: str = "", hours: float = 1.0, **labels: str) -> str:
        """A token that enrols."""
        root = open_issuer(self.config.ca_folder, PASSPHRASE).trust.root_sha256
        return Tokens(self.store.engine).create(device, labels, root, "test", time.time(), 3600 * hours)

    def bundle(self, role: Role, name: str, days: float = 1.0, now: float | None = None) -> Bundle:
        """An identity, given as an operator gives it, at Unix time ``now`` in seconds."""
        at = time.time() if now is None else now
        issuer, key, identity = open_issuer(self.config.ca_folder, PASSPHRASE), new_key(), Identity(role, name)
        certificate = issuer.issue(identity, key.public_key(), at, days * DAY_SECONDS)
        chain = issuer.chain(certificate)
        with writing(self.store.engine) as connection:
            enrol(connection, identity, {}, at)
            keep(connection, identity, said_by(certificate), chain, at)
        return Bundle(key_to_pem(key), chain, issuer.trust.root_pem)

    def renew_issuing(self, *, distrust: bool = False) -> None:
        """Another issuing key."""
        root = self.folder / "root"
        renew_issuing(self.config.ca_folder, root, PASSPHRASE, ROOT_PASSPHRASE, time.time(), distrust=distrust)


def trusted_config(folder: Path, **settings: Any) -> CloudConfig:
    """The configuration of a cloud in ``folder``, with an authority that is made now."""
    (folder / "issuing.txt").write_bytes(PASSPHRASE)
    (folder / "issuing.txt").chmod(0o600)
    identity = {"listen": "127.0.0.1:0", "passphrase_file": folder / "issuing.txt", "per_address": 10_000}
    config = CloudConfig(
        data=folder / "data",
        door={"listen": "127.0.0.1:0", "reflection": True, **settings.pop("door", {})},
        identity={**identity, **settings.pop("identity", {})},
        teachers=(RecordedSettings(name="big", kind="recorded", answers=str(folder / "answers.jsonl")),),
        tasks=settings.pop("tasks", (Task("home", "big"),)),
        **settings,
    )
    make_authority(config.ca_folder, folder / "root", PASSPHRASE, ROOT_PASSPHRASE, time.time() - 3600)
    return config


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
    doors, callers = Doors(config, "gateway-0", store.engine, listen, insecure=False), Callers()
    cascade_pb2_grpc.add_CascadeServicer_to_server(callers, doors.server)
    fleet = FleetServicer(store, config.fleet, False, config.tasks)
    fleet_pb2_grpc.add_FleetServicer_to_server(fleet, doors.server)
    release_pb2_grpc.add_ReleasesServicer_to_server(ReleasesServicer(config.releases_folder), doors.server)
    ports = await doors.start()
    try:
        yield TrustedFleet(folder, config, store, ports, callers)
    finally:
        await doors.stop(0)
