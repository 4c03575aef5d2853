import asyncio
import contextlib
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from cloud_worker.log.spool import STORED_ANSWER_SECONDS, Entry, Spool, SpoolDrain, StoredAnswer, pending_in
from router.core.domain.record import Record
from router.core.errors import UnavailableError

NOW = 1_800_000_000.0


def entry(number, logged=True, caller="kitchen", now=NOW):
    query = f"q{number}"
    record = Record(caller, query, "big", "v1", "home", 1, now, now, f"text {number}", "on", labels=("on",))
    answer = StoredAnswer(caller, query, f"digest {number}", now, f"answer {number}".encode())
    return Entry(answer, record if logged else None)


@pytest.fixture
def statements(monkeypatch):
    """What SQLite is told over every connection that is opened from now on."""
    told, connect = [], sqlite3.connect

    def traced(*given, **named):
        connection = connect(*given, **named)
        connection.set_trace_callback(told.append)
        return connection

    monkeypatch.setattr(sqlite3, "connect", traced)
    return told


@pytest.fixture
async def spool(tmp_path):
    spool = Spool(tmp_path / "gateway-0.sqlite")
    yield spool
    await spool.close()


async def test_an_appended_record_can_be_drained(spool, tmp_path):
    await spool.append(entry(1))
    drain = SpoolDrain(tmp_path / "gateway-0.sqlite")
    [(position, record)] = drain.read(10)
    assert record == entry(1).record
    drain.remove(position)
    assert drain.read(10) == []


async def test_packed_tokens_come_out_as_they_went_in(spool, tmp_path):
    one = entry(1)
    await spool.append(replace(one, record=replace(one.record, tokens=bytes(range(256)))))
    [(_, record)] = SpoolDrain(tmp_path / "gateway-0.sqlite").read(10)
    assert record.tokens == bytes(range(256)) == (await spool.record("kitchen", "q1")).tokens


async def test_what_waits_together_shares_commits(statements, spool):
    statements.clear()
    await asyncio.gather(*(spool.append(entry(number)) for number in range(200)))
    assert 1 <= statements.count("COMMIT") <= 3


async def test_a_record_stands_once_per_key(spool, tmp_path):
    await spool.append(entry(1))
    await spool.append(entry(1))
    assert SpoolDrain(tmp_path / "gateway-0.sqlite").pending() == 1


async def test_what_was_kept_in_time_is_heard_of_by_a_process_that_was_held_up(spool):
    await spool.append(entry(1))
    appending = asyncio.create_task(spool.append(entry(2), patience=0.2))
    await asyncio.sleep(0)
    time.sleep(0.5)  # noqa: ASYNC251 - frozen, or without a processor
    await appending


async def test_an_unlogged_answer_leaves_no_record(spool, tmp_path):
    await spool.append(entry(1, logged=False))
    assert SpoolDrain(tmp_path / "gateway-0.sqlite").pending() == 0
    assert (await spool.find("kitchen", "q1", NOW)).response == b"answer 1"


async def test_a_stored_answer_is_its_callers_alone_and_lasts_ten_minutes(spool):
    await spool.append(entry(1))
    assert (await spool.find("kitchen", "q1", NOW + STORED_ANSWER_SECONDS - 1)).digest == "digest 1"
    assert await spool.find("kitchen", "q1", NOW + STORED_ANSWER_SECONDS + 1) is None
    assert await spool.find("garage", "q1", NOW) is None


async def test_a_new_query_costs_no_read_and_a_repeated_one_is_known_also_to_the_next_life(statements, spool, tmp_path):
    await spool.append(entry(1))
    statements.clear()
    assert await spool.find("kitchen", "q2", NOW) is None
    assert statements == []
    assert (await spool.find("kitchen", "q1", NOW)).digest == "digest 1"
    assert len(statements) == 1
    await spool.close()
    again = Spool(tmp_path / "gateway-0.sqlite")
    assert (await again.find("kitchen", "q1", NOW)).response == b"answer 1"
    statements.clear()
    assert await again.find("kitchen", "q2", NOW) is None
    assert statements == []
    await again.close()


async def test_a_large_record_is_encoded_by_the_thread_and_kept_like_others(spool, tmp_path):
    one = entry(1)
    large = replace(one.record, text="ü" * 100_000)
    await asyncio.gather(spool.append(entry(2)), spool.append(replace(one, record=large)))
    assert {record for _, record in SpoolDrain(tmp_path / "gateway-0.sqlite").read(10)} == {large, entry(2).record}


async def test_old_answers_are_forgotten(spool, tmp_path):
    await spool.append(entry(1))
    await spool.append(entry(2, now=NOW + 2 * STORED_ANSWER_SECONDS))
    with contextlib.closing(sqlite3.connect(tmp_path / "gateway-0.sqlite")) as file:
        assert file.execute("SELECT count(*) FROM answers").fetchone() == (1,)


