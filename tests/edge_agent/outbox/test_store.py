"""What waits to be taught."""

import asyncio
import contextlib
import shutil
import sqlite3
import time
from dataclasses import replace

import pytest

from edge_agent.damaged_files import MOST_KEPT, set_aside
from edge_agent.outbox.bounds import Bounds
from edge_agent.outbox.store import Outbox
from router.core.certification.missing_rows import SEQUENCE_LENGTH
from router.core.domain.query import Attempt, Query, Reason


def query(name):
    attempt = Attempt(3, "lights", 0.5, Reason.EXPLORED, True, 0.25, kept=True, asked_at=12.5)
    return Query(name, "home", f"text of {name}", attempt=attempt)


@pytest.fixture
async def outbox(tmp_path):
    made = Outbox(tmp_path / "outbox.sqlite", Bounds(5))
    yield made
    await made.close()


async def names(outbox, most=100):
    return [waiting.query.id for waiting in await outbox.head(most)]


async def test_queries_come_out_whole_and_in_their_order(outbox):
    for name in "cab":
        outbox.put(query(name))
    head = await outbox.head(2)
    assert [waiting.query for waiting in head] == [query("c"), query("a")]
    assert await outbox.remove([waiting.position for waiting in head])
    assert await names(outbox) == ["b"]
    assert outbox.pending == 1


async def test_what_is_kept_is_numbered_task_by_task_across_restarts(tmp_path):
    first = Outbox(tmp_path / "outbox.sqlite", Bounds(5))
    begin = first.sequence_number("home")
    assert first.sequence_number("home") == begin
    numbers = [first.next_sequence_number("home") for _ in range(3)]
    assert numbers == [begin + 1, begin + 2, begin + 3]
    waits = query("a")
    first.put(replace(waits, attempt=replace(waits.attempt, sequence_number=numbers[-1])))
    await first.close()
    again = Outbox(tmp_path / "outbox.sqlite", Bounds(5))
    assert again.sequence_number("home") == numbers[-1]
    assert await again.remove([waiting.position for waiting in await again.head(9)])
    assert again.next_sequence_number("home") == numbers[-1] + 1
    await again.close()


async def test_after_a_kill_no_number_comes_again(tmp_path):
    killed = Outbox(tmp_path / "outbox.sqlite", Bounds(5))
    last = killed.next_sequence_number("home")
    await killed.flush()
    (tmp_path / "killed").mkdir()
    for file in tmp_path.glob("outbox.sqlite*"):  # as a kill leaves them: the file is not closed
        shutil.copy(file, tmp_path / "killed")
    await killed.close()
    while time.time_ns() // 1_000_000 <= last // SEQUENCE_LENGTH:  # a start takes longer than this millisecond
        pass
    again = Outbox(tmp_path / "killed" / "outbox.sqlite", Bounds(5))
    assert again.sequence_number("home") // SEQUENCE_LENGTH > last // SEQUENCE_LENGTH
    await again.close()


async def test_a_query_counts_as_pending_from_the_moment_it_is_put(outbox):
    outbox.put(query("a"))
    assert outbox.pending == 1
    await outbox.flush()
    assert outbox.pending == 1


async def test_the_same_query_waits_once(outbox):
    for name in "aab":
        outbox.put(query(name))
    assert await names(outbox) == ["a", "b"]
    assert (outbox.pending, outbox.dropped) == (2, 0)


async def test_at_the_cap_the_oldest_are_dropped_and_counted(outbox):
    for name in "abcdefg":
        outbox.put(query(name))
    assert await names(outbox) == list("cdefg")
    assert (outbox.pending, outbox.dropped) == (5, 2)


async def test_what_was_written_is_there_after_a_restart(tmp_path):
    path = tmp_path / "outbox.sqlite"
    first = Outbox(path, Bounds(10))
    first.put(query("a"))
    await first.flush()
    second = Outbox(path, Bounds(10))  # the first was never closed
    assert second.pending == 1
    assert await names(second) == ["a"]
    await second.close()
    await first.close()


async def test_closing_writes_what_was_put(tmp_path):
    first = Outbox(tmp_path / "outbox.sqlite", Bounds(10))
    first.put(query("a"))
    await first.close()
    second = Outbox(tmp_path / "outbox.sqlite", Bounds(10))
    assert await names(second) == ["a"]
    await second.close()


async def test_a_row_that_can_not_be_read_is_dropped_and_counted(tmp_path, outbox):
    outbox.put(query("a"))
    await outbox.flush()
    with sqlite3.connect(tmp_path / "outbox.sqlite") as file:
        file.execute("INSERT INTO waiting (id, query) VALUES ('x', x'ff')")
    assert await names(outbox) == ["a"]
    assert outbox.dropped == 1


async def test_waiting_ends_when_a_query_is_put(outbox):
    waiter = asyncio.create_task(outbox.wait())
    await asyncio.sleep(0)
    assert not waiter.done()
    outbox.put(query("a"))
    await asyncio.wait_for(waiter, 120)


