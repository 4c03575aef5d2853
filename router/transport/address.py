"""Where a door listens, or a caller knocks: ``HOST:PORT``, as people write it, or ``unix:PATH``.

Rules:
 * There is no silent plain text: with ``insecure`` only addresses on this machine are taken, and sockets in the file
   system, whose mode says who may knock.
 * ``NAME@HOST:PORT`` is the agent of the device of that name, and nobody else there; without a name, a gateway.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import stat
from dataclasses import dataclass

from router.core.errors import ConfigError
from router.identity.names import Identity, Role, is_name

MAX_PORT = 65_535
SOCKET = "unix:"
_MOST_SOCKET_BYTES = 107  # of sockaddr_un, with its NUL


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port; port 0 stands for any free one. ``str`` writes it as gRPC reads it."""

    host: str
    port: int

    def __str__(self) -> str:
        if self.socket:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def socket(self) -> str:
        """Path of a socket in the file system, empty for a port."""
        return self.host.removeprefix(SOCKET) if self.host.startswith(SOCKET) else ""

    @property
    def is_name(self) -> bool:
        """Whether the host is a name, which has to be resolved."""
        if self.socket:
            return False
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return True
        return False

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine and seen by nobody else."""
        if self.socket:
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def read_address(text: str, source: str, key: str) -> Address:
    """The address that ``text`` spells, ``localhost`` being 127.0.0.1.

    Args:
        text: ``HOST:PORT``, ``[IPV6]:PORT`` or ``unix:PATH``.
        source: File, flag or class that it comes from, for the message.
        key: Its name there.

    Raises:
        ConfigError: It is spelt otherwise.
    """
    if text.startswith(SOCKET):
        return _socket(text, source, key)
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
        ConfigError: It is no address, plain transport was not asked for, or the address is not on this machine.
    """
    address = read_address(text, source, key)
    if not insecure and not address.socket:
        raise ConfigError(
            source, key, f"{text} needs an identity (in programs identity=FOLDER, in commands --identity FOLDER), or"
            " insecure (insecure=True, --insecure) with an address on this machine"
        )  # fmt: skip
    if not address.is_loopback:
        raise ConfigError(
            source, key, f"{text} is not on this machine, and insecure transport leaves it open; use 127.0.0.1"
        )
    return address


def read_target(text: str, source: str, key: str) -> tuple[Address, Identity]:
    """The address that ``[NAME@]HOST:PORT`` spells, and who is to answer there.

    Raises:
        ConfigError: It is spelt otherwise.
    """
    name, at, rest = text.strip().rpartition("@")
    if at and not is_name(name):
        raise ConfigError(source, key, f"{text!r} names no device before the @; write NAME@HOST:PORT")
    address = read_address(rest, source, key)
    return address, Identity(Role.DEVICE, name) if name else Identity(Role.GATEWAY, "gateway")


def _socket(text: str, source: str, key: str) -> Address:
    path = text.removeprefix(SOCKET)
    if not path.startswith("/") or "\0" in path:
        raise ConfigError(
            source, key, f"{text!r} is no socket; write unix: and the whole path, such as unix:/run/agent"
        )
    if len(path.encode()) > _MOST_SOCKET_BYTES:
        raise ConfigError(
            source, key, f"{text!r} is longer than the {_MOST_SOCKET_BYTES} bytes that a socket's path has"
        )
    return Address(text, 0)


def why_not_free(address: Address) -> OSError | None:
    """What keeps a server from listening at an address now; ``None`` where nothing does."""
    if address.socket:
        return why_no_socket(address.socket)
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError as error:
            return error
    return None


def why_no_socket(path: str) -> OSError | None:
    """What keeps a server from making a socket at ``path``; one that nobody listens at any more is removed."""
    try:
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                probe.connect(path)
        return OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    except ConnectionRefusedError:
        os.unlink(path)  # noqa: PTH108 - of a server that was killed
        return None
    except FileNotFoundError:
        return None
    except OSError as error:
        return error
