"""How much waits in the outbox, for how long, and how what is dropped is told."""

import contextlib
import os
import sqlite3

import pytest

from edge_agent.outbox.bounds import DAY_SECONDS, FIRST_TIME, Bounds, WhenFull, Why
from edge_agent.outbox.store import Outbox
from router.core.certification.missing_rows import SEQUENCE_LENGTH
from router.core.domain.query import Attempt, Query, Reason

NEWEST = WhenFull.DROP_NEWEST


class Clock:
    def __init__(self):
        self.now = FIRST_TIME + 100 * DAY_SECONDS

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def opened(tmp_path, clock):
    """Opens the outbox of this folder, as one life of an agent after the other."""
    lives = []

    async def begin(bounds=Bounds()):  # noqa: B008 - frozen
        while lives:
            await lives.pop().close()
        lives.append(Outbox(tmp_path / "outbox.sqlite", bounds, clock))
        return lives[0]

    yield begin
    for life in lives:
        await life.close()


def query(name, size=10):
    attempt = Attempt(3, "lights", 0.5, Reason.EXPLORED, True, 0.25, kept=True, asked_at=12.5)
    return Query(str(name), "home", os.urandom(size // 2).hex(), attempt=attempt)


async def keep(outbox, *names, size=10):
    for name in names:
        await outbox.keep(query(name, size), numbered=True, seconds=0)


async def waiting(outbox):
    return {found.query.id: found.query.attempt.sequence_number for found in await outbox.head(100_000)}


def megabytes(path):
    return path.stat().st_size / 1024**2


@pytest.mark.parametrize("when_full", WhenFull)
async def test_the_file_stays_within_its_bytes(tmp_path, opened, when_full):
    outbox = await opened(Bounds(max_bytes=1024**2, when_full=when_full))
    for batch in range(20):  # 4 MB in all
        await keep(outbox, *(f"{batch}-{number}" for number in range(20)), size=10_000)
        assert await outbox.flush()
    left = await waiting(outbox)
    assert 80 < len(left) < 105
    assert outbox.drops == {Why.BYTES: 400 - len(left)}
    assert outbox.pending == len(left)
    assert ("0-0" in left, "19-19" in left) == ((False, True) if when_full is WhenFull.DROP_OLDEST else (True, False))
    await opened()
    assert megabytes(tmp_path / "outbox.sqlite") < 1.1


async def test_the_newest_are_not_taken_and_leave_a_gap_in_the_line(opened):
    outbox = await opened(Bounds(3, when_full=NEWEST))
    await keep(outbox, *"abc")
    assert await outbox.flush()
    begin = outbox.sequence_number("home") // SEQUENCE_LENGTH * SEQUENCE_LENGTH
    await keep(outbox, *"de")
    assert await outbox.flush()
    assert await waiting(outbox) == {"a": begin + 1, "b": begin + 2, "c": begin + 3}
    assert outbox.drops == {Why.ROWS: 2}
    await outbox.remove([found.position for found in await outbox.head(1)])
    await keep(outbox, "f")
    assert (await waiting(outbox))["f"] == begin + 6  # 4 and 5 are missed
    assert outbox.pending == 3


async def test_in_memory_too_the_newest_are_not_taken(tmp_path, opened):
    outbox = await opened(Bounds(3, when_full=NEWEST))
    with contextlib.closing(sqlite3.connect(tmp_path / "outbox.sqlite", isolation_level=None)) as foreign:
        foreign.execute("BEGIN IMMEDIATE")
        await keep(outbox, *"abcde")
        assert outbox.drops == {Why.ROWS: 2}
        foreign.execute("ROLLBACK")
    assert list(await waiting(outbox)) == list("abc")
    await keep(outbox, "d")  # what was not taken does not wait
    assert await outbox.flush()
    assert outbox.drops == {Why.ROWS: 3}


async def test_what_waits_too_long_goes_and_the_rest_stays(opened, clock):
    outbox = await opened(Bounds(max_age_seconds=10 * DAY_SECONDS, when_full=NEWEST))
    await keep(outbox, "a")
    await outbox.flush()
    clock.now += 6 * DAY_SECONDS
    await keep(outbox, "b")
    assert list(await waiting(outbox)) == ["a", "b"]
    clock.now += 6 * DAY_SECONDS
    assert list(await waiting(outbox)) == ["b"]  # with nothing to write
    assert (outbox.pending, outbox.drops) == (1, {Why.AGE: 1})


async def test_what_lay_too_long_in_a_drawer_goes_at_the_start(opened, clock):
    await keep(await opened(), "a")
    outbox = await opened()  # written by the life before
    clock.now += 91 * DAY_SECONDS
    assert await waiting(outbox) == {}
    assert outbox.drops == {Why.AGE: 1}


@pytest.mark.parametrize("wrong", [0.0, FIRST_TIME + 5000 * DAY_SECONDS])
async def test_what_was_written_with_a_wrong_clock_counts_as_of_the_next_start(opened, clock, wrong):
    right, clock.now = clock.now, wrong
    await keep(await opened(), "a")
    clock.now = right
    outbox = await opened()
    clock.now += 80 * DAY_SECONDS
    assert list(await waiting(outbox)) == ["a"]
    clock.now += 20 * DAY_SECONDS
    assert await waiting(outbox) == {}


async def test_bounds_that_were_made_closer_hold_from_the_next_write_on(opened):
    outbox = await opened()
    await keep(outbox, *range(50))
    outbox = await opened(Bounds(5, when_full=NEWEST))
    await keep(outbox, "new")
    assert await outbox.flush()
    assert (outbox.pending, outbox.drops) == (5, {Why.ROWS: 46})


async def test_the_outbox_of_an_older_agent_goes_on(tmp_path, opened, clock):
    with contextlib.closing(sqlite3.connect(tmp_path / "outbox.sqlite")) as file:
        file.execute("CREATE TABLE waiting (place INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL,"
                     " query BLOB NOT NULL)")  # fmt: skip
        file.execute("CREATE TABLE places (task TEXT PRIMARY KEY, place INTEGER NOT NULL)")
    first = await opened()
    await keep(first, "a")
    assert first.state == "ok" and not list(tmp_path.glob("*.damaged-*"))
    assert list(await waiting(await opened())) == ["a"]


async def test_a_long_reader_lets_the_log_grow_no_longer_than_the_file(tmp_path, opened):
    outbox = await opened(Bounds(max_bytes=1024**2))
    await keep(outbox, "first")
    assert await outbox.flush()
    with contextlib.closing(sqlite3.connect(tmp_path / "outbox.sqlite", isolation_level=None)) as backup:
        backup.execute("BEGIN")
        backup.execute("SELECT count(*) FROM waiting").fetchone()
        for number in range(100):
            await keep(outbox, number, size=30_000)
            await outbox.flush()
        assert outbox.state == "database_locked"
        assert megabytes(tmp_path / "outbox.sqlite-wal") < 1.2
    assert await outbox.flush()
    assert outbox.state == "ok"
    assert megabytes(tmp_path / "outbox.sqlite-wal") < 2.5
    assert set(outbox.drops) <= {Why.BYTES, Why.MEMORY}