async def test_the_file_is_its_owners_alone(tmp_path, outbox):
    assert (tmp_path / "outbox.sqlite").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "content", [b"no database" * 1000, b"SQLite format 3\x00", b"SQLite format 3\x00" + b"\xff" * 9000]
)
async def test_a_file_that_is_no_database_is_set_aside_and_told(tmp_path, content, caplog):
    (tmp_path / "outbox.sqlite").write_bytes(content)
    outbox = Outbox(tmp_path / "outbox.sqlite", Bounds(10))
    await outbox.keep(query("a"), numbered=True)
    assert await names(outbox) == ["a"]
    assert outbox.state == "database_damaged"
    (aside,) = tmp_path.glob("outbox.sqlite.damaged-*")
    assert aside.read_bytes() == content
    assert "set aside" in caplog.text
    await outbox.close()


@pytest.mark.parametrize(
    "schema",
    [
        "CREATE TABLE waiting (place TEXT, other INTEGER)",
        "CREATE TABLE places (task TEXT PRIMARY KEY)",
        "CREATE VIEW waiting AS SELECT 1 AS place, 2 AS id, 3 AS query",
        "CREATE TABLE waiting (place INTEGER PRIMARY KEY, id TEXT, query BLOB, must TEXT NOT NULL)",
    ],
)
async def test_a_database_of_another_make_is_set_aside(tmp_path, schema):
    with contextlib.closing(sqlite3.connect(tmp_path / "outbox.sqlite")) as file:
        file.execute(schema)
    outbox = Outbox(tmp_path / "outbox.sqlite", Bounds(10))
    await outbox.keep(query("a"), numbered=True)
    assert await names(outbox) == ["a"]
    assert list(tmp_path.glob("outbox.sqlite.damaged-*"))
    await outbox.close()


@pytest.mark.parametrize("name", ["outbox.sqlite", "outbox.sqlite-wal", "outbox.sqlite-shm"])
async def test_a_folder_where_a_file_should_be_is_set_aside(tmp_path, name):
    (tmp_path / name / "within").mkdir(parents=True)
    outbox = Outbox(tmp_path / "outbox.sqlite", Bounds(10))
    await outbox.keep(query("a"), numbered=True)
    assert await names(outbox) == ["a"]
    await outbox.close()


async def test_a_link_that_leads_to_itself_is_set_aside(tmp_path):
    (tmp_path / "outbox.sqlite").symlink_to("outbox.sqlite")
    outbox = Outbox(tmp_path / "outbox.sqlite", Bounds(10))
    await outbox.keep(query("a"), numbered=True)
    assert await names(outbox) == ["a"]
    await outbox.close()


def overwritten(path):
    path.write_bytes(b"overwritten" * 3000)


def emptied(path):
    path.write_bytes(b"")


def cut(path):
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def flipped(path):
    data = bytearray(path.read_bytes())
    for position in range(100, len(data), 37):
        data[position] ^= 0xFF
    path.write_bytes(data)


def deleted(path):
    path.unlink()


def swapped(path):
    other = path.with_name("other")
    with contextlib.closing(sqlite3.connect(other)) as file:
        file.execute("CREATE TABLE foreign_table (x)")
    other.replace(path)


@pytest.mark.parametrize("damage", [overwritten, emptied, cut, flipped, deleted, swapped])
@pytest.mark.parametrize("checkpointed", [False, True])
async def test_a_file_that_is_damaged_while_it_is_used_ends_nothing(tmp_path, damage, checkpointed):
    path = tmp_path / "outbox.sqlite"
    outbox = Outbox(path, Bounds(1000))
    for number in range(200):
        outbox.put(query(f"before-{number}"))
    await outbox.flush()
    line = outbox.sequence_number("home") // SEQUENCE_LENGTH
    if checkpointed:
        with contextlib.closing(sqlite3.connect(path)) as file:
            file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    damage(path)
    for number in range(20):
        await outbox.keep(query(f"after-{number}"), numbered=True)
    assert {f"after-{number}" for number in range(20)} <= set(await names(outbox, 1000))
    assert (
        outbox.sequence_number("home") == line * SEQUENCE_LENGTH + 20
    )  # the line goes on, so that what was lost is missed in it
    await outbox.close()
    again = Outbox(path, Bounds(1000))
    assert {f"after-{number}" for number in range(20)} <= set(await names(again, 1000))
    await again.close()


async def test_what_can_be_read_of_a_damaged_file_is_kept(tmp_path):
    path = tmp_path / "outbox.sqlite"
    first = Outbox(path, Bounds(1000))
    for number in range(300):
        first.put(query(f"q-{number}"))
    await first.close()
    data = bytearray(path.read_bytes())
    middle = len(data) // 2 // 4096 * 4096
    data[middle : middle + 4096] = b"\xff" * 4096
    path.write_bytes(data)
    again = Outbox(path, Bounds(1000))
    found = set(await names(again, 1000))
    assert 200 < len(found) < 300
    await again.close()


