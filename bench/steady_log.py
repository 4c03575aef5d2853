"""Do files, memory and descriptors stay flat under steady load?

Answers come at a rate; the real spool takes them in this process, a writer and a refresher work on them in processes of
their own, as often as in life or so many times as often (``--pace``). Looked at all along: files and bytes of the log
and of the spool, memory and descriptors of each process. Told of what comes after eleven minutes, when what is kept for
ten has filled (of a shorter run, after its first third): the slope of each for 10,000 answers, the median of the slopes
between any two looks, with its 95 % interval (Sen 1968, "Estimates of the regression coefficient based on Kendall's
tau").

    python -m bench.steady_log --seconds 3600 --rate 100
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path
from typing import Any

import psutil
from scipy.stats import theilslopes

from cloud_worker.config.cloud import CloudConfig, read_config
from cloud_worker.config.testing import cloud_toml
from cloud_worker.log.distillation_log import DistillationLog
from cloud_worker.log.drainer import Drainer
from cloud_worker.log.spool import Entry, Spool, StoredAnswer
from cloud_worker.refresh.refresher import RefreshLoop
from cloud_worker.releases.first_release import publish_first_releases
from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.recovered_state import open_store
from cloud_worker.running.process_memory import keep_memory_low
from cloud_worker.state.repeated_rows import Repeats
from router.core.domain.record import Record

LOOKS = 120
FILLED_SECONDS = 660.0  # commits, and answers that may be asked for again, stay for ten minutes
CONFIG = cloud_toml()


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print one JSON object last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--rate", type=float, default=500.0, help="answers a second")
    parser.add_argument(
        "--pace", type=float, default=10.0, help="how many times as often as in life the log is drained"
    )
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        print(json.dumps(_measured(Path(name), chosen.seconds, chosen.rate, chosen.pace)))


def _measured(folder: Path, seconds: float, rate: float, pace: float) -> dict[str, Any]:
    (folder / "answers.jsonl").write_text('{"text": "lamp", "label": "lights"}\n')
    (folder / "cloud.toml").write_text(CONFIG)
    config = read_config(folder / "cloud.toml")
    config.data.mkdir()
    store = open_store(config)
    store.declare_tasks(config.tasks)
    publish_first_releases(config.tasks, store, Publisher(config.releases_folder))
    spawn = multiprocessing.get_context("spawn")
    stop, ready = spawn.Event(), spawn.Barrier(3)
    parts = {
        part.__name__.strip("_"): spawn.Process(target=part, args=(folder / "cloud.toml", pace, ready, stop))
        for part in (_writer, _refresher)
    }
    for process in parts.values():
        process.start()
    ready.wait()
    pids = {"gateway": os.getpid()} | {name: one.pid for name, one in parts.items()}
    answers, looks = asyncio.run(_load(config, seconds, rate, pace, pids))
    stop.set()
    for process in parts.values():
        process.join()
    rows = DistillationLog(config.log_folder).rows()
    return {
        "seconds": seconds,
        "pace": pace,
        "answers": answers,
        "rows": rows,
        "end": looks[-1][1],
        "slope_by_10000_answers": _slopes(looks[_filled(seconds, len(looks)) :]),
    }


async def _load(
    config: CloudConfig, seconds: float, rate: float, pace: float, pids: dict[str, int | None]
) -> tuple[int, list[tuple[int, dict[str, float]]]]:
    """How many answers were given, and what was there after so many of them, again and again."""
    spool = Spool(config.spool_folder / "gateway-0.sqlite")
    began, given, looks = time.monotonic(), 0, list[tuple[int, dict[str, float]]]()
    while (passed := time.monotonic() - began) < seconds:
        due = int(passed * rate) - given
        await asyncio.gather(*(spool.append(_entry(given + one), 60.0) for one in range(due)))
        given += due
        if passed > seconds * len(looks) / LOOKS:
            looks.append((given, _seen(config, pids)))
        await asyncio.sleep(1 / pace)
    looks.append((given, _seen(config, pids)))
    await spool.close()
    return given, looks


def _filled(seconds: float, looks: int) -> int:
    """From which look on nothing is filling any more; in a short run its last two thirds have to do."""
    return round(looks * (FILLED_SECONDS / seconds if seconds > FILLED_SECONDS else 1 / 3))


def _slopes(looks: list[tuple[int, dict[str, float]]]) -> dict[str, list[float]]:
    """Of each figure its slope for 10,000 answers, and the ends of its interval."""
    answers = [given / 10_000 for given, _ in looks]
    found: dict[str, list[float]] = {}
    for name in looks[0][1]:
        values = [seen[name] for _, seen in looks]
        slope, _, low, high = theilslopes(values, answers) if len(set(values)) > 1 else (0.0, 0.0, 0.0, 0.0)
        found[name] = [round(float(value), 3) for value in (slope, low, high)]
    return found


def _entry(number: int) -> Entry:
    now = time.time()
    text = f"please turn the lights in the kitchen on, and then number {number} off again"
    record = Record("kitchen", f"query-{number}", "big", "v1", "home", 1, now, now, text, f"label-{number % 50}")
    return Entry(StoredAnswer("kitchen", f"query-{number}", "d" * 64, now, b"x" * 200), record)


def _seen(config: CloudConfig, pids: dict[str, int | None]) -> dict[str, float]:
    log = [file.stat().st_size for file in config.log_folder.rglob("*") if file.is_file()]
    spool = sum(file.stat().st_size for file in config.spool_folder.iterdir())
    found = {"log_files": float(len(log)), "log_mb": sum(log) / 1e6, "spool_mb": spool / 1e6}
    for name, pid in pids.items():
        process = psutil.Process(pid)
        found[f"{name}_mb"] = process.memory_info().rss / 1e6
        found[f"{name}_descriptors"] = float(process.num_fds())
    return {key: round(value, 2) for key, value in found.items()}


def _writer(path: Path, pace: float, ready: Barrier, stop: Event) -> None:
    keep_memory_low()
    config = read_config(path)
    log = DistillationLog(config.log_folder)
    config.spool_folder.mkdir(exist_ok=True)
    drainer = Drainer(config.spool_folder, log, Repeats(open_store(config).engine))
    ready.wait()
    while not stop.wait(config.log.drain_seconds / pace):
        drainer.drain()
    drainer.drain()


def _refresher(path: Path, pace: float, ready: Barrier, stop: Event) -> None:
    keep_memory_low()
    config = read_config(path)
    refresher = RefreshLoop(config, lambda task, rows, recipe: None)
    ready.wait()
    while not stop.wait(config.refresh.poll_seconds / pace):
        refresher.step()


if __name__ == "__main__":
    main()
