"""Who calls, and may they? Asked before every call on a door with TLS.

Rules:
 * A call is held against the table of ``router.identity.access``; without an entry nobody may.
 * Who calls is known by the certificate of the connection or by a bearer token, never by what else the call says.
 * A certificate that was revoked calls nothing, whatever it names.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import grpc
from grpc import aio

from router.core.errors import BadInputError, DeniedError, RevokedError
from router.identity.access import ANYBODY, MAY_CALL, check_access
from router.identity.certificates import Certificate, read_certificate
from router.identity.names import Identity
from router.transport import telemetry_names

_Context = aio.ServicerContext[Any, Any]
Who = Callable[[_Context], Identity | None]

_CALLER: ContextVar[Identity | None] = ContextVar("caller", default=None)
_MOST_REMEMBERED = 4096
REVOKED = "this certificate was revoked; whoever operates the cloud can make a token to enrol again"


def calling() -> Identity | None:
    """Who makes the call that is being answered; ``None`` on a plain door, or of whoever names nobody."""
    return _CALLER.get()


class ByCertificate:
    """Knows callers by the certificates of their connections."""

    def __init__(self, is_void: Callable[[str], bool] = lambda serial: False) -> None:
        """Take certificates unless ``is_void`` says of a serial number, in hex, that it was revoked."""
        self._is_void = is_void
        self._read: OrderedDict[bytes, Certificate] = OrderedDict()

    def __call__(self, context: _Context) -> Identity | None:
        """Who calls.

        Raises:
            DeniedError: The certificate names nobody of this fleet.
            RevokedError: It was revoked.
        """
        shown = next(iter(context.auth_context().get("x509_pem_cert", ())), None)
        if shown is None:
            return None
        certificate = self._certificate(shown)
        if self._is_void(certificate.serial):
            raise RevokedError(REVOKED)
        if certificate.identity is None:
            raise DeniedError("this certificate names nobody of this fleet")
        return certificate.identity

    def _certificate(self, pem: bytes) -> Certificate:
        found = self._read.get(pem)
        if found is None:
            try:
                found = self._read[pem] = read_certificate(pem)
            except BadInputError as error:
                raise DeniedError("this certificate can't be read") from error
            if len(self._read) > _MOST_REMEMBERED:
                self._read.popitem(last=False)
        return found


def nobody(context: _Context) -> Identity | None:
    """The identity at a door without client certificates: whoever calls is nobody in particular."""
    return None


class AccessInterceptor(aio.ServerInterceptor):  # type: ignore[type-arg] # generic in the stubs alone
    """Lets a call go on when its caller may make it."""

    def __init__(self, who: Who) -> None:
        """Know callers by ``who``, which raises ``DeniedError`` of those that may call nothing."""
        self._who = who

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any]]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """Wrap the handler of one call."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return handler
        method = str(handler_call_details.method)
        read, write = handler.request_deserializer, handler.response_serializer
        if handler.request_streaming:
            wrap = (
                grpc.stream_stream_rpc_method_handler
                if handler.response_streaming
                else grpc.stream_unary_rpc_method_handler
            )
            inner = handler.stream_stream if handler.response_streaming else handler.stream_unary
            return wrap(self._aborting(inner, method), read, write)
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(self._streaming(handler.unary_stream, method), read, write)
        return grpc.unary_unary_rpc_method_handler(self._guarded(handler.unary_unary, method), read, write)

    def _admit(self, context: _Context, method: str) -> None:
        caller = None if MAY_CALL.get(method) == ANYBODY else self._who(context)
        check_access(method, caller)
        _CALLER.set(caller)

    def _guarded(self, behaviour: Any, method: str) -> Any:
        async def guarded(request: Any, context: _Context) -> Any:
            self._admit(context, method)
            return await behaviour(request, context)

        return guarded

    def _streaming(self, behaviour: Any, method: str) -> Any:
        if not inspect.isasyncgenfunction(behaviour):
            return self._guarded(behaviour, method)  # writes by itself, as the health service does

        async def guarded(request: Any, context: _Context) -> AsyncIterator[Any]:
            self._admit(context, method)
            async for response in behaviour(request, context):
                yield response

        return guarded

    def _aborting(self, behaviour: Any, method: str) -> Any:
        """A handler that refuses streams of requests, which ``ErrorInterceptor`` leaves alone."""

        async def guarded(requests: Any, context: _Context) -> Any:
            try:
                self._admit(context, method)
            except DeniedError as error:
                told = ((telemetry_names.META_ERROR, type(error).__name__),)
                await context.abort(grpc.StatusCode.PERMISSION_DENIED, str(error), told)
            if inspect.isasyncgenfunction(behaviour):
                async for response in behaviour(requests, context):
                    await context.write(response)
                return None
            return await behaviour(requests, context)

        return guarded