async def test_a_foreign_lock_drops_nothing_and_holds_no_answer_up(tmp_path, caplog):
    path = tmp_path / "outbox.sqlite"
    outbox = Outbox(path, Bounds(1000))
    writing = asyncio.create_task(outbox.write_loop())
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as foreign:
        foreign.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        for number in range(100):
            await outbox.keep(query(f"q-{number}"), numbered=True)
        assert time.monotonic() - started < 2
        assert (outbox.state, outbox.pending, outbox.dropped) == ("database_locked", 100, 0)
        assert await names(outbox) == []
        foreign.execute("ROLLBACK")
    async with asyncio.timeout(120):
        while outbox.state != "ok":  # noqa: ASYNC110 - the state has no event
            await asyncio.sleep(0.01)
    assert await names(outbox, 1000) == [f"q-{number}" for number in range(100)]
    assert outbox.dropped == 0
    told = [record.message for record in caplog.records if "lock" in record.message or "again" in record.message]
    assert len(told) == 2, told
    writing.cancel()
    await outbox.close()


async def test_a_lock_that_is_there_at_the_start_is_waited_for(tmp_path):
    path = tmp_path / "outbox.sqlite"
    before = Outbox(path, Bounds(10))
    await before.keep(query("before"), numbered=True)
    await before.close()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as foreign:
        foreign.execute("BEGIN EXCLUSIVE")
        outbox = Outbox(path, Bounds(10))
        await outbox.keep(query("after"), numbered=True)
        assert (outbox.state, outbox.dropped) == ("database_locked", 0)
        foreign.execute("ROLLBACK")
    assert await names(outbox) == ["before", "after"]
    assert (outbox.state, outbox.pending) == ("ok", 2)
    await outbox.close()


async def test_what_was_taken_out_during_a_lock_comes_out_no_more(tmp_path):
    path = tmp_path / "outbox.sqlite"
    outbox = Outbox(path, Bounds(10))
    for name in "ab":
        await outbox_put(outbox, name)
    (first, _) = await outbox.head(10)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as foreign:
        foreign.execute("BEGIN IMMEDIATE")
        assert not await outbox.remove([first.position])
        assert await names(outbox) == ["b"]
        assert outbox.pending == 1
        foreign.execute("ROLLBACK")
    assert await names(outbox) == ["b"]
    with contextlib.closing(sqlite3.connect(path)) as file:
        assert file.execute("SELECT count(*) FROM waiting").fetchone() == (1,)
    await outbox.close()


async def outbox_put(outbox, name):
    outbox.put(query(name))
    assert await outbox.flush()


async def test_an_id_that_comes_again_while_it_waits_uses_no_number(outbox):
    await outbox.keep(query("a"), numbered=True)
    last = outbox.sequence_number("home")
    await outbox.keep(replace(query("a"), text="another question"), numbered=True)
    assert outbox.sequence_number("home") == last
    (waiting,) = await outbox.head(9)
    await outbox.remove([waiting.position])
    await outbox.keep(query("a"), numbered=True)  # it waits no more
    assert outbox.sequence_number("home") == last + 1


async def test_an_id_that_waits_from_the_life_before_uses_no_number(tmp_path):
    first = Outbox(tmp_path / "outbox.sqlite", Bounds(10))
    await first.keep(query("a"), numbered=True)
    last = first.sequence_number("home")
    await first.close()
    again = Outbox(tmp_path / "outbox.sqlite", Bounds(10))
    await again.keep(query("a"), numbered=True)
    assert again.sequence_number("home") == last
    await again.close()


async def test_what_waits_in_memory_is_bounded(tmp_path):
    path = tmp_path / "outbox.sqlite"
    outbox = Outbox(path, Bounds(50))
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as foreign:
        foreign.execute("BEGIN IMMEDIATE")
        for number in range(80):
            await outbox.keep(query(f"q-{number}"), numbered=True)
        foreign.execute("ROLLBACK")
    assert (outbox.pending, outbox.dropped) == (50, 30)
    assert await names(outbox) == [f"q-{number}" for number in range(30, 80)]
    await outbox.close()


async def test_keep_returns_once_the_row_is_on_the_disk(tmp_path):
    path = tmp_path / "outbox.sqlite"
    outbox = Outbox(path, Bounds(1000))
    writing = asyncio.create_task(outbox.write_loop())
    with contextlib.closing(sqlite3.connect(path)) as reader:
        for number in range(20):
            await asyncio.gather(*(outbox.keep(query(f"{number}-{lane}"), numbered=True) for lane in range(5)))
            assert reader.execute("SELECT count(*) FROM waiting").fetchone() == (5 * (number + 1),)
    writing.cancel()
    await outbox.close()


def test_no_more_than_a_few_damaged_copies_stay(tmp_path):
    for number in range(6):
        (tmp_path / "one").write_bytes(b"x")
        (tmp_path / "one-wal").mkdir()
        set_aside(tmp_path / "one", number, tmp_path / "one-wal")
        time.sleep(0.002)
    assert len(list(tmp_path.glob("one.damaged-*-wal"))) == len(list(tmp_path.glob("one.damaged-*[0-9]"))) == MOST_KEPT
