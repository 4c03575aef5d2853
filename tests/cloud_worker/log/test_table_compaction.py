"""The distillation log's files: damaged ones, and those that joining leaves."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cloud_worker.log.distillation_log import DistillationLog, records_of
from router.core.domain.record import Record
from router.core.errors import UnavailableError

NOW = 1_800_000_000.0


def record(number):
    return replace(
        Record("kitchen", f"q{number}", "big", "v1", "my home", 1, NOW, NOW, "", "on"), text=f"text {number}"
    )


def logged(log):
    return sorted(int(row.query_id[1:]) for row in records_of(log.read("my home")))


def write(folder, commits):
    log = DistillationLog(folder / "log")
    for number in range(commits):
        log.append([record(2 * number), record(2 * number + 1)], "spool", number + 1)
    return log


def data_files(folder):
    return sorted((folder / "log").glob("task=*/day=*/*.parquet"))


def last_commit(folder):
    return max((folder / "log" / "_delta_log").glob("*.json"))


def truncate_last_commit(folder):
    path = last_commit(folder)
    os.truncate(path, path.stat().st_size // 2)


def empty_last_commit(folder):
    os.truncate(last_commit(folder), 0)


def remove_first_commit(folder):
    min((folder / "log" / "_delta_log").glob("*.json")).unlink()


def damage_checkpoint(folder):
    for path in (folder / "log" / "_delta_log").glob("*.checkpoint.parquet"):
        path.write_bytes(b"PAR1 no more")


def damage_last_checkpoint(folder):
    (folder / "log" / "_delta_log" / "_last_checkpoint").write_bytes(b"{")


def add_strays(folder):
    for name in (".DS_Store", "notes.txt", "00000000000000000002.json.swp", "x.checkpoint.parquet"):
        (folder / "log" / "_delta_log" / name).write_bytes(b"stray")


WHOLE = (
    truncate_last_commit,
    empty_last_commit,
    remove_first_commit,
    damage_checkpoint,
    damage_last_checkpoint,
    add_strays,
)


@pytest.mark.parametrize("harm", WHOLE, ids=lambda harm: harm.__name__)
def test_no_row_is_lost_with_the_tables_own_log(tmp_path, harm):
    write(tmp_path, 55)  # past a checkpoint
    harm(tmp_path)
    log = DistillationLog(tmp_path / "log")
    log.mend()
    assert logged(log) == list(range(110))
    assert log.append([record(0), record(500)], "spool", 60) == 1
    assert log.last_batch() == 56
    assert log.mend() == ""


@pytest.mark.parametrize("harm", WHOLE, ids=lambda harm: harm.__name__)
def test_no_row_is_lost_or_doubled_with_the_tables_own_log_after_files_were_joined(tmp_path, harm):
    log = write(tmp_path, 55)
    for number in range(55, 58):  # what was joined lies beside what it was joined of
        log.tidy()
        log.append([record(2 * number), record(2 * number + 1)], "spool", number + 1)
    log.tidy()
    harm(tmp_path)
    log = DistillationLog(tmp_path / "log")
    log.mend()
    assert logged(log) == list(range(116))
    assert log.append([record(0), record(500)], "spool", 60) == 1
    assert log.mend() == ""


def test_a_data_file_of_another_size_whose_rows_can_be_read_loses_none(tmp_path):
    write(tmp_path, 3)
    (file, *_) = data_files(tmp_path)
    file.write_bytes(file.read_bytes() * 2)  # its end tells where in the first half the rows lie
    log = DistillationLog(tmp_path / "log")
    assert "made anew of 6 rows" in log.mend()
    assert logged(log) == list(range(6))
    assert log.mend() == ""


@pytest.mark.parametrize("column", ["usd", "caller", "batch", "answer"])
def test_a_row_of_which_one_column_is_spoilt_is_kept_with_the_others(tmp_path, column):
    write(tmp_path, 3)
    (file, *_) = data_files(tmp_path)
    group = pq.ParquetFile(file).metadata.row_group(0)
    (position,) = (number for number in range(group.num_columns) if group.column(number).path_in_schema == column)
    chunk = group.column(position)
    first = min(chunk.data_page_offset, chunk.dictionary_page_offset or chunk.data_page_offset)
    data = bytearray(file.read_bytes())
    data[first : first + chunk.total_compressed_size] = bytes(chunk.total_compressed_size)
    file.write_bytes(data)
    log = DistillationLog(tmp_path / "log")
    with suppress(UnavailableError):
        log.read("my home")  # who finds it damaged asks for a repair
    assert "made anew of 6 rows" in log.mend()
    assert {row["query_id"] for row in log.ask("select query_id from log")} == {f"q{number}" for number in range(6)}
    assert len(logged(log)) >= 4  # what is left of the others may be no record
    assert log.append([record(500)], "spool", 60) == 1


def test_a_data_file_of_another_make_is_left_out_of_a_log_made_anew(tmp_path):
    log = write(tmp_path, 3)
    names = [name for name in log.read("my home").column_names if name not in ("task", "day")]
    pq.write_table(pa.table({name: [["a"]] for name in names}), data_files(tmp_path)[0].with_name("odd.parquet"))
    truncate_last_commit(tmp_path)
    writer = DistillationLog(tmp_path / "log")
    assert "1 data files could not be read" in writer.mend()
    assert logged(writer) == list(range(6))


def test_what_the_tables_library_says_is_one_line(tmp_path):
    write(tmp_path, 2)
    truncate_last_commit(tmp_path)
    command = [sys.executable, "-c", READING, str(tmp_path / "log")]
    done = subprocess.run(
        command, check=True, timeout=120, capture_output=True, text=True, env=os.environ | {"RUST_BACKTRACE": "1"}
    )
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("the distillation log can't be opened: ")


READING = """
import contextlib, sys
from pathlib import Path
from cloud_worker.log.distillation_log import DistillationLog
from router.core.errors import UnavailableError
with contextlib.suppress(UnavailableError):
    DistillationLog(Path(sys.argv[1])).rows()
