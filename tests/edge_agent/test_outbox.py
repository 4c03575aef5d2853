"""What waits to be taught."""

import asyncio
import sqlite3
import time
from dataclasses import replace

import pytest

from edge_agent.outbox import Outbox
from router.errors import StartError
from router.line import LINE
from router.query import Attempt, Query, Reason


def query(name):
    attempt = Attempt(3, "lights", 0.5, Reason.EXPLORED, True, 0.25, kept=True, asked_at=12.5)
    return Query(name, "home", f"text of {name}", attempt=attempt)


@pytest.fixture
async def outbox(tmp_path):
    made = Outbox(tmp_path / "outbox.sqlite", max_rows=5)
    yield made
    await made.close()


async def names(outbox, most=100):
    return [waiting.query.id for waiting in await outbox.head(most)]


async def test_queries_come_out_whole_and_in_their_order(outbox):
    for name in "cab":
        outbox.put(query(name))
    head = await outbox.head(2)
    assert [waiting.query for waiting in head] == [query("c"), query("a")]
    assert await outbox.remove([waiting.place for waiting in head])
    assert await names(outbox) == ["b"]
    assert outbox.pending == 1


async def test_what_is_kept_is_numbered_task_by_task_across_restarts(tmp_path):
    first = Outbox(tmp_path / "outbox.sqlite", max_rows=5)
    begin = first.place("home")
    assert first.place("home") == begin
    numbers = [first.take_place("home") for _ in range(3)]
    assert numbers == [begin + 1, begin + 2, begin + 3]
    waits = query("a")
    first.put(replace(waits, attempt=replace(waits.attempt, place=numbers[-1])))
    await first.close()
    again = Outbox(tmp_path / "outbox.sqlite", max_rows=5)
    assert again.place("home") == numbers[-1]
    assert await again.remove([waiting.place for waiting in await again.head(9)])
    assert again.take_place("home") == numbers[-1] + 1
    await again.close()


async def test_after_a_kill_no_number_comes_again(tmp_path):
    killed = Outbox(tmp_path / "outbox.sqlite", max_rows=5)
    last = killed.take_place("home")
    killed._thread.shutdown()  # it never closes its file
    while time.time_ns() // 1_000_000 <= last // LINE:  # a start takes longer than this millisecond
        pass
    again = Outbox(tmp_path / "outbox.sqlite", max_rows=5)
    assert again.place("home") // LINE > last // LINE
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
    first = Outbox(path, 10)
    first.put(query("a"))
    await first.flush()
    second = Outbox(path, 10)  # the first was never closed
    assert second.pending == 1
    assert await names(second) == ["a"]
    await second.close()
    await first.close()


async def test_closing_writes_what_was_put(tmp_path):
    first = Outbox(tmp_path / "outbox.sqlite", 10)
    first.put(query("a"))
    await first.close()
    second = Outbox(tmp_path / "outbox.sqlite", 10)
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
    await asyncio.wait_for(waiter, 5)


async def test_the_file_is_its_owners_alone(tmp_path, outbox):
    assert (tmp_path / "outbox.sqlite").stat().st_mode & 0o077 == 0


async def test_a_file_that_is_no_database_is_said_at_the_start(tmp_path):
    (tmp_path / "outbox.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(StartError, match=r"outbox .* can't be opened"):
        Outbox(tmp_path / "outbox.sqlite", 10)
