"""A byte of an SQLite header, or of a cell, that a disk has flipped: mended or set aside, told, and no more is lost."""

import asyncio
import contextlib
import sqlite3
import time

import pytest

from cloud_worker.log.distillation_log import DistillationLog
from cloud_worker.log.drainer import Drainer
from cloud_worker.log.spool import Entry, Spool, StoredAnswer
from cloud_worker.log.spool_drain import spooled_in
from cloud_worker.state.overrides import Overrides
from cloud_worker.state.repeated_rows import Repeats
from cloud_worker.state.store import Store
from edge_agent.outbox.bounds import Bounds
from edge_agent.outbox.store import DAMAGED, Outbox
from router.core.domain.query import Attempt, Query
from router.core.domain.record import Record
from router.core.domain.task import Task
from router.core.errors import UnavailableError

HEADERS = [(18, 0x42), (18, 6), (18, 0), (19, 0x42), (19, 3), (19, 0)]
spoilt_headers = pytest.mark.parametrize(("offset", "value"), HEADERS)


def overwrite(path, offset, value):
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(bytes([value]))


def flip_in_cell(path, text):
    """Flip a bit of the first letter of a text, wherever it stands in the file."""
    data = path.read_bytes()
    offset = data.index(text)
    overwrite(path, offset, data[offset] ^ 1)


def entry(number):
    now = time.time()
    record = Record("kitchen", f"q{number}", "big", "v1", "home", 1, now, now, f"a text with number {number}", "on")
    return Entry(StoredAnswer("kitchen", f"q{number}", "d", now, f"answer {number}".encode()), record)


async def written(path, numbers):
    spool = Spool(path)
    for number in numbers:
        await spool.append(entry(number))
    await spool.close()


def drained(folder, config_folder):
    log = DistillationLog(config_folder / "log")
    store = Store(f"sqlite:///{config_folder / 'repeats.sqlite'}")
    for _ in range(2):
        drainer = Drainer(folder, log, Repeats(store.engine))
        with contextlib.suppress(sqlite3.Error):
            drainer.drain()
        drainer.close()
    return {row["query_id"]: row["text"] for row in log.ask("select query_id, text from log")}


@spoilt_headers
async def test_a_gateway_goes_on_in_a_spool_whose_header_was_spoilt_and_loses_no_row(tmp_path, offset, value):
    path = tmp_path / "spool" / "gateway-0.sqlite"
    path.parent.mkdir()
    await written(path, range(5))
    overwrite(path, offset, value)
    await written(path, range(5, 8))
    assert set(drained(path.parent, tmp_path)) == {f"q{number}" for number in range(8)}


@spoilt_headers
async def test_the_logs_writer_drains_a_spool_whose_header_was_spoilt(tmp_path, offset, value):
    path = tmp_path / "spool" / "gateway-0.sqlite"
    path.parent.mkdir()
    await written(path, range(5))
    overwrite(path, offset, value)
    assert set(drained(path.parent, tmp_path)) == {f"q{number}" for number in range(5)}


async def test_a_row_of_a_spool_that_was_changed_on_the_disk_is_quarantined_and_told(tmp_path):
    path = tmp_path / "spool" / "gateway-0.sqlite"
    path.parent.mkdir()
    await written(path, range(5))
    flip_in_cell(path, b"a text with number 3")
    rows = drained(path.parent, tmp_path)
    assert rows == {f"q{number}": f"a text with number {number}" for number in (0, 1, 2, 4)}
    assert spooled_in(path.parent).quarantined == 1


async def test_an_answer_that_was_changed_on_the_disk_is_not_given_again(tmp_path):
    path = tmp_path / "gateway-0.sqlite"
    await written(path, range(5))
    flip_in_cell(path, b"answer 3")
    spool = Spool(path)
    assert await spool.find("kitchen", "q3", time.time()) is None
    assert (await spool.find("kitchen", "q2", time.time())).response == b"answer 2"
    await spool.close()


async def kept(path, numbers):
    outbox = Outbox(path, Bounds(100))
    writing = asyncio.create_task(outbox.write_loop())
    for number in numbers:
        await outbox.keep(Query(f"q{number}", "home", f"a text with number {number}", attempt=Attempt()), numbered=True)
    writing.cancel()
    return outbox


@spoilt_headers
async def test_an_outbox_whose_header_was_spoilt_says_so_and_keeps_every_row(tmp_path, offset, value):
    path = tmp_path / "outbox.sqlite"
    await (await kept(path, range(5))).close()
    overwrite(path, offset, value)
    outbox = await kept(path, range(5, 7))
    assert (outbox.pending, outbox.state) == (7, DAMAGED if value > 2 else "ok")  # smaller ones do no harm
    assert len(await outbox.head(100)) == 7
    await outbox.close()


async def test_a_row_of_an_outbox_that_was_changed_on_the_disk_is_dropped_and_counted(tmp_path):
    path = tmp_path / "outbox.sqlite"
    await (await kept(path, range(5))).close()
    flip_in_cell(path, b"a text with number 3")
    outbox = Outbox(path, Bounds(100))
    assert [one.query.id for one in await outbox.head(100)] == ["q0", "q1", "q2", "q4"]
    assert outbox.dropped == 1
    await outbox.close()


def freeze(store, *, frozen):
    Overrides(store.engine).lay("freeze", "home", who="me", why="", now=time.time(), frozen=frozen)


@spoilt_headers
def test_the_fleets_database_whose_header_was_spoilt_is_mended_and_keeps_its_state(tmp_path, offset, value):
    path = tmp_path / "fleet.sqlite"
    store = Store(f"sqlite:///{path}", lambda new: Store(f"sqlite:///{new}").engine.dispose())
    store.declare_tasks([Task("home", "big")])
    freeze(store, frozen=True)
    store.engine.dispose()
    overwrite(path, offset, value)
    store = Store(f"sqlite:///{path}", lambda new: pytest.fail("it was made anew"))
    assert Overrides(store.engine).of("home").frozen
    try:
        freeze(store, frozen=False)
    except UnavailableError as error:
        assert "mended" in str(error) and "try again" in str(error)
        freeze(store, frozen=False)
    assert not Overrides(store.engine).of("home").frozen
    assert [one.name for one in tmp_path.iterdir() if "damaged" in one.name] == []
    store.engine.dispose()
