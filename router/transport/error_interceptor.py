"""What a handler raises, as the status that a caller reads.

Rules:
 * An error of the caller or of the service travels with its status and its public message.
 * An operator's error names files, keys and folders: those go into the log, and the caller reads that the service is
   not set up for this.
 * A message is one short line: what it repeats of the request never grows over the room that a status has.
 * Bytes that are no message are the caller's error, not ours.
 * A response that is too large for one message is refused here, in our words, before gRPC finds out.
 * Anything else is INTERNAL, "internal error", and goes into the log with its traceback.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn

import grpc
from google.protobuf.message import DecodeError, Message
from grpc import aio

from router.core.errors import (
    BadInputError,
    BusyError,
    HeadraceError,
    NotServedError,
    OperatorError,
    OverloadedError,
    SpentError,
    TooLargeError,
)
from router.core.visible_text import in_line
from router.io.wordless_errors import tell
from router.transport import telemetry_names
from router.transport.connection_limit import Crowd

MOST_SAID = 400  # characters of a message; it travels as metadata, which has little room
_MOST_HANDLERS = 64
NO_RETRY = "-1"  # a pushback below 0 tells gRPC not to try again (gRFC A6)

_UNREADABLE = object()
_Context = aio.ServicerContext[Any, Any]
_log = logging.getLogger(__name__)


class ErrorInterceptor(aio.ServerInterceptor):  # type: ignore[type-arg] # generic in the stubs alone
    """Turns what unary and server-streaming handlers raise into a status."""

    def __init__(self, max_message_bytes: int, crowd: Crowd | None = None) -> None:
        """Send no response of more than ``max_message_bytes``, and tell ``crowd``, if any, who is being answered."""
        self._most = max_message_bytes
        self._crowd = crowd or Crowd()
        # By method and handler; the handler is kept with it, so that its number is no other's.
        self._guarded: dict[tuple[str, int], tuple[Any, grpc.RpcMethodHandler[Any, Any]]] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any]]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """Wrap the handler of one call."""
        handler = await continuation(handler_call_details)
        if handler is None or handler.request_streaming:
            return handler
        key = (handler_call_details.method, id(handler))
        if key not in self._guarded:
            if len(self._guarded) >= _MOST_HANDLERS:  # some are made anew for each call
                self._guarded.clear()
            self._guarded[key] = (handler, self._guard(handler, handler_call_details.method))
        return self._guarded[key][1]

    def _guard(self, handler: Any, method: str) -> grpc.RpcMethodHandler[Any, Any]:
        read, write = _reader(handler.request_deserializer), handler.response_serializer
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(
                _guard_stream(handler.unary_stream, method, self._most, self._crowd), read, write
            )
        return grpc.unary_unary_rpc_method_handler(
            _guard_call(handler.unary_unary, method, self._most, self._crowd), read, write
        )


def _reader(deserialise: Any) -> Any:
    def read(data: bytes) -> Any:
        try:
            return deserialise(data)
        except DecodeError:
            return _UNREADABLE

    return read


def _check_readable(request: Any) -> None:
    if request is _UNREADABLE:
        raise BadInputError("request", "is not the message that the contract has here")


def _check_size(response: Any, most: int) -> Any:
    if isinstance(response, Message) and response.ByteSize() > most:
        raise TooLargeError(
            f"the answer has {response.ByteSize():,} bytes, and one message has {most:,} at most;"
            " ask for a shorter answer, or for less beside it (top_k, rationale)"
        )
    return response


def _guard_call(behaviour: Any, method: str, most: int, crowd: Crowd) -> Any:
    async def guarded(request: Any, context: _Context) -> Any:
        try:
            _check_readable(request)
            peer = context.peer()
            crowd.begin(peer)
            try:
                return _check_size(await behaviour(request, context), most)
            finally:
                crowd.end(peer)
        except aio.AbortError:
            raise
        except Exception as error:  # noqa: BLE001 - the outermost edge of a daemon
            await _abort(context, error, method)

    return guarded


def _guard_stream(behaviour: Any, method: str, most: int, crowd: Crowd) -> Any:
    if not inspect.isasyncgenfunction(behaviour):
        return _guard_call(behaviour, method, most, crowd)  # writes by itself, as the health service does

    async def guarded(request: Any, context: _Context) -> AsyncIterator[Any]:
        try:
            _check_readable(request)
            peer = context.peer()
            crowd.begin(peer)
            try:
                async for response in behaviour(request, context):
                    yield _check_size(response, most)
            finally:
                crowd.end(peer)
        except aio.AbortError:
            raise
        except Exception as error:  # noqa: BLE001 - the outermost edge of a daemon
            await _abort(context, error, method)

    return guarded


async def _abort(context: _Context, error: Exception, method: str) -> NoReturn:
    status, message = "INTERNAL", "internal error"
    if isinstance(error, NotImplementedError):  # what generated servicers raise
        error = NotServedError(f"{method.rpartition('/')[2]} is not served here")
    if isinstance(error, OperatorError):
        _log.error("%s: %s", method, error, exc_info=error)
        status, message = error.status, "this service is not set up to answer that; its log says why"
    elif isinstance(error, HeadraceError):
        status, message = error.status, in_line(str(error), MOST_SAID)
    else:
        tell(_log, f"{method} failed", error)
    trailing = [
        (telemetry_names.META_ERROR, type(error).__name__ if isinstance(error, HeadraceError) else "HeadraceError")
    ]
    if isinstance(error, BusyError) and error.retry_after is not None:
        trailing.append((telemetry_names.META_RETRY_AFTER, str(max(0, round(error.retry_after * 1000)))))
    if isinstance(error, SpentError | BusyError):
        trailing.append((telemetry_names.META_PUSHBACK, NO_RETRY))
    elif isinstance(error, OverloadedError) and error.retry_after is not None:
        trailing.append((telemetry_names.META_PUSHBACK, str(max(0, round(error.retry_after * 1000)))))
    await context.abort(grpc.StatusCode[status], message, tuple(trailing))
    raise AssertionError("abort raises")
