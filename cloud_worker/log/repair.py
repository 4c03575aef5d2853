"""Mends a damaged distillation log with what is left of it. Only the one writer does.

Rules:
 * Only damage is mended: where a file can't be opened, or nothing can be written beside it, all stays as it is.
 * A data file that is missing or damaged is put aside, and its rows are lost, which is told; all others stay.
 * Where the table's own log is damaged, a new table is made of every row in every data file that can be read, each key
   once; then it takes the place of the old one, which is put aside.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import DeltaError, TableNotFoundError

from cloud_worker.log.delta_table import CONFIGURATION, logged_errors
from cloud_worker.log.refusals import can_be_written
from cloud_worker.log.table_rows import SCHEMA
from cloud_worker.state.database.sqlite_files import DAMAGED, put_aside

log = logging.getLogger(__name__)

_ASIDE = "_damaged"  # names that begin so are none of the table's
_ROWS_IN_A_COMMIT = 20_000
_KEY = ("caller", "query_id", "teacher_version")
_IDENTIFYING = ("query_id", "text")  # without these nobody knows what a row is


def mend(path: Path, *, thoroughly: bool) -> str:
    """Look for damage of the table at ``path``, and mend it.

    Args:
        path: Of the table.
        thoroughly: Read every data file, not its size alone.

    Returns:
        What was done, in words; empty for nothing.
    """
    mended = _mended(path)
    if not path.exists() and mended.exists():  # a mending was killed before its last step
        mended.rename(path)
        return "the mended log was put in place"
    if not path.is_dir() or not _can_be_judged(path):
        return ""
    try:
        with logged_errors():
            table = DeltaTable(path)
            _check_commits(path)
            bad = _bad_files(path, table, thoroughly=thoroughly)
            if not bad:
                return ""
            if any(file.is_file() and _rescued(file) is not None for file in bad):
                return _rebuild(path)  # spoilt, and yet something of its rows can be read
            for file in bad:
                _put_file_aside(path, file)
            table.repair()
    except TableNotFoundError:
        return _rebuild(path) if any(_data_files(path)) else ""
    except (OSError, DeltaError, ValueError, KeyError) as error:
        log.error("the distillation log is damaged: %s", error)
        return _rebuild(path)
    done = f"{len(bad)} data files of the log were missing or damaged; their rows are lost"
    log.error("%s: %s", done, ", ".join(file.name for file in bad))
    return done


def data_files_aside(path: Path) -> list[Path]:
    """Data files of the table at ``path`` that were put aside, whose rows are lost."""
    return sorted(path.glob(f"{_ASIDE}/*"))


def _can_be_judged(path: Path) -> bool:
    """Whether what fails here fails because of what the files hold."""
    try:
        for file in (path / "_delta_log").glob("*"):
            if file.is_file():
                file.open("rb").close()
    except OSError:
        return False
    return can_be_written(path.parent)


def _check_commits(path: Path) -> None:
    """Refuse a commit without content, which the table's library takes for one that changed nothing."""
    empty = [file.name for file in (path / "_delta_log").glob("*.json") if not file.stat().st_size]
    if empty:
        raise ValueError(f"a commit is empty: {empty[0]}")


def _bad_files(path: Path, table: DeltaTable, *, thoroughly: bool) -> list[Path]:
    actions = pa.table(table.get_add_actions(flatten=True))
    bad = []
    for name, size in zip(actions["path"].to_pylist(), actions["size_bytes"].to_pylist(), strict=True):
        file = path / unquote(name)
        if not file.is_file():
            file = path / name
        if not file.is_file() or file.stat().st_size != size or (thoroughly and _read(file) is None):
            bad.append(file)
    return bad


def _put_file_aside(path: Path, file: Path) -> None:
    if file.exists():
        target = path / _ASIDE / file.name
        target.parent.mkdir(exist_ok=True)
        file.rename(target)


