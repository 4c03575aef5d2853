import asyncio
import json
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
from deltalake import DeltaTable, write_deltalake

from cloud_worker.log.distillation_log import (
    COMPACT_EVERY_BATCHES,
    SCHEMA,
    DistillationLog,
    partition_of,
    records_of,
    table_of,
)
from cloud_worker.log.drainer import Drainer
from cloud_worker.log.spool import Entry, Spool, StoredAnswer, pending_in
from cloud_worker.state.repeated_rows import Repeats
from cloud_worker.state.store import Store
from router.core.domain.query import Distribution, TokenProbability
from router.core.domain.record import Record, Source, Tried
from router.core.domain.token_codec import pack

DAY = 86_400.0
NOON = 1_800_014_400.0 + DAY / 2


def record(number, asked_at=NOON, **changes):
    values = {
        "labels": ("on", "off"),
        "log_probabilities": (-0.1, -2.4),
        "tail_log_probability": None,
        "source": Source.TAUGHT,
        "local_answer": None,
        "local_score": 0.5,
        "propensity": 0.05,
    }
    return Record(
        "kitchen", f"q{number}", "big", "v1", "home", 1, asked_at, asked_at, f"text {number}", "on", **values | changes
    )


@pytest.fixture
def log(tmp_path):
    return DistillationLog(tmp_path / "log")


def keys(log, task="home"):
    return [row.query_id for row in records_of(log.read(task))]


def test_an_empty_log_has_version_minus_one_and_no_rows(log):
    assert (log.version(), log.rows(), log.taken_in("spool")) == (-1, 0, 0)
    assert log.read("home").schema.equals(SCHEMA)
    assert log.read("home", columns=["text"]).column_names == ["text"]


def test_a_log_that_is_older_than_a_column_is_read_and_takes_it_in(tmp_path):
    path = tmp_path / "log"
    old = [name for name in SCHEMA.names if name not in ("chat", "tokens", "problem", "tried")]
    write_deltalake(path, table_of([record(1)], 1).select(old), partition_by=["task", "day"])
    log = DistillationLog(path)
    (known,) = records_of(log.read("home"))
    assert (known.chat, known.tokens, known.problem, known.tried) == ("", b"", "", ())
    log.append([record(2, chat="[]", problem="unread")], "spool", 2)
    rows = records_of(DistillationLog(path).read("home"))
    assert sorted((row.chat, row.problem) for row in rows) == [("", ""), ("[]", "unread")]


def test_the_tokens_of_an_answer_are_kept(log):
    tokens = pack([TokenProbability("on", -0.5, Distribution((("on", -0.5), ("off", -1.0)), -4.0))])
    log.append([record(1, tokens=tokens)], "spool", 1)
    (row,) = records_of(log.read("home"))
    assert row.tokens == tokens


def test_a_record_comes_back_as_it_went_in(log):
    tried = (Tried("small", "v2", "on", -0.25, 0.01, 3.5), Tried("tiny", failed=True))
    rows = [
        record(1, tried=tried),
        record(2, rationale="so", tail_log_probability=-3.0, labels=(), log_probabilities=()),
    ]
    log.append(rows, "spool", 2)
    assert sorted(records_of(log.read("home")), key=lambda row: row.query_id) == rows


def test_positions_that_are_in_are_skipped(log):
    assert log.append([record(1), record(2)], "spool", 2) == 2
    assert log.append([record(1), record(2)], "spool", 2) == 0
    assert log.append([record(3)], "spool", 3) == 1
    assert log.rows() == 3
    assert log.taken_in("spool") == 3


def test_a_key_that_is_in_is_not_taken_again_from_another_spool_or_by_another_writer(log, tmp_path):
    log.append([record(1)], "one", 1)
    assert log.append([record(1), record(2), record(2)], "two", 3) == 1
    assert DistillationLog(tmp_path / "log").append([record(1), record(3)], "three", 2) == 1
    assert sorted(keys(log)) == ["q1", "q2", "q3"]


def test_the_same_query_of_another_caller_or_teacher_is_another_record(log):
    rows = [record(1), replace(record(1), caller="garage"), replace(record(1), teacher_version="v2")]
    assert log.append(rows, "spool", 3) == 3


