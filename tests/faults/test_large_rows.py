"""What the largest rows that callers may bring do to the refresher's memory; the figures are printed."""

import subprocess
import sys
from dataclasses import replace

from cloud_worker.config.cloud import read_config
from cloud_worker.config.testing import cloud_toml
from cloud_worker.log.distillation_log import DistillationLog
from cloud_worker.releases.first_release import publish_first_releases
from cloud_worker.releases.publisher import Publisher
from cloud_worker.state.store import Store
from router.core.domain.query import MAX_TEXT_BYTES, Distribution, TokenProbability
from router.core.domain.token_codec import pack

COMMITS, ROWS = 4, 50  # in each commit
TOKENS = 400, 2_048  # rows, and tokens of each
MOST = 2.0  # megabytes kept in memory, of one of text

SCRIPT = """
import gc, sys
from pathlib import Path
import psutil
from cloud_worker.config.cloud import read_config
from cloud_worker.refresh.refresher import RefreshLoop

def used():
    gc.collect()
    return psutil.Process().memory_info().rss / 1e6

empty, full = (read_config(Path(path)) for path in sys.argv[1:])
RefreshLoop(empty, lambda *_: None).step()
before = used()
refresher = RefreshLoop(full, lambda *_: None)
started = used()
for _ in range(20):
    refresher.step()
print(started - before, used() - started)
"""


def configured(folder, record):
    folder.mkdir()
    (folder / "answers.jsonl").write_text('{"text": "lamp", "label": "lights"}\n')
    (folder / "cloud.toml").write_text(
        cloud_toml("""[refresh]
min_rows = 1000000
""")
    )
    config = read_config(folder / "cloud.toml")
    config.data.mkdir()
    store = Store(config.store_url)
    store.declare_tasks(config.tasks)
    publish_first_releases(config.tasks, store, Publisher(config.releases_folder))
    return config


def kept_by_the_refresher(folder):
    """Megabytes that a refresher has of its rows, and by which it grew later."""
    paths = [folder / name / "cloud.toml" for name in ("empty", "full")]
    done = subprocess.run([sys.executable, "-c", SCRIPT, *paths], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return map(float, done.stdout.split())


def test_the_refresher_keeps_what_the_rows_hold_and_little_more(tmp_path, record, capsys):
    configured(tmp_path / "empty", record)
    config = configured(tmp_path / "full", record)
    log, text = DistillationLog(config.log_folder), "a" * (MAX_TEXT_BYTES - 16)
    for commit in range(COMMITS):
        positions = range(commit * ROWS, (commit + 1) * ROWS)
        rows = [replace(record(position, f"{position} {text}"), chat=f"{position}{text}") for position in positions]
        log.append(rows, "spool", positions[-1])
    kept, grown = kept_by_the_refresher(tmp_path)
    held = COMMITS * ROWS * 2 * MAX_TEXT_BYTES / 1e6
    with capsys.disabled():
        print(f"\n{COMMITS * ROWS} rows of {held:.0f} MB: the refresher holds {kept:.0f} MB, {grown:.0f} more later")
    assert kept < MOST * held
    assert grown < 0.1 * held


def test_the_refresher_keeps_token_probabilities_as_small_as_the_log_does(tmp_path, record, capsys):
    configured(tmp_path / "empty", record)
    config = configured(tmp_path / "full", record)
    log, (rows, written) = DistillationLog(config.log_folder), TOKENS
    for commit in range(COMMITS):
        positions = range(commit * rows // COMMITS, (commit + 1) * rows // COMMITS)
        log.append(
            [replace(record(position), tokens=pack(tokens_of(position, written))) for position in positions],
            "spool",
            commit,
        )
    kept, grown = kept_by_the_refresher(tmp_path)
    held = rows * len(pack(tokens_of(0, written))) / 1e6
    with capsys.disabled():
        print(f"\n{rows} rows of {written} tokens, packed {held:.0f} MB: the refresher holds {kept:.0f} MB")
    assert kept < MOST * held
    assert grown < 0.1 * held


def tokens_of(row, count):
    """What a teacher wrote, each token with the five likeliest."""
    top = tuple((f"token-{row}-{position}", -1.0 - position) for position in range(5))
    return [TokenProbability(top[0][0], -1.0, Distribution(top, -3.0))] * count
