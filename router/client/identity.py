"""What a client shows of itself: the folder that it was given, read again when another certificate lies there.

Rules:
 * Another certificate is shown from the next call on, and calls under way end as they began.
 * One that can't be read is told once, and the one before is shown on.
 * A target that has a name is looked up anew while nobody is found there.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import grpc

from router.client.argument_types import shown
from router.core.errors import ConfigError, HeadraceError
from router.identity.bundle import Bundle, changed_at, read_bundle
from router.transport.address import read_target
from router.transport.channel import found_nobody, open_channel, open_sync_channel
from router.transport.tls.named_channel import NamedChannel, NamedSyncChannel
from router.transport.tls.rotating_channel import RotatingChannel, RotatingSyncChannel

_log = logging.getLogger(__name__)

CHECK_SECONDS = 1.0
NAMED_WAIT_SECONDS = 1.0  # another channel may have taken over by then


class ClientIdentity:
    """The identity of one client; without a folder it shows nothing, and its channels are plain ones."""

    def __init__(self, folder: str | Path | None) -> None:
        """Read the folder.

        Raises:
            ConfigError: It is no path, or holds no identity that can be used.
        """
        if folder is not None and not isinstance(folder, str | Path):
            raise ConfigError("client", "identity", f"is {shown(folder)}; give the path of a folder")
        if "\0" in str(folder):
            raise ConfigError("client", "identity", f"is {shown(folder)}, which no path can be")
        self._folder = None if folder in (None, "") else Path(str(folder))
        self._bundle: Bundle | None = None
        self._stamp, self._checked_at = 0, time.monotonic()
        self._rotating: set[asyncio.Task[None]] = set()
        if self._folder is not None:
            self._stamp, self._bundle = changed_at(self._folder), read_bundle(self._folder)

    @property
    def is_there(self) -> bool:
        """Whether there is anything to show."""
        return self._bundle is not None

    def open(self, target: str, *, insecure: bool) -> Any:
        """A channel for the running event loop, which asks once."""
        make = self._making(open_channel, target, insecure)
        if not self.is_there:
            return make()
        return NamedChannel(make) if _is_name(target) else RotatingChannel(make)

    def open_sync(self, target: str, *, insecure: bool) -> Any:
        """The same for callers without an event loop."""
        make = self._making(open_sync_channel, target, insecure)
        if not self.is_there:
            return make()
        return NamedSyncChannel(make) if _is_name(target) else RotatingSyncChannel(make)

    @staticmethod
    def failed(channel: Any, error: grpc.RpcError) -> None:
        """A call over ``channel`` failed so: where it found nobody, a host's name is looked up again."""
        if isinstance(channel, NamedChannel | NamedSyncChannel) and found_nobody(error):
            channel.lost()

    @staticmethod
    def wait_seconds(channels: Iterable[Any], seconds: float) -> float:
        """How long to wait for channels before they are tried again, with ``seconds`` left."""
        is_named = any(isinstance(channel, NamedChannel | NamedSyncChannel) for channel in channels)
        return min(seconds, NAMED_WAIT_SECONDS) if is_named else seconds

    def show_to(self, channels: Iterable[Any]) -> None:
        """Let channels show another certificate if there is one; looked at once a second at most."""
        now = time.monotonic()
        if self._folder is None or now - self._checked_at < CHECK_SECONDS:
            return
        self._checked_at = now
        stamp = changed_at(self._folder)
        if stamp in (0, self._stamp):
            return
        self._stamp = stamp
        try:
            self._bundle = read_bundle(self._folder)
        except HeadraceError as error:
            _log.error("the certificate that was put in place can't be used: %s", error)
            return
        for channel in channels:
            if isinstance(channel, RotatingSyncChannel):
                channel.rotate()
            elif isinstance(channel, RotatingChannel):
                task = asyncio.ensure_future(channel.rotate())
                self._rotating.add(task)
                task.add_done_callback(self._rotated)

    def _rotated(self, task: asyncio.Task[None]) -> None:
        self._rotating.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("the certificate that was put in place can't be used: %s", error)

    def _making(self, kind: Callable[..., Any], target: str, insecure: bool) -> Callable[[], Any]:
        return lambda: kind(target, insecure=insecure, identity=self._bundle, attempts=1)


def _is_name(target: str) -> bool:
    return read_target(target, "client", "targets")[0].is_name
