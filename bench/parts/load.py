"""Callers that ask one gRPC door as fast as it answers, and what they measured."""

from __future__ import annotations

import asyncio
import itertools
import math
import os
import statistics
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from grpc import aio

from router.v1 import cascade_pb2, cascade_pb2_grpc

METHOD = "/headrace.v1.Cascade/Answer"
TEXTS = 2000
_OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))


@dataclass(slots=True)
class Figures:
    """What callers of one door measured at one level.

    Attributes:
        milliseconds: Of each answer.
        seconds: That the callers asked, together.
        failures: Answers that were none, by status.
    """

    milliseconds: list[float] = field(default_factory=list)
    seconds: float = 0.0
    failures: dict[str, int] = field(default_factory=dict)

    def told(self) -> dict[str, Any]:
        """Rate a second, median and 99th percentile in milliseconds."""
        ordered = sorted(self.milliseconds)
        told: dict[str, Any] = {"per_second": round(len(ordered) / self.seconds, 1)}
        if ordered:
            told["median_ms"] = round(statistics.median(ordered), 3)
            told["p99_ms"] = round(ordered[min(len(ordered) - 1, math.ceil(0.99 * len(ordered)))], 3)
        return {**told, "answers": len(ordered), **({"failures": self.failures} if self.failures else {})}


@dataclass(frozen=True, slots=True)
class Asked:
    """One door, and how it is asked.

    Attributes:
        port: On loopback.
        consent: Whether what is answered may be logged.
        metadata: Of every call.
    """

    port: int
    consent: cascade_pb2.Consent.ValueType = cascade_pb2.CONSENT_GRANTED
    metadata: Sequence[tuple[str, str]] = ()


class Load:
    """Callers of several doors, one channel a door."""

    def __init__(self, doors: dict[str, Asked], task: str) -> None:
        """Ask each of ``doors``, by its name, for ``task``; within a running event loop."""
        self._doors, self._task = doors, task
        self._channels = {
            name: aio.insecure_channel(f"127.0.0.1:{door.port}", _OPTIONS) for name, door in doors.items()
        }
        self._numbers = itertools.count()
        self._run = uuid.uuid4().hex[:8]
        self.figures: dict[tuple[str, int], Figures] = {}

    async def ask(self, name: str, callers: int, seconds: float, *, counts: bool = True) -> None:
        """Let ``callers`` ask one door for so long, each again when it has its answer."""
        door, figures = self._doors[name], Figures()
        call = cascade_pb2_grpc.CascadeStub(self._channels[name]).Answer
        began = time.perf_counter()
        until = began + seconds

        async def one() -> None:
            while (now := time.perf_counter()) < until:
                number = next(self._numbers)
                request = cascade_pb2.AnswerRequest(
                    query_id=f"{self._run}-{number}",
                    task=self._task,
                    text=f"text {number % TEXTS}",
                    consent=door.consent,
                )
                try:
                    response = await call(request, timeout=30, metadata=door.metadata)
                except aio.AioRpcError as error:
                    status = error.code().name
                    figures.failures[status] = figures.failures.get(status, 0) + 1
                else:
                    assert response.answer == f"label {number % TEXTS % 7}", response
                    figures.milliseconds.append((time.perf_counter() - now) * 1000)

        await asyncio.gather(*(one() for _ in range(callers)))
        figures.seconds = time.perf_counter() - began
        if counts:
            self._add(name, callers, figures)

    def _add(self, name: str, callers: int, more: Figures) -> None:
        known = self.figures.setdefault((name, callers), Figures())
        known.milliseconds += more.milliseconds
        known.seconds += more.seconds
        for status, count in more.failures.items():
            known.failures[status] = known.failures.get(status, 0) + count

    async def close(self) -> None:
        """Close the channels."""
        for channel in self._channels.values():
            await channel.close(None)


def cpu_seconds(pid: int) -> float:
    """What a process has taken of the processor so far, in seconds."""
    with open(f"/proc/{pid}/stat") as told:  # noqa: PTH123 - one read of a file of the kernel
        fields = told.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
