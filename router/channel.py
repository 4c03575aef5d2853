"""How a channel to another tier is opened, and what its errors mean.

Rules:
 * One channel per target; retries are gRPC's own, by service config, and only on UNAVAILABLE.
 * Waiting for a target that is away is gRPC's too (``wait_for_ready``); nobody loops around a call.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import grpc

from router.errors import ConfigError, HeadraceError, OverloadedError, error_for_status
from router.names import META_PUSHBACK

DEFAULT_MAX_MESSAGE_BYTES = 4 * 1024 * 1024

_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{"service": "headrace.v1.Cascade"}, {"service": "headrace.v1.Fleet"}],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.1s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2.0,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
    "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.5},
}


def channel_options(max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES) -> list[tuple[str, str | int]]:
    """Options of every channel.

    Keepalive is 200 s: NATs drop idle TCP after four minutes.
    """
    return [
        ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
        ("grpc.enable_retries", 1),
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.keepalive_time_ms", 200_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1_000),
    ]


def check_target(target: str, *, insecure: bool) -> str:
    """Return ``target`` when it may be dialled.

    Raises:
        ConfigError: Not ``host:port``, or plain transport was not asked for, or it would leave this machine.
    """
    host, _, port = target.rpartition(":")
    if not host or not port.isdigit():
        raise ConfigError("target", repr(target), "is not host:port, such as 127.0.0.1:7700")
    if not insecure:
        raise ConfigError(
            "target",
            target,
            "mutual TLS needs a certificate, and enrolment is not available yet; on one machine use --insecure",
        )
    if not is_loopback(host):
        raise ConfigError("target", target, "plain transport (--insecure) stays on this machine; use 127.0.0.1")
    return target


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own loopback."""
    return host in {"localhost", "[::1]", "::1"} or host.startswith("127.")


def open_channel(
    target: str, *, insecure: bool, max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES
) -> grpc.aio.Channel:
    """A channel for asyncio to one target.

    Raises:
        ConfigError: As ``check_target``.
    """
    return grpc.aio.insecure_channel(
        check_target(target, insecure=insecure), options=channel_options(max_message_bytes)
    )


def open_sync_channel(
    target: str, *, insecure: bool, max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES
) -> grpc.Channel:
    """A channel for threads to one target.

    Raises:
        ConfigError: As ``check_target``.
    """
    return grpc.insecure_channel(check_target(target, insecure=insecure), options=channel_options(max_message_bytes))


def call_error(error: grpc.RpcError, target: str = "") -> HeadraceError:
    """What a failed call means, as one of our errors."""
    status: grpc.StatusCode = error.code()
    details = error.details() or status.name.lower().replace("_", " ")
    if status is grpc.StatusCode.UNAVAILABLE and target:
        details = f"{target} can't be reached ({details}); is it running, and is the address right?"
    if status is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return OverloadedError(details, retry_after=_pushback(error.trailing_metadata()))
    return error_for_status(status.name, details)


def _pushback(metadata: Iterable[Any] | None) -> float | None:
    for key, value in metadata or ():
        if key == META_PUSHBACK:
            try:
                return max(0.0, float(value)) / 1000
            except ValueError:
                return None
    return None