async def test_positions_are_never_reused(spool, tmp_path):
    drain = SpoolDrain(tmp_path / "gateway-0.sqlite")
    await spool.append(entry(1))
    first = drain.read(1)[0][0]
    drain.remove(first)
    await spool.append(entry(2))
    assert drain.read(1)[0][0] > first


async def test_a_spool_keeps_its_name_and_another_file_has_another(tmp_path, spool):
    path = tmp_path / "gateway-0.sqlite"
    assert SpoolDrain(path).id == SpoolDrain(path).id
    other = Spool(tmp_path / "gateway-1.sqlite")
    assert SpoolDrain(tmp_path / "gateway-1.sqlite").id != SpoolDrain(path).id
    await other.close()


class Bounded(sqlite3.Connection):
    """A connection to a disk that may have no room left for a file to grow."""

    is_full = False

    def execute(self, statement, *values):
        if statement.startswith("BEGIN"):
            pages = super().execute("PRAGMA page_count").fetchone()[0] if self.is_full else 1_000_000
            super().execute(f"PRAGMA max_page_count = {pages}")
        return super().execute(statement, *values)


@pytest.fixture
def disk(monkeypatch):
    """The disk of what is opened from now on: ``is_full`` where it has no room left."""
    monkeypatch.setattr(Bounded, "is_full", False)
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Bounded))
    return Bounded


async def test_a_full_disk_refuses_and_keeps_what_it_has(disk, spool, tmp_path):
    await spool.append(entry(1))
    disk.is_full = True
    with pytest.raises(UnavailableError):
        await asyncio.gather(*(spool.append(entry(number)) for number in range(2, 500)))
    disk.is_full = False
    await spool.append(entry(1000))
    ids = {record.query_id for _, record in SpoolDrain(tmp_path / "gateway-0.sqlite").read(1000)}
    assert {"q1", "q1000"} <= ids


async def test_used_bytes_grow_with_records_and_shrink_when_they_leave(spool, tmp_path):
    before = spool.bytes_used
    await asyncio.gather(*(spool.append(entry(number)) for number in range(2000)))
    full = spool.bytes_used
    assert full > before
    SpoolDrain(tmp_path / "gateway-0.sqlite").remove(10_000)
    await spool.append(entry(5000))
    assert spool.bytes_used < full


async def fill_and_drain(spool, path, last):
    """A thousand large records in, and out again, as the log writer does it; returns the sizes of the file."""
    small = [entry(number) for number in range(last, last + 1000)]
    large = [replace(one, record=replace(one.record, text="x" * 20_000)) for one in small]
    await asyncio.gather(*(spool.append(one, 60.0) for one in large))
    full, drain = path.stat().st_size, SpoolDrain(path)
    while rows := drain.read(100):
        drain.remove(rows[-1][0])
    drain.close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return full, path.stat().st_size


async def test_a_drained_spool_gives_its_room_back_to_the_disk(spool, tmp_path):
    full, drained = await fill_and_drain(spool, tmp_path / "gateway-0.sqlite", 0)
    assert full > 20_000_000
    assert drained < full / 2


async def test_a_spool_of_an_older_version_gives_its_room_back_too_and_loses_nothing(spool, tmp_path):
    path = tmp_path / "gateway-0.sqlite"
    with sqlite3.connect(path, isolation_level=None) as connection:  # as it was made before
        connection.execute("PRAGMA auto_vacuum = NONE")
        connection.execute("VACUUM")
    connection.close()
    await spool.append(entry(1), 60.0)
    full, drained = await fill_and_drain(spool, path, 100)
    assert full > 20_000_000
    assert drained < full / 2
    await spool.append(entry(2), 60.0)
    assert [record.query_id for _, record in SpoolDrain(path).read(10)] == ["q2"]
    assert await spool.find("kitchen", "q1", NOW) is not None


WRITER = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from cloud_worker.log.spool import Spool
from test_spool import entry

async def main():
    spool = Spool(Path({path!r}))
    number = 0
    while True:
        await asyncio.gather(*(spool.append(entry(number + k)) for k in range(5)))
        number += 5
        print(number, flush=True)

asyncio.run(main())
"""


def test_what_was_acknowledged_survives_a_kill(tmp_path):
    path = tmp_path / "gateway-0.sqlite"
    script = WRITER.format(tests=str(Path(__file__).parent), path=str(path))
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as writer:
        acknowledged = 0
        for line in writer.stdout:
            acknowledged = int(line)
            if acknowledged >= 50:
                break
        writer.send_signal(signal.SIGKILL)
        acknowledged = max([acknowledged, *(int(line) for line in writer.stdout if line.endswith("\n"))])
    ids = {record.query_id for _, record in SpoolDrain(path).read(100_000)}
    assert ids >= {f"q{number}" for number in range(acknowledged)}
    assert pending_in(tmp_path) == len(ids)
