"""The gRPC server that device and cloud both open.

Rules:
 * What a handler raises becomes a status by ``error_interceptor.py``, for every service behind the door.
 * A port in use is said at once, and shared by processes of one agent alone.
 * Plain text is spoken on this machine alone; with TLS, ``access_interceptor.py`` says who may call what.
 * A socket in the file system is its owner's alone.
 * Idle connections, however many, keep nobody out; see ``connection_limit.py``.
 * Of each kind of call ``Intake.max_untaken`` wait at most, and for ``MOST_UNTAKEN_SECONDS``, until the event loop has
   time for them. gRPC itself refuses others, with CANCELLED and at almost no cost; so who is taken in has waited for a
   bounded time, whatever comes.
 * Stopping says NOT_SERVING first, then lets calls in flight finish within the grace.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME as HEALTH_SERVICE
from grpc_health.v1.health import aio as health  # type: ignore[attr-defined] # the stubs lack it
from grpc_reflection.v1alpha.reflection import SERVICE_NAME as REFLECTION_SERVICE
from grpc_reflection.v1alpha.reflection import enable_server_reflection

from router.core.domain.limits import MAX_DEVICE_BYTES
from router.core.errors import BadInputError, StartError
from router.identity.names import ANONYMOUS
from router.transport import telemetry_names
from router.transport.address import Address, plain_address, read_address, why_not_free
from router.transport.channel import MAX_MESSAGE_BYTES
from router.transport.connection_limit import Crowd
from router.transport.error_interceptor import ErrorInterceptor
from router.transport.tls.access_interceptor import AccessInterceptor, calling
from router.transport.tls.door_tls import DoorTls, server_credentials

MOST_UNTAKEN_SECONDS = 5  # gRPC takes whole ones; a process that stood still for less refuses nobody for it
CONNECTION_GRACE_SECONDS = 60.0  # that calls under way have when their connection is closed for its age
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Intake:
    """How calls come in at a door.

    Attributes:
        max_untaken: Most calls that wait to be taken in, of each method.
        shared: Other processes of this user may listen at the same port; the system divides connections.
    """

    max_untaken: int = 1000
    shared: bool = False


INTAKE = Intake()


class Door:
    """One listening gRPC server with health service and, if wanted, reflection. Made inside the running event loop.

    Attributes:
        server: Takes the servicers, before ``start``.
        port: The bound port, 0 before ``start``.
    """

    def __init__(
        self,
        listen: str,
        *,
        insecure: bool = False,
        tls: DoorTls | None = None,
        reflection: bool = False,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        extra_attempt_bytes: int = 0,
        intake: Intake = INTAKE,
        services: Sequence[str] = (),
    ) -> None:
        """Check the address; nothing is bound yet.

        Args:
            listen: ``HOST:PORT``; port 0 takes any free one.
            insecure: Plain transport, on this machine only.
            tls: Serve with TLS, at any address.
            reflection: Tell callers which services there are.
            max_message_bytes: Largest message in bytes, either way.
            extra_attempt_bytes: Bytes that a question from another tier may have on top.
            intake: How calls come in.
            services: Full names of the services, such as ``headrace.v1.Cascade``, for health and reflection.

        Raises:
            ConfigError: The address can't be read, or may not be opened in plain.
        """
        self._tls = tls
        if tls is None:
            self._address = plain_address(listen, "door", "listen", insecure=insecure)
        else:
            self._address = read_address(listen, "door", "listen")
        self._services = tuple(services)
        self._health = health.HealthServicer()
        self._crowd = Crowd()
        self._keeping: asyncio.Task[None] | None = None
        self.port = 0
        errors = ErrorInterceptor(max_message_bytes, self._crowd)
        options = _options(max_message_bytes, max_message_bytes + extra_attempt_bytes, intake)
        guards: list[aio.ServerInterceptor[Any, Any]] = [errors]
        if tls is not None:
            guards.append(AccessInterceptor(tls.who))
            options += [
                ("grpc.max_connection_age_ms", round(1000 * tls.max_connection_seconds)),
                ("grpc.max_connection_age_grace_ms", round(1000 * CONNECTION_GRACE_SECONDS)),
            ]
        self.server = aio.server(interceptors=guards, options=options)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.server)
        if reflection:
            enable_server_reflection((*self._services, HEALTH_SERVICE, REFLECTION_SERVICE), self.server)

    async def start(self, *, ready: bool = True, joins: bool = False) -> int:
        """Bind and serve. Returns the bound port.

        Args:
            ready: Say SERVING at once; else NOT_SERVING until ``ready()``, while calls are taken all the same.
            joins: Others listen there already, who share it.

        Raises:
            StartError: The port can't be bound; names it and why.
        """
        if not joins:
            _check_free(self._address)  # before gRPC, which would write its own lines about it
        try:
            self.port = self._bind()
        except RuntimeError as error:
            raise StartError(f"can't listen on {self._address}: it was taken just now; choose another port") from error
        await self._say(health_pb2.HealthCheckResponse.NOT_SERVING)
        await self.server.start()
        if not self._address.socket:
            self._keeping = asyncio.create_task(self._crowd.shed_idle(self.port), name="keep_room")
        if ready:
            await self.ready()
        _log.info("listening on %s", Address(self._address.host, self.port))
        return self.port

    def _bind(self) -> int:
        where = str(self._address)
        if self._tls is not None:
            return self.server.add_secure_port(where, server_credentials(self._tls))
        if not self._address.socket:
            return self.server.add_insecure_port(where)
        before = os.umask(0o177)  # of the whole process, for as long as the socket takes to be made
        try:
            self.server.add_insecure_port(where)
        finally:
            os.umask(before)
        return 0

    async def ready(self) -> None:
        """Say SERVING."""
        await self._say(health_pb2.HealthCheckResponse.SERVING)

    async def _say(self, status: health_pb2.HealthCheckResponse.ServingStatus.ValueType) -> None:
        for service in ("", *self._services):
            await self._health.set(service, status)

    async def stop(self, grace_seconds: float) -> None:
        """Say NOT_SERVING, take no new calls, and give those in flight ``grace_seconds`` to finish."""
        if self._keeping is not None:
            self._keeping.cancel()
        await self._health.enter_graceful_shutdown()
        await self.server.stop(grace_seconds)
        if self._address.socket:
            with contextlib.suppress(OSError):
                os.unlink(self._address.socket)  # noqa: PTH108


def _options(max_sent_bytes: int, max_received_bytes: int, intake: Intake) -> list[tuple[str, Any]]:
    return [
        # From the first on some are refused by chance, from the second on all.
        ("grpc.server.max_pending_requests", intake.max_untaken),
        ("grpc.server.max_pending_requests_hard_limit", intake.max_untaken),
        ("grpc.server_max_unrequested_time_in_server", MOST_UNTAKEN_SECONDS),
        ("grpc.so_reuseport", int(intake.shared)),
        ("grpc.max_send_message_length", max_sent_bytes),
        ("grpc.max_receive_message_length", max_received_bytes),
        # Callers ping every 200 s, also between calls, so that NATs keep the connection.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 100_000),
    ]


def _check_free(address: Address) -> None:
    error = why_not_free(address)
    if error is not None:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise StartError(
            f"can't listen on {address}: {reason}; stop what listens there, or choose another port"
        ) from error


def caller_of(context: aio.ServicerContext[Any, Any], insecure: bool) -> str:
    """Who calls: by certificate or token, and on an insecure door whoever it says it is; else ``anonymous``.

    Raises:
        BadInputError: The name is too long.
    """
    return caller_in(context.invocation_metadata() if insecure else (), insecure)


def caller_in(metadata: Iterable[tuple[str, str | bytes]] | None, insecure: bool) -> str:
    """Who calls, as ``caller_of`` says it, for who has read a call's metadata already: gRPC makes them anew each time.

    Raises:
        BadInputError: The name is too long.
    """
    if not insecure:
        known = calling()
        return ANONYMOUS if known is None else known.caller
    for key, value in metadata or ():
        if key == telemetry_names.META_DEVICE and isinstance(value, str) and value:
            if len(value) > MAX_DEVICE_BYTES:
                raise BadInputError(key, f"has {len(value)} bytes; {MAX_DEVICE_BYTES} are allowed")
            return value
    return ANONYMOUS


def listen_for_stop() -> asyncio.Event:
    """An event that the first SIGINT or SIGTERM sets; the second ends the process at once with 130 or 143.

    Called once per daemon, in its main thread, inside the running event loop, before anything is opened: until then a
    signal ends the process as it stands.
    """
    stop = asyncio.Event()

    def on_signal(number: signal.Signals) -> None:
        if stop.is_set():
            _log.warning("stopping at once: %s came again", number.name)
            logging.shutdown()
            os._exit(128 + number)
        _log.info("stopping: %s; once more stops at once", number.name)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal, number)
    return stop
