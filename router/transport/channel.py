"""The gRPC channels that every caller opens, and what their errors mean.

Rules:
 * One channel per target, kept; it reconnects by itself within two seconds of the target's return.
 * Retries are gRPC's own and obey pushback; who retries by itself opens the channel with ``attempts=1``.
 * Only errors of ``errors`` come out. A message that gRPC made up names addresses: it is told to whom named the
   target, and to nobody else.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable
from typing import Any

import grpc
from grpc import aio

from router.core.errors import (
    BadInputError,
    BusyError,
    HeadraceError,
    OverloadedError,
    RevokedError,
    SpentError,
    TooLargeError,
    UnavailableError,
    error_for_status,
)
from router.identity.bundle import Bundle
from router.transport import telemetry_names
from router.transport.address import SOCKET, plain_address, read_target
from router.transport.connection_failures import FailureKind, read_failure

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
RESOLVE_MILLISECONDS = 5_000  # for a name; gRPC itself would wait two minutes for servers that say nothing
MAX_ATTEMPTS = 5  # gRPC itself takes no more
# CLIENT: Received message larger than max (4194320 vs. 4194304); received metadata size exceeds hard limit (...)
_TOO_LARGE = re.compile(r"message larger than max|metadata size exceeds|larger than.*metadata", re.IGNORECASE)
_FULL = ("CANCELLED", "CANCELLED")  # status and words of a door that has more calls than it takes in, as gRPC says it
FULL_SECONDS = 1.0  # after which asking such a door again makes sense; it says no time itself
_SIZES = re.compile(r"\((\d+) vs\. (\d+)\)")
BULK_WINDOW_BYTES = 16 * 1024  # on the line at a time: a third of a second at 50 kB/s
_BULK = (
    ("grpc.use_local_subchannel_pool", 1),  # else channels to one target share a connection
    ("grpc.http2.lookahead_bytes", BULK_WINDOW_BYTES),
    ("grpc.http2.bdp_probe", 0),  # which would widen the window
)
_BY_NAME = {error.__name__: error for error in (SpentError, RevokedError)}
_log = logging.getLogger(__name__)


def open_channel(
    target: str,
    *,
    insecure: bool = False,
    identity: Bundle | None = None,
    max_message_bytes: int = MAX_MESSAGE_BYTES,
    extra_attempt_bytes: int = 0,
    attempts: int = MAX_ATTEMPTS,
) -> aio.Channel:
    """A channel to ``target`` for the running event loop; nothing is sent yet.

    Args:
        target: ``[NAME@]HOST:PORT`` or ``unix:PATH``.
        insecure: Plain transport, on this machine only.
        identity: Who asks, by TLS.
        max_message_bytes: Largest message in bytes, either way.
        extra_attempt_bytes: Bytes that a question may have on top, for what this tier adds to it.
        attempts: How often gRPC may send one call, 1 to 5.

    Raises:
        ConfigError: The target is no address, or may not be spoken to in plain.
    """
    options = _options(max_message_bytes + extra_attempt_bytes, max_message_bytes, attempts)
    channel: aio.Channel = _open(aio, target, insecure, identity, options)
    return channel


def open_bulk_channel(
    target: str,
    *,
    insecure: bool = False,
    identity: Bundle | None = None,
    max_message_bytes: int = MAX_MESSAGE_BYTES,
) -> aio.Channel:
    """A channel for what takes long and is in no hurry: its own connection, and little of it on the line at a time.

    Args:
        target: ``[NAME@]HOST:PORT`` or ``unix:PATH``.
        insecure: Plain transport, on this machine only.
        identity: Who asks, by TLS.
        max_message_bytes: Largest message in bytes, either way.

    Raises:
        ConfigError: The target is no address, or may not be spoken to in plain.
    """
    options = _options(max_message_bytes, max_message_bytes, MAX_ATTEMPTS)
    channel: aio.Channel = _open(aio, target, insecure, identity, [*options, *_BULK])
    return channel


def open_sync_channel(
    target: str,
    *,
    insecure: bool = False,
    identity: Bundle | None = None,
    max_message_bytes: int = MAX_MESSAGE_BYTES,
    attempts: int = MAX_ATTEMPTS,
) -> grpc.Channel:
    """A channel like that of ``open_channel``, for callers without an event loop; threads may share it."""
    options = _options(max_message_bytes, max_message_bytes, attempts)
    channel: grpc.Channel = _open(grpc, target, insecure, identity, options)
    return channel


def check_target(target: str, source: str, key: str, *, insecure: bool, secured: bool) -> None:
    """Check that ``target`` can be read, and spoken to so.

    Raises:
        ConfigError: It is no address, or may not be spoken to in plain.
    """
    if secured and not insecure and not target.startswith(SOCKET):
        read_target(target, source, key)
    else:
        plain_address(target, source, key, insecure=insecure)


def _open(kind: Any, target: str, insecure: bool, identity: Bundle | None, options: list[tuple[str, Any]]) -> Any:
    directly = ("grpc.enable_http_proxy", 0)  # no proxy is on the way to this machine
    if insecure or identity is None or target.startswith(SOCKET):
        address = plain_address(target, "channel", "target", insecure=insecure)
        return kind.insecure_channel(str(address), options=[*options, directly])
    address, who = read_target(target, "channel", "target")
    named: list[tuple[str, Any]] = [
        ("grpc.ssl_target_name_override", who.server),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    if address.is_loopback:
        named.append(directly)
    return kind.secure_channel(str(address), _credentials(identity), options=[*options, *named])


def _credentials(bundle: Bundle) -> grpc.ChannelCredentials:
    """TLS of whoever dials: by a certificate where the bundle holds one, else by its bearer token if there is one."""
    if bundle.key:
        return grpc.ssl_channel_credentials(bundle.authorities, bundle.key, bundle.chain)
    tls = grpc.ssl_channel_credentials(bundle.authorities)
    if not bundle.bearer:
        return tls
    return grpc.composite_channel_credentials(tls, grpc.access_token_call_credentials(bundle.bearer))


def _options(max_sent_bytes: int, max_received_bytes: int, attempts: int) -> list[tuple[str, Any]]:
    return [
        ("grpc.max_send_message_length", max_sent_bytes),
        ("grpc.max_receive_message_length", max_received_bytes),
        # NATs drop idle TCP after 4 minutes.
        ("grpc.keepalive_time_ms", 200_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 2_000),  # also the least time that one attempt to connect is given
        ("grpc.max_reconnect_backoff_ms", 2_000),
        ("grpc.dns_ares_query_timeout", RESOLVE_MILLISECONDS),
        ("grpc.service_config", json.dumps(_service_config(attempts))),
    ]


def _service_config(attempts: int) -> dict[str, Any]:
    method: dict[str, Any] = {"name": [{"service": "headrace.v1.Cascade"}, {"service": "headrace.v1.Fleet"}]}
    if attempts > 1:
        method["retryPolicy"] = {
            "maxAttempts": attempts,
            "initialBackoff": "0.05s",
            "maxBackoff": "0.5s",
            "backoffMultiplier": 2,
            # Pushback is read on these alone, so a shed query has to be among them. The last is a door that has more
            # calls than it can take in.
            "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "CANCELLED"],
        }
    return {"methodConfig": [method], "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1}}


def call_error(error: grpc.RpcError, target: str = "") -> HeadraceError:
    """What a failed call means to its caller.

    Args:
        error: As the call raised it.
        target: Who was asked, when whoever reads the message named it; without it the message names no address.
    """
    status, details = error.code().name, error.details() or ""
    trailing = _metadata(error.trailing_metadata())
    kind = trailing.get(telemetry_names.META_ERROR)
    if kind is None:
        _log.debug("call to %s failed with %s: %s", target or "the next tier", status, details)
        details = _own_words(status, details, target)
    if kind is None and (status, error.details()) == _FULL:
        return OverloadedError(details, FULL_SECONDS)
    if status == "CANCELLED":  # by the other side, as it stopped: another target, or it again, can answer
        return UnavailableError(details)
    if kind == BusyError.__name__:
        return BusyError(details, _seconds(trailing.get(telemetry_names.META_RETRY_AFTER)))
    if kind in _BY_NAME:
        return _BY_NAME[kind](details)
    if kind == TooLargeError.__name__ or (kind is None and _says_too_large(status, error.details() or "")):
        return TooLargeError(details)
    if status == "RESOURCE_EXHAUSTED":
        return OverloadedError(details, _seconds(trailing.get(telemetry_names.META_PUSHBACK)))
    if kind == BadInputError.__name__ and " " in details:
        return BadInputError(*details.split(" ", 1))
    return error_for_status(status, details)


def found_nobody(error: grpc.RpcError) -> bool:
    """Whether a failed call reached nobody: gRPC says so, and no reply of ours."""
    if error.code() is not grpc.StatusCode.UNAVAILABLE:
        return False
    return telemetry_names.META_ERROR not in _metadata(error.trailing_metadata())


def _own_words(status: str, details: str, target: str) -> str:
    who = target or "the next tier"
    if (status, details) == _FULL:
        return f"{who} is overloaded"
    if _says_too_large(status, details):
        return _too_large(who, details)
    failure = read_failure(details)
    because = f" ({failure.words})" if target and details else ""
    if not target and failure.kind is FailureKind.NAME:
        because = " (its name can't be resolved)"
    said = {
        "UNAVAILABLE": f"{who} can't be reached{because}",
        "CANCELLED": f"{who} stopped before it answered",
        "DEADLINE_EXCEEDED": f"{who} did not answer before the deadline",
        "RESOURCE_EXHAUSTED": f"{who} is overloaded{because}",
        "UNIMPLEMENTED": f"{who} does not serve this call{because}",
    }
    return said.get(status, f"{who} answered {status}{because}")


def _says_too_large(status: str, details: str) -> bool:
    """Whether gRPC refused a message for its length, by its words: the same status says "overloaded" too."""
    return status == "RESOURCE_EXHAUSTED" and bool(_TOO_LARGE.search(details))


def _too_large(who: str, details: str) -> str:
    if "metadata" in details:
        return f"the name or the trace that goes with the call is longer than {who} takes; use a shorter one"
    sizes = _SIZES.search(details)
    size = f" ({int(sizes[1]):,} bytes; {int(sizes[2]):,} are allowed)" if sizes else ""
    if "CLIENT: Received" in details or "SERVER: Sent" in details:
        return f"the answer of {who} is larger than a message may be{size}"
    return f"the question is larger than a message to {who} may be{size}"


def _metadata(trailing: Iterable[Any] | None) -> dict[str, str]:
    return {key: value for key, value in trailing or () if isinstance(value, str)}


def _seconds(pushback: str | None) -> float | None:
    """Pushback is a count of milliseconds; a negative or unreadable one says: don't retry."""
    if pushback is None or not (pushback.isascii() and pushback.isdigit()):
        return None
    return int(pushback) / 1000