"""


def test_a_data_file_that_is_missing_or_damaged_costs_its_own_rows_alone(tmp_path):
    reader = write(tmp_path, 4)
    first, second, third, _ = data_files(tmp_path)
    first.unlink()
    os.truncate(second, 0)
    with third.open("r+b") as file:
        file.write(os.urandom(third.stat().st_size))
    writer = DistillationLog(tmp_path / "log")
    assert "damaged" in writer.mend()
    if len(logged_or_none(writer)) != 2:
        assert writer.is_suspected()
        assert "damaged" in writer.mend()
    assert len(logged(writer)) == len(logged(reader)) == 2
    assert writer.append([record(100)], "spool", 9) == 1


def logged_or_none(log):
    try:
        return logged(log)
    except UnavailableError:
        return []


def test_nothing_is_mended_in_a_sound_log_or_where_there_is_none(tmp_path):
    assert DistillationLog(tmp_path / "log").mend() == ""
    assert write(tmp_path, 2).mend() == ""


def test_files_stay_few_and_a_reader_reads_on_across_joinings(tmp_path):
    log, reader = write(tmp_path, 3), DistillationLog(tmp_path / "log")
    assert logged(reader) == list(range(6))
    for number in range(3, 9):
        log.append([record(2 * number), record(2 * number + 1)], "spool", number + 1)
        log.tidy()
        assert logged(reader) == list(range(2 * number + 2))
    assert reader.last_batch() == 9
    assert len(reader.read("my home", after_batch=8)) == 2
    assert len(data_files(tmp_path)) <= 3


KILLED = """
import os, signal, sys
from pathlib import Path
from cloud_worker.log.distillation_log import DistillationLog
from deltalake import DeltaTable
from deltalake.table import TableOptimizer

def killed(call, before):
    def called(*args, **kwargs):
        result = None if before else call(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)
        return result
    return called

point = sys.argv[2]
if point == "join": TableOptimizer.compact = killed(TableOptimizer.compact, True)
if point == "joined": TableOptimizer.compact = killed(TableOptimizer.compact, False)
if point == "dropped": DeltaTable.vacuum = killed(DeltaTable.vacuum, False)
DistillationLog(Path(sys.argv[1])).tidy()
"""


@pytest.mark.parametrize("point", ["join", "joined", "dropped"])
def test_a_writer_that_is_killed_while_it_tidies_loses_and_doubles_nothing(tmp_path, point):
    log = write(tmp_path, 6)
    command = [sys.executable, "-c", KILLED, str(tmp_path / "log"), point]
    assert subprocess.run(command, check=False, timeout=300).returncode == -signal.SIGKILL
    assert logged(log) == list(range(12))
    after = DistillationLog(tmp_path / "log")
    assert after.append([record(1), record(50)], "spool", 20) == 1
    after.tidy()
    after.tidy()
    assert logged(log) == [*range(12), 50]
