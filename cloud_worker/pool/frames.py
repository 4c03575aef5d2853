"""What a gateway and a teacher's replicas say to each other on one machine: pickles with their length, on a socket.

Rules:
 * The socket has no file (Linux's abstract names): nothing of it is left after a kill.
 * Both ends let in nobody but processes of their own user, which the kernel names: a pickle is code.
"""

from __future__ import annotations

import asyncio
import io
import os
import pickle
import secrets
import socket
import struct
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from operator import attrgetter
from typing import Any, cast

ASK, STOP = 0, 1  # from a gateway: (ASK, call, questions), (STOP, call, position, or None for all of it)
REPLIES, DONE, BROKE = 2, 3, 4  # from a replica: (REPLIES, call, pairs of position, reply), (DONE, call), (BROKE, call)

_LENGTH = struct.Struct(">I")
_PEER = struct.Struct("3i")  # unix(7), SO_PEERCRED: process, user, group


def new_name() -> str:
    """A name for a socket that nobody guesses; empty where this system has no such names."""
    return f"headrace-{secrets.token_hex(16)}" if hasattr(socket, "SO_PEERCRED") else ""


def listening(name: str) -> socket.socket:
    """A socket of that name that listens."""
    made = _socket()
    made.bind(f"\0{name}")
    made.listen(16)
    return made


def connected(name: str) -> socket.socket:
    """A connection to the socket of that name; ``OSError`` where it is not on this machine, or another user's."""
    made = _socket()
    try:
        made.setblocking(True)
        made.connect(f"\0{name}")  # which does not wait: it is this machine
        made.setblocking(False)
        if not is_ours(made):
            raise PermissionError("the socket belongs to another user")
    except OSError:
        made.close()
        raise
    return made


def is_ours(connection: socket.socket) -> bool:
    """Whether a process of our own user is at the other end."""
    _, user, _ = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return bool(user == os.getuid())


def _socket() -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.setblocking(False)
    return made


class _Reducers(dict[type, Callable[[Any], Any]]):
    """Writes dataclasses as calls of their classes: their own way with slots looks up each field anew each time."""

    def __missing__(self, kind: type) -> Callable[[Any], Any]:
        """How a value of a frozen dataclass with slots is made again; ``KeyError`` for any other class."""
        if not (is_dataclass(kind) and hasattr(kind, "__slots__")):
            raise KeyError(kind)
        names = tuple(field.name for field in fields(kind))
        if len(names) < 2:
            self[kind] = lambda value: (kind, tuple([getattr(value, name) for name in names]))
        else:
            values = attrgetter(*names)
            self[kind] = lambda value: (kind, values(value))
        return self[kind]


_REDUCERS = _Reducers()


def pickled(message: Any) -> bytes:
    """A message as bytes, its length before it."""
    made = io.BytesIO()
    made.write(_LENGTH.pack(0))
    pickler = pickle.Pickler(made, pickle.HIGHEST_PROTOCOL)
    pickler.dispatch_table = _REDUCERS
    pickler.dump(message)
    data = made.getbuffer()
    _LENGTH.pack_into(data, 0, len(data) - _LENGTH.size)
    return bytes(data)


class Connection(asyncio.Protocol):
    """One end of a connection."""

    def __init__(self, heard: Callable[[Connection, Any], None], lost: Callable[[Connection], None]) -> None:
        """Tell ``heard`` of each message, and ``lost`` that no more will come."""
        self._heard, self._lost = heard, lost
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, unless it is another user's."""
        taken = cast("asyncio.Transport", transport)  # which uvloop's are by their methods alone
        if is_ours(taken.get_extra_info("socket")):
            self._transport = taken
        else:
            taken.abort()

    def data_received(self, data: bytes) -> None:
        """Take in bytes."""
        buffer = self._buffer
        buffer += data
        start = 0
        while len(buffer) - start >= _LENGTH.size:
            end = start + _LENGTH.size + _LENGTH.unpack_from(buffer, start)[0]
            if len(buffer) < end:
                break
            message = pickle.loads(memoryview(buffer)[start + _LENGTH.size : end])
            start = end
            self._heard(self, message)
        del buffer[:start]

    def connection_lost(self, _: Exception | None) -> None:
        """Tell ``lost`` that the other end is gone."""
        self._transport = None
        self._lost(self)

    def send(self, message: Any) -> None:
        """Send a message; one to an end that is gone is lost, which ``lost`` tells or has told."""
        if self._transport is not None:
            self._transport.write(pickled(message))

    def close(self) -> None:
        """End it."""
        if self._transport is not None:
            self._transport.close()