def test_a_retry_is_known_however_late_its_device_sends_it(log):
    log.append([record(1)], "spool", 1)
    late = replace(record(1), received_at=NOON + 40 * DAY)
    assert log.append([late], "spool", 2) == 0


def test_a_direct_retry_after_midnight_is_known(log):
    before = record(1, asked_at=NOON + DAY / 2 - 1, source=Source.DIRECT)
    log.append([before], "spool", 1)
    assert log.append([record(1, asked_at=NOON + DAY / 2 + 1, source=Source.DIRECT)], "spool", 2) == 0


def test_an_impossible_clock_of_a_device_falls_back_on_ours():
    assert partition_of(replace(record(1), asked_at=0.0)) == partition_of(record(1))
    assert partition_of(replace(record(1), asked_at=NOON + 400 * DAY)) == partition_of(record(1))


def test_reading_goes_on_after_a_batch_in_order(log):
    for number in range(5):
        log.append([record(2 * number), record(2 * number + 1)], "spool", number + 1)
    batches = log.read("home", columns=["batch"]).column("batch").to_pylist()
    assert batches == sorted(batches)
    assert len(set(batches)) == 5
    later = log.read("home", after_batch=batches[5])
    assert {row.query_id for row in records_of(later)} == {"q6", "q7", "q8", "q9"}


def test_tasks_are_read_apart(log):
    log.append([record(1), replace(record(2), task="car")], "spool", 2)
    assert keys(log, "car") == ["q2"]


def test_hundreds_of_small_appends_stay_few_files(log, tmp_path):
    for number in range(COMPACT_EVERY_BATCHES):
        log.append([record(number)], "spool", number + 1)
    assert len(DeltaTable(tmp_path / "log").file_uris()) == 1
    assert log.rows() == COMPACT_EVERY_BATCHES
    assert log.append([record(COMPACT_EVERY_BATCHES)], "spool", COMPACT_EVERY_BATCHES + 1) == 1
    assert log.taken_in("spool") == COMPACT_EVERY_BATCHES + 1


@pytest.mark.parametrize("line_end", ["\u2028", "\u2029", "\u0085"])
def test_a_text_that_holds_a_line_end_of_unicode_is_taken_in_once(log, tmp_path, line_end):
    row = replace(record(1), text=f"song{line_end}x", answer=f"on{line_end}y")
    assert log.append([row], "one", 1) == 1
    assert log.append([row], "two", 1) == 0
    after = DistillationLog(tmp_path / "log")
    assert after.append([row], "three", 1) == 0
    assert after.append([record(2)], "three", 2) == 1
    assert records_of(log.read("home")) == [row, record(2)]


@pytest.mark.parametrize("task", ["my home", "büro", "a/b", "50%"])
def test_a_task_may_have_any_name(log, task):
    assert log.append([replace(record(1), task=task)], "spool", 1) == 1
    assert keys(log, task) == ["q1"]


def break_disk(monkeypatch):
    def fail(_handle):
        raise OSError("Input/output error")

    monkeypatch.setattr("cloud_worker.log.distillation_log.os.fsync", fail)


def repeats_in(folder):
    return Repeats(Store(f"sqlite:///{folder}/store.sqlite").engine)


def draining(folder, log):
    return Drainer(folder / "spool", log, repeats_in(folder))


def test_a_kept_row_that_the_log_had_before_is_told_apart_by_its_number(tmp_path):
    log = DistillationLog(tmp_path / "log")
    drawn = {"source": Source.TAUGHT, "kept": True}
    old = [record(0, sequence_number=1, **drawn), record(1, sequence_number=2, **drawn), record(2, sequence_number=2)]
    log.append(old, "another", 1)
    again = [replace(row, sequence_number=row.sequence_number + 10) for row in old]

    async def append():
        spool = Spool(tmp_path / "spool" / "gateway-0.sqlite")
        for row in [*again, record(3, sequence_number=14, **drawn)]:
            await spool.append(Entry(StoredAnswer("kitchen", row.query_id, "digest", 1.0, b""), row))
        await spool.close()

    asyncio.run(append())
    assert draining(tmp_path, log).drain() == 1
    assert repeats_in(tmp_path).of("home") == {("kitchen", 11), ("kitchen", 12)}
    repeats_in(tmp_path).note(again)
    assert len(repeats_in(tmp_path).of("home")) == 2


