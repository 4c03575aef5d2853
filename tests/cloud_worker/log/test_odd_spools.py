"""Spools that hold what the log can't take, are locked by others, or are damaged."""

import asyncio
import os
import sqlite3
import time
from dataclasses import replace

import pytest

from cloud_worker.config.cloud import read_config
from cloud_worker.config.testing import cloud_toml
from cloud_worker.log.distillation_log import DistillationLog, records_of
from cloud_worker.log.drainer import Drainer
from cloud_worker.log.spool import Entry, Spool, SpoolDrain, StoredAnswer
from cloud_worker.log.spool_drain import spooled_in
from cloud_worker.log.table_rows import numbered_records_of, table_of, why_unfit
from cloud_worker.log.writer_actor import LogWriter
from cloud_worker.state.repeated_rows import Repeats
from cloud_worker.state.store import Store
from router.core.domain.record import Record
from router.core.errors import UnavailableError

WRITER = cloud_toml("""[log]
drain_seconds = 1.0
""")
NOW = 1_800_000_000.0


def record(number, **changes):
    values = {"task": "home", "text": f"text {number}"} | changes
    return replace(Record("kitchen", f"q{number}", "big", "v1", "home", 1, NOW, NOW, "", "on"), **values)


def entry(number, **changes):
    return Entry(StoredAnswer("kitchen", f"q{number}", "digest", NOW, b"answer"), record(number, **changes))


def fill(folder, entries, name="gateway-0"):
    async def append():
        spool = Spool(folder / "spool" / f"{name}.sqlite")
        for one in entries:
            await spool.append(one)
        await spool.close()

    asyncio.run(append())
    return folder / "spool" / f"{name}.sqlite"


def draining(folder):
    repeats = Repeats(Store(f"sqlite:///{folder}/store.sqlite").engine)
    return Drainer(folder / "spool", DistillationLog(folder / "log"), repeats)


def logged(folder):
    return sorted(row.query_id for row in records_of(DistillationLog(folder / "log").read("home")))


UNFIT = (
    {"release": 2**63},
    {"sequence_number": -(2**63) - 1},
    {"tokens_in": 10**30},
    {"asked_at": 1e300},
    {"received_at": float("nan")},
    {"propensity": 0.0},
    {"task": "x" * 300},
)


@pytest.mark.parametrize("changes", UNFIT, ids=lambda changes: next(iter(changes)))
def test_a_record_that_cannot_be_written_goes_to_quarantine_and_the_rest_goes_on(tmp_path, changes):
    fill(tmp_path, [entry(0), entry(1, **changes), entry(2)])
    drainer = draining(tmp_path)
    assert drainer.drain() == 2
    assert logged(tmp_path) == ["q0", "q2"]
    assert (spooled_in(tmp_path / "spool").pending, spooled_in(tmp_path / "spool").quarantined) == (0, 1)
    fill(tmp_path, [entry(3)])
    assert (drainer.drain(), drainer.drain()) == (1, 0)
    assert logged(tmp_path) == ["q0", "q2", "q3"]


def test_bytes_that_are_no_record_go_to_quarantine_also_in_a_spool_of_an_older_version(tmp_path):
    path = fill(tmp_path, [entry(0), entry(1), entry(2)])
    with sqlite3.connect(path) as file:
        file.execute("DROP TABLE quarantine")
        file.execute("UPDATE records SET body = ? WHERE query_id = 'q0'", (b"\xff\xfe{",))
        file.execute("UPDATE records SET body = ? WHERE query_id = 'q2'", (b'{"caller": 1}',))
    assert draining(tmp_path).drain() == 1
    assert (logged(tmp_path), spooled_in(tmp_path / "spool").quarantined) == (["q1"], 2)


def test_rows_that_a_newer_version_wrote_are_left_out_when_the_log_is_read(tmp_path):
    table = table_of([record(0), record(1), record(2)], 1)
    sources = table.column("source").to_pylist()
    position = table.schema.get_field_index("source")
    odd = table.set_column(position, "source", [["dreamt", *sources[1:]]])
    assert [number for number, _ in numbered_records_of(odd)] == [1, 2]
    assert why_unfit(record(0)) == ""


