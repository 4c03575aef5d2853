"""Does a step of the refresher cost what is new, or what there is?

A log of so many rows, as the cloud's own writer would leave it: twenty devices over thirty days, a release that serves
and keeps four fifths of what is asked, one query in twenty drawn, texts of a sentence. The real refresher takes it up;
then batches of 50 new rows come, and each is looked at. Each size is measured in a process of its own: the median time
of a step, its resident memory after the steps, and how long it took to take the log up.

    python -m bench.refresh_growth --rows 10000 100000 1000000
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import psutil
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake

from cloud_worker.config.cloud import CloudConfig, read_config
from cloud_worker.config.testing import cloud_toml
from cloud_worker.log.distillation_log import BATCHES, DistillationLog, table_of
from cloud_worker.refresh.refresher import RefreshLoop
from cloud_worker.releases.first_release import publish_first_releases
from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.recovered_state import open_store
from cloud_worker.state.states import ReleaseState
from cloud_worker.state.store import ReleaseRow
from edge_agent.testing.tiny_releases import tiny_release
from router.core.domain.record import Record, Source, unit_interval
from router.core.policy.deferral import Policy
from router.core.release.orders import Watch
from router.core.statistics.e_process import Certificate, attempt_alpha

SIZES = (10_000, 100_000, 1_000_000)
NEW_ROWS, STEPS, WARM_STEPS = 50, 15, 3
DEVICES, DAYS, RATE, THRESHOLD = 20, 30, 0.05, 0.5
PIECE_ROWS = 50_000  # of one commit; a batch has ``NEW_ROWS``
ANSWERS = ("lights", "music", "clock")
WORDS = {"light": "lights", "lamp": "lights", "song": "music", "tune": "music", "noon": "clock", "hour": "clock"}
CONFIG = cloud_toml()


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure each size, and print one JSON object last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES, help="rows in the log")
    rows = list(parser.parse_args(arguments).rows)
    seconds, memory = [], []
    for count in rows:
        with tempfile.TemporaryDirectory() as name:
            found = _apart(Path(name), count)
        print(f"{count:>9,} rows: {found[0] * 1000:.1f} ms a step, {found[1]:.0f} MB, taken up in {found[2]:.1f} s")
        seconds.append(round(found[0], 4))
        memory.append(round(found[1], 1))
    print(json.dumps({"rows": rows, "step_seconds": seconds, "memory_mb": memory}))


def _apart(folder: Path, count: int) -> tuple[float, float, float]:
    """Seconds of a step, MB, and seconds of the start, in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    found: SimpleQueue[tuple[float, float, float]] = spawn.SimpleQueue()
    config = _fleet(folder)
    last = _write_log(config, count)
    process = spawn.Process(target=_measure, args=(folder / "cloud.toml", count, last, found))
    process.start()
    process.join()
    return found.get()


def _measure(path: Path, count: int, last: int, found: SimpleQueue[tuple[float, float, float]]) -> None:
    config = read_config(path)
    log = DistillationLog(config.log_folder)
    began = time.perf_counter()
    refresher = RefreshLoop(config, lambda task, rows, recipe: None)
    refresher.step()
    start = time.perf_counter() - began
    times = []
    for step in range(WARM_STEPS + STEPS):
        first = count + step * NEW_ROWS
        rows = [_row(position, first + NEW_ROWS) for position in range(first, first + NEW_ROWS)]
        log.append(rows, "spool", last + step + 1)
        began = time.perf_counter()
        refresher.step()
        times.append(time.perf_counter() - began)
    seen = open_store(config).task_state("home").rows_seen
    assert seen == count + (WARM_STEPS + STEPS) * NEW_ROWS, seen
    gc.collect()
    found.put((statistics.median(times[WARM_STEPS:]), psutil.Process().memory_info().rss / 1e6, start))


def _fleet(folder: Path) -> CloudConfig:
    """A fleet whose release serves, certified on a first student; a fit is far off."""
    (folder / "answers.jsonl").write_text('{"text": "lamp", "label": "lights"}\n')
    (folder / "cloud.toml").write_text(CONFIG)
    config = read_config(folder / "cloud.toml")
    config.data.mkdir()
    store, publisher = open_store(config), Publisher(config.releases_folder)
    store.declare_tasks(config.tasks)
    publish_first_releases(config.tasks, store, publisher)
    proof = Certificate(0.02, attempt_alpha(0.95, 1), 300, 0, 4.0, 1, teacher_version="v1", rate=1.0)
    manifest, files = tiny_release(config.task("home"), 1, WORDS)
    manifest = replace(manifest, policy=Policy(THRESHOLD), certificate=proof)
    store.add_release(ReleaseRow("home", 1, ReleaseState.BUILDING, "", 1.0, local_share=0.8))
    store.promote("home", 1, publisher.publish(manifest, files), watch=Watch.QUIET, rows_at_refresh=10**9)
    store.update_task("home", refreshed_at=time.time())
    store.engine.dispose()
    return config


def _write_log(config: CloudConfig, count: int) -> int:
    """Write a log of so many rows in large commits; return its last batch."""
    log = DistillationLog(config.log_folder)
    log.append([_row(0, count)], "spool", 1)
    table = DeltaTable(config.log_folder)
    for start in range(1, count, PIECE_ROWS):
        rows = [_row(position, count) for position in range(start, min(start + PIECE_ROWS, count))]
        batches = [2 + position // NEW_ROWS for position in range(start, start + len(rows))]
        data = table_of(rows, 0)
        data = data.set_column(data.schema.get_field_index("batch"), "batch", pa.array(batches, pa.int64()))
        marks = [Transaction("spool", batches[-1]), Transaction(BATCHES, batches[-1])]
        write_deltalake(table, data, mode="append", commit_properties=CommitProperties(app_transactions=marks))
        table.update_incremental()
    return table.transaction_version(BATCHES) or 0


def _row(position: int, count: int) -> Record:
    """One row of the log: of a query that was drawn, or that its device could not answer."""
    caller, query_id = f"device-{position % DEVICES}", f"query-{position}"
    kept = unit_interval("kept", query_id) < RATE * 0.8 / (RATE * 0.8 + 0.2)  # of what comes: drawn of what was kept
    answer = ANSWERS[position % len(ANSWERS)]
    at = time.time() - (count - position) * DAYS * 86_400 / max(count, 1)
    return Record(
        caller=caller,
        query_id=query_id,
        teacher="big",
        teacher_version="v1",
        task="home",
        task_version=1,
        asked_at=at,
        received_at=at,
        text=f"please turn the lights in the kitchen on, and then number {position} off again",
        answer=answer,
        labels=ANSWERS,
        log_probabilities=(-0.1, -3.0, -3.0),
        source=Source.TAUGHT if kept else Source.ESCALATED,
        release=1,
        local_answer=answer,
        local_score=0.9 if kept else 0.1,
        kept=kept,
        explored=kept or unit_interval("drawn", query_id) < RATE,
        propensity=RATE if kept else 1.0,
        exploration=RATE,
        threshold=THRESHOLD,
    )


if __name__ == "__main__":
    main()