def _rebuild(path: Path) -> str:
    building = path.with_name(f".{path.name}.building")
    shutil.rmtree(building, ignore_errors=True)
    with logged_errors():
        DeltaTable.create(building, SCHEMA, partition_by=["task", "day"], configuration=CONFIGURATION)
        rows, lost = _copy(path, building)
    building.rename(_mended(path))
    aside = put_aside(path, DAMAGED)
    _mended(path).rename(path)
    done = f"the log was damaged, and made anew of {rows} rows; the old one lies in {aside.name}"
    done += f"; {lost} data files could not be read" if lost else ""
    log.error("%s", done)
    return done


def _copy(path: Path, target: Path) -> tuple[int, int]:
    """Copy every row that can be read, each key once; how many, and how many files could not be read."""
    known: set[tuple[str, ...]] = set()
    waiting: list[pa.Table] = []
    lost = batch = 0
    for file in _data_files(path):
        read = _rescued(file)
        if read is None:
            lost += 1
            continue
        keys = list(zip(*(read.column(name).to_pylist() for name in _KEY), strict=True))
        fresh = [number for number, key in enumerate(keys) if key not in known and not known.add(key)]  # type: ignore[func-returns-value]
        waiting.append(read.take(pa.array(fresh, pa.int64())))  # none is fresh in a file that was joined with others
        batch = max([batch, *(number or 0 for number in read.column("batch").to_pylist())])
        if sum(map(len, waiting)) >= _ROWS_IN_A_COMMIT:
            _append(target, waiting, batch)
            waiting = []
    _append(target, waiting, batch)
    return len(known), lost


def _append(target: Path, tables: list[pa.Table], batch: int) -> None:
    if tables and sum(map(len, tables)):
        commit = CommitProperties(app_transactions=[Transaction("batches", batch)])
        rows = pa.concat_tables(tables, promote_options="default")
        write_deltalake(target, rows, mode="append", schema_mode="merge", commit_properties=commit)


def _with_partition(read: pa.Table, file: Path) -> pa.Table:
    """Rows with the columns that stand in their file's folders, in the log's types."""
    for part in file.parent.parts[-2:]:
        name, _, value = part.partition("=")
        if name in ("task", "day") and name not in read.column_names:
            read = read.append_column(name, pa.array([unquote(value)] * len(read), pa.string()))
    known = [name for name in SCHEMA.names if name in read.column_names]
    return read.select(known).cast(pa.schema([SCHEMA.field(name) for name in known]))


def _read(file: Path) -> pa.Table | None:
    """All rows of a data file; ``None`` where it can't be read, or is none of ours."""
    try:
        read = _with_partition(pq.ParquetFile(file).read(), file)
    except (OSError, pa.ArrowException):
        return None
    return read if {*_KEY, "batch"} <= set(read.column_names) else None


def _rescued(file: Path) -> pa.Table | None:
    """What can be read of a data file, column by column; ``None`` where that does not tell what its rows are."""
    whole = _read(file)
    if whole is not None:
        return whole
    columns: dict[str, pa.ChunkedArray] = {}
    with suppress(OSError, pa.ArrowException):
        source = pq.ParquetFile(file)
        for name in source.schema_arrow.names:
            with suppress(OSError, pa.ArrowException):
                columns[name] = source.read([name]).column(name)
    if not {*_IDENTIFYING} <= columns.keys():
        return None
    rows = len(columns["text"])
    columns |= {name: pa.array([""] * rows) for name in _KEY if name not in columns}
    columns.setdefault("batch", pa.array([0] * rows, pa.int64()))  # before anything that waits to be certified
    try:
        return _with_partition(pa.table(columns), file)
    except pa.ArrowException:
        return None


def _data_files(path: Path) -> Iterator[Path]:
    for file in sorted(path.glob("task=*/day=*/*.parquet")):
        if file.is_file():
            yield file


def _mended(path: Path) -> Path:
    return path.with_name(f".{path.name}.mended")