def test_rows_stay_in_their_spool_until_their_commit_is_on_the_disk(tmp_path, monkeypatch):
    log = DistillationLog(tmp_path / "log")
    log.append([record(9)], "another", 1)
    fill(tmp_path, "gateway-0", range(3))
    drainer, later = draining(tmp_path, log), draining(tmp_path, DistillationLog(tmp_path / "log"))
    with monkeypatch.context() as broken:
        break_disk(broken)
        for one in (drainer, drainer, later):
            with pytest.raises(OSError, match="Input/output"):
                one.drain()
        assert pending_in(tmp_path / "spool") == 3
    assert later.drain() == 0
    assert pending_in(tmp_path / "spool") == 0
    assert sorted(keys(log)) == ["q0", "q1", "q2", "q9"]


def test_a_key_whose_commit_did_not_reach_the_disk_at_once_is_not_taken_again(log, monkeypatch):
    log.append([record(0)], "one", 1)
    with monkeypatch.context() as broken:
        break_disk(broken)
        with pytest.raises(OSError, match="Input/output"):
            log.append([record(1)], "one", 2)
    assert log.append([record(1)], "two", 1) == 0
    assert sorted(keys(log)) == ["q0", "q1"]


# A writer that is killed at a point of its work, and one that comes after it.

WRITER = """
import os, signal, sys
from pathlib import Path
from cloud_worker.log import distillation_log, drainer, spool
from cloud_worker.state.repeated_rows import Repeats
from cloud_worker.state.store import Store

def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

def die_after(call):
    def called(*args, **kwargs):
        call(*args, **kwargs)
        die()
    return called

point = {point!r}
if point == "before the commit":
    distillation_log.write_deltalake = die
elif point == "after the commit, before it is durable":
    distillation_log.write_deltalake = die_after(distillation_log.write_deltalake)
elif point == "before rows leave the spool":
    remove = spool.SpoolDrain.remove
    spool.SpoolDrain.remove = lambda self, last: die() if last else remove(self, last)
elif point == "after rows left the spool":
    remove = spool.SpoolDrain.remove
    spool.SpoolDrain.remove = lambda self, last: (remove(self, last), die() if last else None)
folder = Path({folder!r})
log = distillation_log.DistillationLog(folder / "log")
repeats = Repeats(Store(f"sqlite:///{{folder}}/store.sqlite").engine)
print(drainer.Drainer(folder / "spool", log, repeats).drain(), log.rows())
"""

POINTS = (
    "before the commit",
    "after the commit, before it is durable",
    "before rows leave the spool",
    "after rows left the spool",
)


def run_writer(folder, point=""):
    script = WRITER.format(point=point, folder=str(folder))
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False)


def fill(folder, gateway, numbers):
    async def append():
        spool = Spool(folder / "spool" / f"{gateway}.sqlite")
        for number in numbers:
            await spool.append(Entry(StoredAnswer("kitchen", f"q{number}", "digest", 1.0, b""), record(number)))
        await spool.close()

    asyncio.run(append())


@pytest.mark.parametrize("point", POINTS)
def test_every_record_is_in_the_log_once_wherever_the_writer_is_killed(tmp_path, point):
    fill(tmp_path, "gateway-0", range(10))
    killed = run_writer(tmp_path, point)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    fill(tmp_path, "gateway-0", range(10, 15))
    after = run_writer(tmp_path)
    assert after.returncode == 0, after.stderr
    log = DistillationLog(tmp_path / "log")
    assert sorted(keys(log)) == sorted(f"q{number}" for number in range(15))
    assert draining(tmp_path, log).drain() == 0


def test_spools_of_gateways_that_are_gone_are_drained_too(tmp_path):
    fill(tmp_path, "gateway-0", range(3))
    fill(tmp_path, "gateway-gone", range(2, 6))
    assert run_writer(tmp_path).stdout.split() == ["6", "6"]


def test_a_commit_names_the_spool_and_its_position(tmp_path):
    fill(tmp_path, "gateway-0", range(3))
    run_writer(tmp_path)
    commits = sorted((tmp_path / "log" / "_delta_log").glob("*.json"))
    actions = [json.loads(line) for line in commits[-1].read_text().splitlines()]
    assert 3 in {action["txn"]["version"] for action in actions if "txn" in action}
