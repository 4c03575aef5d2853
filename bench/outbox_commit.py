"""What does it cost an answer that its row is on the disk before it goes out?

Callers ask at once, as many as a lane count; each waits for its row. Beside it: the same rows put without waiting, and
the physical limit, one fsync of the same file system by one caller. The last line is one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

from edge_agent.outbox.bounds import Bounds
from edge_agent.outbox.store import Outbox
from router.core.domain.query import Attempt, Query, Reason

ROWS = 800
LANES = (1, 8, 64)


def query(name: str) -> Query:
    """A drawn query that was kept."""
    attempt = Attempt(3, "lights", 0.5, Reason.EXPLORED, True, 0.25, kept=True, asked_at=time.time())
    return Query(name, "home", f"turn the lights on in the kitchen, please: {name}", attempt=attempt)


async def waiting(folder: Path, lanes: int) -> list[float]:
    """Milliseconds that each of the rows was waited for."""
    outbox = Outbox(folder / f"{lanes}.sqlite", Bounds(10 * ROWS))
    writing = asyncio.create_task(outbox.write_loop())
    took: list[float] = []

    async def lane(number: int) -> None:
        for row in range(ROWS // lanes):
            started = time.perf_counter()
            await outbox.keep(query(f"{number}-{row}"), numbered=True)
            took.append(1000 * (time.perf_counter() - started))

    await asyncio.gather(*(lane(number) for number in range(lanes)))
    writing.cancel()
    await outbox.close()
    return took


def putting(folder: Path) -> float:
    """Milliseconds of a row that nobody waits for."""

    async def put() -> float:
        outbox = Outbox(folder / "put.sqlite", Bounds(10 * ROWS))
        queries = [query(str(number)) for number in range(ROWS)]
        started = time.perf_counter()
        for one in queries:
            outbox.put(one)
        took = 1000 * (time.perf_counter() - started) / ROWS
        await outbox.close()
        return took

    return asyncio.run(put())


def syncing(folder: Path) -> float:
    """Median milliseconds of one write of 4 KiB and its fsync."""
    took = []
    with (folder / "plain").open("wb") as file:
        for _ in range(100):
            started = time.perf_counter()
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
            took.append(1000 * (time.perf_counter() - started))
    return statistics.median(took)


def main() -> None:
    """Measure, tell, and end in JSON."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures: dict[str, float] = {"fsync_ms": syncing(folder), "put_ms": putting(folder)}
        for lanes in LANES:
            took = sorted(asyncio.run(waiting(folder, lanes)))
            figures[f"wait_ms_p50_of_{lanes}"] = statistics.median(took)
            figures[f"wait_ms_p95_of_{lanes}"] = took[int(0.95 * len(took))]
            print(
                f"{lanes:3} at once: median {statistics.median(took):.2f} ms, 95 % {took[int(0.95 * len(took))]:.2f} ms"
            )
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
