"""How many records a second does a spool make durable, and how many does the log take in?

    python -m bench.log_throughput
    python -m bench.log_throughput --seconds 1 --bytes 2000 --callers 64

Records of 2 kB, an append each, as a gateway makes them: it returns once its commit has reached the disk. Beside it the
limit, the same bytes written and synchronised in groups with nothing else done, and the spool without waiting for the
disk. Then the log writer drains what was written into a Delta table, and the rows there are counted.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.parts.fsync_cost import entry
from cloud_worker.log.distillation_log import DistillationLog
from cloud_worker.log.drainer import Drainer
from cloud_worker.log.spool import Spool
from cloud_worker.log.spool_records import body_of
from cloud_worker.state.repeated_rows import Repeats
from cloud_worker.state.store import Store

WORDS = "the lights in the kitchen are too bright for a quiet evening with friends "


async def appended(spool: Spool, callers: int, seconds: float, text: str, numbers: Iterator[int]) -> tuple[int, float]:
    """How many records ``callers`` made durable, and in how many seconds."""
    kept = 0
    began = time.perf_counter()

    async def one() -> None:
        nonlocal kept
        while time.perf_counter() < began + seconds:
            await spool.append(entry(next(numbers), text))
            kept += 1

    await asyncio.gather(*(one() for _ in range(callers)))
    return kept, time.perf_counter() - began


def bare(path: Path, size: int, group: int, seconds: float) -> float:
    """Records a second that the disk takes: groups of so many, each group written at once and synchronised."""
    data = os.urandom(size) * group
    written, began = 0, time.perf_counter()
    with path.open("wb", buffering=0) as file:
        while time.perf_counter() < began + seconds:
            file.write(data)
            os.fdatasync(file.fileno())
            written += group
    return written / (time.perf_counter() - began)


def drained(folder: Path, spools: Path) -> tuple[int, float]:
    """How many records the log took in, and in how many seconds."""
    repeats = Repeats(Store(f"sqlite:///{folder}/store.sqlite").engine)
    drainer = Drainer(spools, DistillationLog(folder / "log"), repeats)
    began, moved = time.perf_counter(), 0
    while more := drainer.drain():
        moved += more
    took = time.perf_counter() - began
    drainer.close()
    return moved, took


async def measured(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """All figures."""
    spools = folder / "spool"
    spools.mkdir()
    room = options.bytes - _bytes("x")  # what a record has beside its text
    text = (WORDS * (room // len(WORDS) + 1))[: max(room, 1)]
    numbers = itertools.count()
    durable = undurable = limit = 0.0
    kept = 0
    for turn in range(options.turns):  # in turn: the machine is not alone
        spool = Spool(spools / f"gateway-{turn}.sqlite")
        count, took = await appended(spool, options.callers, options.seconds, text, numbers)
        await spool.close()
        durable, kept = durable + count / took / options.turns, kept + count
        fast = Spool(folder / f"fast-{turn}.sqlite")
        assert fast._connection is not None
        fast._connection.execute("PRAGMA synchronous = OFF")
        count, took = await appended(fast, options.callers, options.seconds, text, numbers)
        await fast.close()
        undurable += count / took / options.turns
        limit += bare(folder / "bare", options.bytes, options.callers // 2, options.seconds) / options.turns
    moved, took = await asyncio.to_thread(drained, folder, spools)
    return {
        "record_bytes": _bytes(text),
        "callers": options.callers,
        "durable_per_second": round(durable),
        "without_fsync_per_second": round(undurable),
        "bare_disk_per_second": round(limit),
        "share_of_bare_disk": round(durable / limit, 3),
        "appended": kept,
        "in_log": moved,
        "drained_per_second": round(moved / took),
    }


def _bytes(text: str) -> int:
    record = entry(0, text).record
    assert record is not None
    return len(body_of(record))


def main() -> None:
    """Measure, and print the figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bytes", type=int, default=2000, help="of one record")
    parser.add_argument("--callers", type=int, default=256, help="that append at once")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each figure and turn")
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        told = asyncio.run(measured(Path(folder), options))
    assert told["in_log"] == told["appended"], told
    print(json.dumps(told))


if __name__ == "__main__":
    main()
