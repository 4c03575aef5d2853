"""The doors of a gateway: one for queries and reports, and with TLS a second one where devices enrol.

Rules:
 * Without ``insecure`` the first wants a certificate of this fleet from everybody, and looks at each call whether it
   was revoked.
 * The second has the same certificate, and takes callers without one: what it serves is checked by token or proof.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.identity.enrolment import Enrolments
from cloud_worker.identity.enrolment_service import SERVICE, EnrolmentServicer
from cloud_worker.identity.gateway_identity import DAY_SECONDS, GatewayIdentity
from cloud_worker.identity.passphrases import passphrase_of
from cloud_worker.identity.rate_limit import RateLimit
from cloud_worker.identity.register import Register
from cloud_worker.identity.revocations import Revocations
from cloud_worker.releases.repository.files import RepositoryFiles
from router.core.domain.limits import MAX_ATTEMPT_BYTES
from router.core.errors import StartError
from router.transport.server import Door
from router.transport.tls.access_interceptor import ByCertificate
from router.transport.tls.door_tls import DoorTls
from router.v1 import enrolment_pb2_grpc

SERVICES = ("headrace.v1.Cascade", "headrace.v1.Fleet", "headrace.v1.Releases")
_ENROLMENT_BYTES = 256 * 1024  # of the largest message there


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a gateway listens: for queries and reports, and for enrolment (0 for nowhere)."""

    port: int
    enrolment: int = 0


class Doors:
    """The doors of one gateway. Made inside the running event loop.

    Attributes:
        server: Of the first door; takes the servicers, before ``start``.
    """

    def __init__(
        self, config: CloudConfig, name: str, engine: Engine, before: Callable[[str, str], str], *, insecure: bool
    ) -> None:
        """Prepare; nothing is bound yet.

        Args:
            config: All that is set.
            name: Of the gateway.
            engine: Of the fleet's state.
            before: An address as configured and its name in the run file -> with the port of the life before.
            insecure: Plain transport on this machine, and no enrolment.

        Raises:
            ConfigError: There is no authority, or its passphrase is wrong.
        """
        self._revocations: Revocations | None = None
        self._reading: asyncio.Task[None] | None = None
        self._enrolment: Door | None = None
        tls = None
        if not insecure:
            identity = GatewayIdentity(config.ca_folder, passphrase_of(config), name)
            self._revocations = Revocations(Register(engine))
            seconds = config.door.max_connection_seconds
            known = ByCertificate(self._revocations.is_void)
            tls = DoorTls(identity.material, who=known, max_connection_seconds=seconds)
            self._enrolment = self._enrolment_door(config, identity, engine, before)
        self._door = Door(
            before(config.door.listen, "port"),
            insecure=insecure,
            tls=tls,
            reflection=config.door.reflection,
            max_message_bytes=config.door.max_message_bytes,
            extra_attempt_bytes=MAX_ATTEMPT_BYTES,
            services=SERVICES,
        )

    @property
    def server(self) -> Any:
        """The server of the first door."""
        return self._door.server

    async def start(self) -> Ports:
        """Open both.

        Raises:
            StartError: One can't be opened; the other is closed again.
        """
        port = await self._door.start()
        if self._revocations is not None:
            self._reading = asyncio.create_task(self._revocations.keep_reading(), name="revocations")
        if self._enrolment is None:
            return Ports(port)
        try:
            return Ports(port, await self._enrolment.start())
        except StartError:
            await self.stop(0)
            raise

    async def stop(self, grace_seconds: float) -> None:
        """Close both; calls in flight have ``grace_seconds`` to end."""
        if self._reading is not None:
            self._reading.cancel()
        doors = [door for door in (self._door, self._enrolment) if door is not None]
        await asyncio.gather(*(door.stop(grace_seconds) for door in doors))

    def _enrolment_door(
        self, config: CloudConfig, identity: GatewayIdentity, engine: Engine, before: Callable[[str, str], str]
    ) -> Door:
        settings = config.identity
        door = Door(
            before(settings.listen, "enrolment"),
            tls=DoorTls(identity.material, wants_certificates=False, max_connection_seconds=60.0),
            max_message_bytes=_ENROLMENT_BYTES,
            services=[SERVICE],
        )
        enrolments = Enrolments(engine, identity.issuer, settings.certificate_days * DAY_SECONDS)
        limit = RateLimit(settings.per_address, settings.together)
        root = RepositoryFiles(config.repository_folder).root_bytes
        servicer = EnrolmentServicer(enrolments, limit, lambda: self._door.port, root)
        enrolment_pb2_grpc.add_EnrolmentServicer_to_server(servicer, door.server)
        return door
