"""Where a door listens, or a caller knocks: ``HOST:PORT``, as people write it.

Rules:
 * Without ``insecure`` nothing is opened: mutual TLS comes with enrolment, and there is no silent plain text.
 * With ``insecure`` only addresses on this machine are taken.
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass

from router.core.errors import ConfigError

MAX_PORT = 65_535


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port; port 0 stands for any free one. ``str`` writes it as gRPC reads it."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine and seen by nobody else."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def read_address(text: str, source: str, key: str) -> Address:
    """The address that ``text`` spells, ``localhost`` being 127.0.0.1.

    Args:
        text: ``HOST:PORT`` or ``[IPV6]:PORT``.
        source: File, flag or class that it comes from, for the message.
        key: Its name there.

    Raises:
        ConfigError: It is spelt otherwise.
    """
    host, colon, port = text.strip().rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    well_formed = colon and host and port.isascii() and port.isdigit() and (bracketed or ":" not in host)
    if not well_formed or int(port) > MAX_PORT:
        raise ConfigError(source, key, f"{text!r} is not an address; write HOST:PORT, such as 127.0.0.1:7701")
    host = host.strip("[]")
    return Address("127.0.0.1" if host == "localhost" else host, int(port))


def plain_address(text: str, source: str, key: str, *, insecure: bool) -> Address:
    """The address that ``text`` spells, when plain transport may be used with it.

    Raises:
        ConfigError: It is no address, ``insecure`` was not asked for, or the address is not on this machine.
    """
    address = read_address(text, source, key)
    if not insecure:
        raise ConfigError(
            source, key, f"mutual TLS for {text} comes with enrolment, in a later version; until then use insecure"
            " (in programs insecure=True, in commands --insecure) with an address on this machine"
        )  # fmt: skip
    if not address.is_loopback:
        raise ConfigError(
            source, key, f"{text} is not on this machine, and insecure transport leaves it open; use 127.0.0.1"
        )
    return address


def why_not_free(address: Address) -> OSError | None:
    """What keeps a server from listening at an address now; ``None`` where nothing does."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError as error:
            return error
    return None
