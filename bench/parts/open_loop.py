"""Calls that come at a rate, whatever becomes of those before: an open loop, by frames of HTTP/2 over plain sockets.

A client library would wait for its own turn, or hold back; and it takes as long for a call as the server that is to be
measured. Here a call is some bytes made ahead, and what comes back is looked at just as far as its status. The server
is told to keep no table of headers, so that each block of them can be read by itself.

Rules:
 * The time of a call begins when it was due, not when there was a moment to send it.
 * A call that has no status when the load ends is waited for as long as its own deadline.
"""

from __future__ import annotations

import re
import selectors
import socket
import struct
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _WINDOW = 0, 1, 3, 4, 6, 8
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_NO_TABLE, _STREAM_WINDOW = 1, 4  # names of settings
_READ_BYTES = 1 << 18
_FIRST_WINDOW = 65_535
_STATUS = re.compile(rb"grpc-status(?:\x01|\x02)(\d+)")
_PUSHBACK = b"grpc-retry-pushback-ms"
METHOD = b"/headrace.v1.Cascade/Answer"


@dataclass(slots=True)
class Outcome:
    """What became of the calls of one load.

    Attributes:
        offered: How many came due.
        statuses: How many ended so: the number of a gRPC status, or ``reset CODE`` without one, or ``none``.
        told_when: How many were told when to come back.
        seconds: Of each call that was answered, from when it was due.
        refused_seconds: The same of each that was not.
        answered_at: When each answer came, since the beginning.
        length: That the load lasted, in seconds.
    """

    offered: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    told_when: int = 0
    seconds: list[float] = field(default_factory=list)
    refused_seconds: list[float] = field(default_factory=list)
    answered_at: list[float] = field(default_factory=list)
    length: float = 0.0

    @property
    def longest_silence(self) -> float:
        """The longest time, while load came, in which nobody was answered."""
        times = [0.0, *(at for at in self.answered_at if at < self.length), self.length]
        return max(later - sooner for sooner, later in pairwise(times))


