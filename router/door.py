"""The gRPC server that both daemons open.

Rules:
 * Every error leaves as a status and a public message; what is not ours leaves as INTERNAL and is logged.
 * Health says SERVING once the door is open, and NOT_SERVING from the moment it begins to close.
 * Plain transport opens on loopback only, and only when asked for.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import grpc
from grpc_health.v1 import _async as health
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from router.channel import DEFAULT_MAX_MESSAGE_BYTES, is_loopback
from router.errors import ConfigError, HeadraceError, OverloadedError, StartError
from router.names import META_DEVICE, META_PUSHBACK

log = logging.getLogger(__name__)


class Door:
    """One gRPC server on one address.

    Attributes:
        server: Register servicers here before ``start``.
    """

    def __init__(
        self,
        listen: str,
        *,
        insecure: bool,
        services: Sequence[str],
        with_reflection: bool = False,
        max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
    ) -> None:
        """Prepare a server; nothing is opened yet.

        Args:
            listen: ``host:port``; port 0 takes a free one.
            insecure: Plain transport, on loopback only.
            services: Full names of the services, for health and reflection.
            with_reflection: Serve reflection.
            max_message_bytes: Largest message read or written.

        Raises:
            ConfigError: The address or the transport may not be used.
        """
        self.listen = check_listen(listen, insecure=insecure)
        self._health = health.HealthServicer()
        self._services = tuple(services)
        self.server = grpc.aio.server(
            interceptors=[_ErrorInterceptor()],
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", max_message_bytes),
                ("grpc.max_send_message_length", max_message_bytes),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_recv_ping_interval_without_data_ms", 60_000),
            ],
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.server)
        if with_reflection:
            names = (*self._services, "grpc.health.v1.Health", reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, self.server)

    async def start(self) -> int:
        """Open the door and return its port.

        Raises:
            StartError: The port is in use, or the address is not this machine's.
        """
        try:
            port = self.server.add_insecure_port(self.listen)
        except RuntimeError as error:
            raise StartError(f"{self.listen} can't be opened: is the port in use? Choose another one.") from error
        await self.server.start()
        for name in ("", *self._services):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        return int(port)

    async def stop(self, grace: float) -> None:
        """Say that it closes, let calls end for ``grace`` seconds, then close."""
        await self._health.enter_graceful_shutdown()
        await self.server.stop(grace)


def check_listen(listen: str, *, insecure: bool) -> str:
    """Return ``listen`` when a door may be opened there.

    Raises:
        ConfigError: Not ``host:port``, or plain transport was not asked for, or it would leave this machine.
    """
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ConfigError("door.listen", repr(listen), "is not host:port, such as 127.0.0.1:7700")
    if not insecure:
        raise ConfigError(
            "door.listen",
            listen,
            "mutual TLS needs enrolment, which is not available yet; for one machine, start with --insecure",
        )
    if not is_loopback(host):
        raise ConfigError("door.listen", listen, "plain transport (--insecure) stays on this machine; use 127.0.0.1")
    return listen


def caller_of(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """Who calls: on a plain loopback door, whoever the caller says that it is."""
    for key, value in context.invocation_metadata() or ():
        if key == META_DEVICE and isinstance(value, str) and value:
            return value
    return "anonymous"


def stop_on_signals() -> asyncio.Event:
    """An event that the first SIGINT or SIGTERM sets; the second ends the process at once."""
    stopping = asyncio.Event()

    def stop(number: int) -> None:
        if stopping.is_set():
            os._exit(128 + number)
        log.info("stopping; a second signal ends at once")
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    return stopping


class _ErrorInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any]]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any]:
        handler = await continuation(handler_call_details)
        if handler is None or handler.request_streaming:
            return handler
        if handler.response_streaming:
            if not _is_ours(handler_call_details.method):
                return handler
            return grpc.unary_stream_rpc_method_handler(
                _guard_stream(handler.unary_stream), handler.request_deserializer, handler.response_serializer
            )
        return grpc.unary_unary_rpc_method_handler(
            _guard_unary(handler.unary_unary), handler.request_deserializer, handler.response_serializer
        )


def _is_ours(method: str) -> bool:
    return method.startswith("/headrace.")


def _guard_unary(call: Any) -> Any:
    async def guarded(request: Any, context: Any) -> Any:
        try:
            return await call(request, context)
        except Exception as error:  # noqa: BLE001 - the outermost edge of a daemon
            await _abort(context, error)

    return guarded


def _guard_stream(call: Any) -> Any:
    async def guarded(request: Any, context: Any) -> AsyncIterator[Any]:
        try:
            async for piece in call(request, context):
                yield piece
        except Exception as error:  # noqa: BLE001 - the outermost edge of a daemon
            await _abort(context, error)

    return guarded


async def _abort(context: Any, error: Exception) -> None:
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if not isinstance(error, HeadraceError):
        log.error("unexpected error in a call", exc_info=error)
        await context.abort(grpc.StatusCode.INTERNAL, "internal error")
        return
    trailing: tuple[tuple[str, str], ...] = ()
    if isinstance(error, OverloadedError) and error.retry_after is not None:
        trailing = ((META_PUSHBACK, str(int(error.retry_after * 1000))),)
    await context.abort(grpc.StatusCode[error.status], str(error), trailing)