async def test_a_lock_held_by_another_costs_the_log_and_not_the_answer(tmp_path):
    spool = Spool(tmp_path / "gateway-0.sqlite")
    with sqlite3.connect(tmp_path / "gateway-0.sqlite", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        refusals = await asyncio.gather(*(spool.append(entry(n), 0.3) for n in range(24)), return_exceptions=True)
        assert all(isinstance(refusal, UnavailableError) for refusal in refusals)
        assert await spool.find("kitchen", "q0", NOW) is None
        other.execute("ROLLBACK")
    await spool.append(entry(100))
    await spool.close()
    assert "q100" in {row.query_id for _, row in SpoolDrain(tmp_path / "gateway-0.sqlite").read(100)}


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def empty(path):
    os.truncate(path, 0)


def write_over(path):
    with path.open("r+b") as file:
        file.write(os.urandom(path.stat().st_size))


def flip(path):
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 8192)


def remove(path):
    path.unlink()


def become_a_folder(path):
    path.unlink()
    (path / "inside").mkdir(parents=True)


HARMS = (truncate, empty, write_over, flip, remove, become_a_folder)


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
def test_a_spool_that_is_harmed_while_it_runs_is_replaced_and_what_was_promised_since_is_logged(tmp_path, harm):
    path = tmp_path / "spool" / "gateway-0.sqlite"

    async def live():
        spool = Spool(path)
        await asyncio.gather(*(spool.append(entry(number)) for number in range(50)))
        drainer.drain()
        harm(path)
        promised = []
        for number in range(50, 70):
            try:
                await spool.append(entry(number))
            except UnavailableError:
                continue
            finally:
                if number == 60:
                    drainer.drain()
            promised.append(f"q{number}")
        await spool.close()
        return promised

    drainer = draining(tmp_path)
    promised = asyncio.run(live())
    assert len(promised) >= 15
    drainer.drain()
    assert set(promised) <= set(logged(tmp_path))
    assert len(logged(tmp_path)) == len(set(logged(tmp_path)))


def test_what_is_no_spool_is_put_aside_and_keeps_no_other_from_being_drained(tmp_path):
    path = fill(tmp_path, [entry(0)])
    (path.parent / "a.sqlite").write_bytes(b"not a database at all" * 100)
    (path.parent / "b.sqlite").touch()
    (path.parent / "c.sqlite").mkdir()
    with sqlite3.connect(path.parent / "d.sqlite") as other:
        other.execute("CREATE TABLE songs (name)")
    assert draining(tmp_path).drain() == 1
    found = spooled_in(path.parent)
    assert (found.pending, found.unreadable, len(found.put_aside)) == (0, 0, 3)
    assert draining(tmp_path).drain() == 0


def test_the_writer_commits_once_a_call_unless_a_full_batch_waits(tmp_path):
    fill(tmp_path, [entry(0)])
    drainer, log = draining(tmp_path), DistillationLog(tmp_path / "log")
    fill(tmp_path, [entry(1), entry(2)])
    drainer.drain()
    assert log.last_batch() == 1


class Arriving(DistillationLog):
    """A log during each of whose commits another record comes into the spool, as under steady load."""

    def __init__(self, folder, most):
        super().__init__(folder / "log")
        self.folder, self.commits, self.most = folder, 0, most

    def append(self, records, spool, last):
        moved = super().append(records, spool, last)
        self.commits += 1
        if self.commits < self.most:
            fill(self.folder, [entry(self.commits)])
        return moved


def test_what_comes_during_a_commit_waits_for_the_next_call(tmp_path):
    fill(tmp_path, [entry(0)])
    busy = Arriving(tmp_path, most=5)
    drainer = Drainer(tmp_path / "spool", busy, Repeats(Store(f"sqlite:///{tmp_path}/store.sqlite").engine))
    for call in (1, 2, 3):
        assert drainer.drain() == 1
        assert busy.commits == call
    assert spooled_in(tmp_path / "spool").pending == 1


async def test_under_steady_load_the_writer_commits_once_an_interval(tmp_path):
    (tmp_path / "answers.jsonl").write_text('{"text": "lamp", "label": "on"}\n')
    (tmp_path / "cloud.toml").write_text(WRITER)
    config = read_config(tmp_path / "cloud.toml")
    spool, written = Spool(config.spool_folder / "gateway-0.sqlite"), 0
    began = time.monotonic()
    writer = LogWriter(config)
    while time.monotonic() < began + 5.0:
        await spool.append(entry(written), 60.0)
        written += 1
    seconds = time.monotonic() - began
    commits = DistillationLog(config.log_folder).last_batch() + 1
    await writer.stop()
    await spool.close()
    assert 1 <= commits <= seconds + 2
    assert len(logged(config.data)) == written