class _Connection:
    """One HTTP/2 connection, and the calls on it."""

    def __init__(self, port: int, timeout_ms: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self._headers = _request_headers(timeout_ms)
        self._out = bytearray(_PREFACE)
        self._out += _frame(_SETTINGS, 0, 0, struct.pack(">HIHI", _NO_TABLE, 0, _STREAM_WINDOW, 1 << 24))
        self._out += _frame(_WINDOW, 0, 0, struct.pack(">I", 1 << 30))
        self._in = bytearray()
        self._window = _FIRST_WINDOW
        self._next = 1
        self._due: deque[tuple[float, bytes]] = deque()
        self.calls: dict[int, float] = {}
        self.is_open = True

    def ask(self, due: float, message: bytes) -> None:
        """One call, as soon as the connection takes it."""
        self._due.append((due, message))
        self._fill()

    def flush(self) -> None:
        """Send what can be sent."""
        if not self._out or not self.is_open:
            return
        try:
            del self._out[: self.socket.send(self._out)]
        except BlockingIOError:
            pass
        except OSError:
            self.is_open = False

    def read(self, done: Callable[[float, bytes | None, int], None]) -> None:
        """Take what came; ``done`` hears when each call was due, its last headers, or the code of its reset."""
        try:
            data = self.socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.is_open = False
            return
        self._in += data
        at = 0
        while len(self._in) - at >= 9:
            length = int.from_bytes(self._in[at : at + 3], "big")
            if len(self._in) - at < 9 + length:
                break
            kind, flags = self._in[at + 3], self._in[at + 4]
            stream = int.from_bytes(self._in[at + 5 : at + 9], "big") & 0x7FFF_FFFF
            self._take(kind, flags, stream, bytes(self._in[at + 9 : at + 9 + length]), done)
            at += 9 + length
        del self._in[:at]
        self._fill()

    def _take(
        self, kind: int, flags: int, stream: int, body: bytes, done: Callable[[float, bytes | None, int], None]
    ) -> None:
        if kind == _HEADERS and flags & _END_STREAM and stream in self.calls:
            done(self.calls.pop(stream), body, 0)
        elif kind == _RESET and stream in self.calls:
            done(self.calls.pop(stream), None, int.from_bytes(body, "big"))
        elif kind == _WINDOW and not stream:
            self._window += int.from_bytes(body, "big")
        elif kind == _PING and not flags & _ACK:
            self._out += _frame(_PING, _ACK, 0, body)
        elif kind == _SETTINGS and not flags & _ACK:
            self._out += _frame(_SETTINGS, _ACK, 0, b"")

    def _fill(self) -> None:
        while self._due and self._window >= len(self._due[0][1]) + 5:
            due, message = self._due.popleft()
            body = b"\0" + struct.pack(">I", len(message)) + message
            self._out += _frame(_HEADERS, _END_HEADERS, self._next, self._headers)
            self._out += _frame(_DATA, _END_STREAM, self._next, body)
            self._window -= len(body)
            self.calls[self._next] = due
            self._next += 2

    @property
    def waits(self) -> int:
        """Calls without an end, and those that could not be sent."""
        return len(self.calls) + len(self._due)


class OpenLoop:
    """Asks one port over some connections. The connections stay open between loads."""

    def __init__(self, port: int, connections: int, message: Callable[[int], bytes], timeout: float = 30.0) -> None:
        """Connect.

        Args:
            port: On loopback.
            connections: How many; calls take turns on them.
            message: Of each call, by its number: one ``AnswerRequest``.
            timeout: Of each call, in seconds.
        """
        self._message, self._timeout = message, timeout
        self._number = 0
        self._connections = [_Connection(port, round(timeout * 1000)) for _ in range(connections)]
        self._selector = selectors.DefaultSelector()
        for connection in self._connections:
            self._selector.register(connection.socket, selectors.EVENT_READ, connection)

    def at_rate(self, rate: float, seconds: float) -> Outcome:
        """So many calls a second, evenly, for so long."""
        return self._run(seconds, lambda passed, _: int(rate * passed))

    def in_bursts(self, size: int, every: float, seconds: float) -> Outcome:
        """So many calls at once, again and again."""
        return self._run(seconds, lambda passed, _: size * (1 + int(passed / every)))

    def in_lanes(self, lanes: int, seconds: float) -> Outcome:
        """So many calls at a time, each followed by the next when it is answered: what the server can do."""
        return self._run(seconds, lambda _, ended: lanes + ended)

    def close(self) -> None:
        """Hang up."""
        for connection in self._connections:
            connection.socket.close()
        self._selector.close()

    def _run(self, seconds: float, due_by: Callable[[float, int], int]) -> Outcome:
        outcome = Outcome(length=seconds)
        began = time.perf_counter()

        def done(due: float, headers: bytes | None, code: int) -> None:
            now = time.perf_counter()
            found = _STATUS.search(headers) if headers is not None else None
            status = found[1].decode() if found else f"reset {code}"
            outcome.statuses[status] += 1
            outcome.told_when += headers is not None and _PUSHBACK in headers
            if status == "0":
                outcome.seconds.append(now - due)
                outcome.answered_at.append(now - began)
            else:
                outcome.refused_seconds.append(now - due)

        while (passed := time.perf_counter() - began) < seconds:
            due = due_by(passed, outcome.statuses.total())
            for _ in range(due - outcome.offered):
                self._ask_next(began + passed)
            outcome.offered = max(due, outcome.offered)
            self._turn(done, 0.0005)
        until = time.perf_counter() + self._timeout
        while any(each.waits and each.is_open for each in self._connections) and time.perf_counter() < until:
            self._turn(done, 0.05)
        outcome.statuses["none"] = outcome.offered - outcome.statuses.total()
        outcome.statuses += Counter()  # without those that are 0
        return outcome

    def _ask_next(self, due: float) -> None:
        connection = self._connections[self._number % len(self._connections)]
        connection.ask(due, self._message(self._number))
        self._number += 1

    def _turn(self, done: Callable[[float, bytes | None, int], None], pause: float) -> None:
        for connection in self._connections:
            connection.flush()
        for key, _ in self._selector.select(pause):
            key.data.read(done)


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return len(body).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + body


def _request_headers(timeout_ms: int) -> bytes:
    """The headers of a call, each spelt out, so that the server needs to remember none."""
    block = bytearray(b"\x83\x86")  # POST, http: of the table that everybody has
    named = ((b":path", METHOD), (b":authority", b"127.0.0.1"), (b"te", b"trailers"))
    for name, value in (
        *named,
        (b"content-type", b"application/grpc"),
        (b"grpc-timeout", f"{timeout_ms}m".encode()),
    ):
        block += b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value
    return bytes(block)
