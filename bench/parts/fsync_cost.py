"""What it costs that an answer is on the disk before it leaves: the spool alone, with and without its fsync."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from cloud_worker.log.spool import Entry, Spool, StoredAnswer
from router.core.domain.record import Record

CALLERS = (1, 64)
_BYTES = 4096
_TIMES = 200


async def fsync_costs(folder: Path, seconds: float) -> dict[str, Any]:
    """A bare fsync in milliseconds, and appends a second at each level, kept durable and not.

    Args:
        folder: On the disk that is measured.
        seconds: Of each figure.
    """
    told: dict[str, Any] = {"bare_fsync_median_ms": round(_bare(folder / "bare"), 3)}
    for callers in CALLERS:
        for kind in ("FULL", "OFF"):
            spool = Spool(folder / f"{kind}-{callers}.sqlite")
            assert spool._connection is not None
            spool._connection.execute(f"PRAGMA synchronous = {kind}")
            told[f"appends_{kind.lower()}_at_{callers}"] = await _appends(spool, callers, seconds)
            await spool.close()
    return told


def entry(number: int, text: str = "") -> Entry:
    """An answer and its record, of about 600 bytes and what ``text`` has."""
    now = time.time()
    record = Record(
        "kitchen", f"q{number}", "big", "v1", "home", 1, now, now, text or f"text {number}", "on", labels=("on",)
    )
    return Entry(StoredAnswer("kitchen", f"q{number}", f"{number:064x}", now, b"x" * 150), replace(record))


async def _appends(spool: Spool, callers: int, seconds: float) -> dict[str, float]:
    times: list[float] = []
    numbers = iter(range(10**9))
    began = time.perf_counter()

    async def one() -> None:
        while (now := time.perf_counter()) < began + seconds:
            await spool.append(entry(next(numbers)))
            times.append((time.perf_counter() - now) * 1000)

    await asyncio.gather(*(one() for _ in range(callers)))
    took = time.perf_counter() - began
    return {"per_second": round(len(times) / took, 1), "median_ms": round(statistics.median(times), 3)}


def _bare(path: Path) -> float:
    """Median milliseconds of a write of one page and its fsync."""
    times = []
    with path.open("wb") as file:
        for _ in range(_TIMES):
            file.write(os.urandom(_BYTES))
            file.flush()
            began = time.perf_counter()
            os.fsync(file.fileno())
            times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)
