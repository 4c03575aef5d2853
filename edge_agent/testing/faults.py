"""What goes wrong at a cloud, as a test sets it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import grpc
from grpc import aio

from router.core.errors import BusyError, SpentError
from router.transport import telemetry_names
from router.transport.error_interceptor import NO_RETRY


@dataclass(slots=True)
class Faults:
    """What goes wrong, until it is set back.

    Attributes:
        unavailable: Calls of ``Answer`` and ``Sync`` get UNAVAILABLE.
        hang: They get no answer at all, as over a half-open connection.
        delay: Seconds before each answer.
        unknown_task: Calls of ``Answer`` get NOT_FOUND.
        busy: The teacher of these tasks asked to be left alone for so many seconds.
        pushback: Calls of ``Answer`` are shed, to come back after this many seconds.
        unlogged: Answers say ``logged = false``.
        other_id: Answers come under another query's id.
        spent: Calls of ``Answer`` are refused, as where the fleet's limit is spent.
        corrupt: Files whose bytes come changed, of the same length.
        break_after: A fetch breaks after this many bytes; once for each file.
        chunk_bytes: Size of the pieces of a fetch.
        chunk_delay: Seconds before each piece.
        endless: Files that go on and on after their end.
        dripped: Files that come byte by byte.
        drip_seconds: Between two such bytes.
    """

    unavailable: bool = False
    hang: bool = False
    delay: float = 0.0
    unknown_task: bool = False
    busy: dict[str, float] = field(default_factory=dict)
    pushback: float | None = None
    unlogged: bool = False
    other_id: bool = False
    spent: bool = False
    corrupt: frozenset[str] = frozenset()
    break_after: int | None = None
    chunk_bytes: int = 16 * 1024
    chunk_delay: float = 0.0
    endless: frozenset[str] = frozenset()
    dripped: frozenset[str] = frozenset()
    drip_seconds: float = 0.05

    def busy_error(self, task: str) -> BusyError | None:
        """What a query of a task gets now, if its teacher asked to be left alone."""
        return BusyError("busy on purpose", self.busy[task]) if task in self.busy else None

    async def suffer(self, context: aio.ServicerContext[Any, Any], *, is_query: bool) -> None:
        """Let the faults of a call happen."""
        if self.hang:
            await asyncio.Event().wait()
        if self.delay:
            await asyncio.sleep(self.delay)
        if self.unavailable:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "unavailable on purpose")
        if is_query and self.unknown_task:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown on purpose")
        if is_query and self.spent:
            told = ((telemetry_names.META_ERROR, SpentError.__name__), (telemetry_names.META_PUSHBACK, NO_RETRY))
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "spent on purpose", told)
        if is_query and self.pushback is not None:
            pushback = ((telemetry_names.META_PUSHBACK, str(int(1000 * self.pushback))),)
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "shed on purpose", pushback)
