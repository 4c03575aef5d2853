"""The connections of an agent: channels to the next tier, and its own server.

Rules:
 * Upwards it speaks TLS with its certificate, unless ``insecure`` was asked for or the next tier is a socket here.
 * On this machine its door is plain: loopback, or a socket that its owner alone may open. Beyond it speaks TLS with
   the same certificate, and wants one from callers, or a token.
 * A new certificate is shown by all of them, without a call that fails.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edge_agent.config import Config
from edge_agent.identity.bearers import Bearers
from edge_agent.identity.files import IdentityFolder, check_enrolled
from router.core.domain.limits import MAX_ATTEMPT_BYTES
from router.identity.bundle import changed_at
from router.transport.address import SOCKET, read_address, read_target
from router.transport.channel import open_bulk_channel, open_channel
from router.transport.server import Door, Intake
from router.transport.tls.access_interceptor import ByCertificate
from router.transport.tls.door_tls import DoorMaterial, DoorTls
from router.transport.tls.named_channel import NamedChannel
from router.transport.tls.rotating_channel import RotatingChannel


class Links:
    """The connections of one agent to its clouds. Made inside the running event loop.

    Attributes:
        folder: Of its identity.
        secured: Whether it speaks TLS upwards.
    """

    def __init__(self, config: Config, *, insecure: bool) -> None:
        """Check that what is needed is there; nothing is opened yet.

        Raises:
            StartError: The device has not enrolled.
            ConfigError: Its certificate can't be used.
        """
        self._config, self._insecure = config, insecure
        self.folder = IdentityFolder(config.data)
        self.secured = not insecure and not all(target.startswith(SOCKET) for target in config.upstream.targets)
        self._is_wide = not insecure and not read_address(config.door.listen, "door", "listen").is_loopback
        self._channels: list[Any] = []
        self._shown: tuple[int, DoorMaterial] | None = None
        if self.secured or self._is_wide:
            check_enrolled(self.folder, config.device)

    def open_channel(self, target: str) -> Any:
        """A channel to ``target`` for queries and reports.

        Raises:
            ConfigError: The address may not be used.
        """
        return self._opened(target, open_channel, extra_attempt_bytes=MAX_ATTEMPT_BYTES)

    def open_bulk_channel(self, target: str) -> Any:
        """A channel to ``target`` for releases."""
        return self._opened(target, open_bulk_channel)

    async def rotate(self) -> None:
        """Show the certificate that is in place now.

        Raises:
            ConfigError: It can't be read; the one before is shown on.
        """
        for channel in self._channels:
            if isinstance(channel, RotatingChannel):
                await channel.rotate()

    async def close(self) -> None:
        """Close the channels."""
        for channel in self._channels:
            await channel.close(None)

    def door(self, service: str, port: int | None = None) -> Door:
        """The door of this agent, which serves ``service``; of a worker, at the ``port`` that its owner listens at.

        Raises:
            ConfigError: Its address may not be used.
        """
        settings = self._config.door
        tls = None
        if self._is_wide:
            by_token = settings.callers == "token"
            who = Bearers(self.folder.path) if by_token else ByCertificate()
            seconds = settings.max_connection_seconds
            tls = DoorTls(self._material, not by_token, who, seconds)
        listen = settings.listen if port is None else f"{settings.listen.rpartition(':')[0]}:{port}"
        return Door(
            listen,
            insecure=not self._is_wide,
            tls=tls,
            reflection=settings.reflection,
            max_message_bytes=settings.max_message_bytes,
            intake=Intake(settings.max_waiting, shared=self._config.workers > 1),
            services=[service],
        )

    def _opened(self, target: str, kind: Callable[..., Any], **options: Any) -> Any:
        most = self._config.door.max_message_bytes

        def make() -> Any:
            identity = self.folder.bundle() if self.secured else None
            return kind(target, insecure=self._insecure, identity=identity, max_message_bytes=most, **options)

        channel = self._kept(target, make) if self.secured else make()
        self._channels.append(channel)
        return channel

    @staticmethod
    def _kept(target: str, make: Callable[[], Any]) -> RotatingChannel:
        is_name = read_target(target, "upstream", "target")[0].is_name
        return NamedChannel(make) if is_name else RotatingChannel(make)

    def _material(self) -> DoorMaterial:
        stamp = changed_at(self.folder.path)
        if self._shown is None or self._shown[0] != stamp:
            bundle = self.folder.bundle()
            self._shown = (stamp, DoorMaterial(bundle.key, bundle.chain, bundle.authorities))
        return self._shown[1]
