import asyncio
import contextlib
import threading

from edge_agent.identity.condition import Facts
from edge_agent.identity.status_file import BYTES, STATUS_FILE, forget_status, read_status, write_status
from edge_agent.identity.status_writer import StatusWriter


def test_the_file_keeps_its_size_and_is_read_as_it_was_written(tmp_path):
    for said in ({"state": "ok", "tasks": [1] * 100}, {"state": "offline"}):
        write_status(tmp_path, said)
        assert (tmp_path / STATUS_FILE).stat().st_size == BYTES
        assert read_status(tmp_path) == said
    forget_status(tmp_path)
    assert read_status(tmp_path) is None


def test_more_than_fits_leaves_the_tasks_out(tmp_path):
    write_status(tmp_path, {"state": "ok", "tasks": ["x" * 100] * 1000})
    assert read_status(tmp_path) == {"state": "ok", "tasks": []}


def test_a_reader_beside_a_writer_finds_one_whole_status(tmp_path):
    states = [{"state": letter * length} for letter, length in (("a", 10), ("b", 9000))]
    write_status(tmp_path, states[0])
    done = threading.Event()

    def write():
        while not done.is_set():
            for said in states:
                write_status(tmp_path, said)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        found = [read_status(tmp_path) for _ in range(300)]
    finally:
        done.set()
        writer.join()
    assert all(said in states for said in found)


def test_what_is_no_status_is_none(tmp_path):
    (tmp_path / "run").mkdir()
    for spoilt in (b"", b"[1]", b"\0" * 100, b'{"state": '):
        (tmp_path / STATUS_FILE).write_bytes(spoilt)
        assert read_status(tmp_path) is None


async def test_an_agent_that_ends_while_its_status_is_being_written_leaves_none(tmp_path, monkeypatch):
    begun, goes_on, written = threading.Event(), threading.Event(), threading.Event()

    def slow_disk(data, said):
        begun.set()
        goes_on.wait(60)
        write_status(data, said)
        written.set()

    monkeypatch.setattr("edge_agent.identity.status_writer.write_status", slow_disk)
    running = asyncio.create_task(StatusWriter(tmp_path, Facts, dict).run())
    await asyncio.to_thread(begun.wait, 60)
    running.cancel()
    await asyncio.sleep(0)
    goes_on.set()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    await asyncio.to_thread(written.wait, 60)
    assert not (tmp_path / STATUS_FILE).exists()
