"""The append-only table of what the teachers answered: a Delta table, written by one writer.

Rules:
 * A record's key stands here once: positions that a commit has taken in are skipped, and keys that are there already.
 * The partition of a record follows from what its caller repeats when it asks again, so two days tell whether its key
   is there, however late that is.
 * An append returns after its files have reached the disk; until they have, no later call says that rows are in.
 * ``batch`` grows with every append: a reader that has seen batch n reads on after n.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, QueryBuilder, Transaction, write_deltalake
from deltalake.exceptions import DeltaError

from cloud_worker.log.delta_table import CONFIGURATION, logged_errors
from cloud_worker.log.known_keys import KnownKeys, digest_of
from cloud_worker.log.table_compaction import LogFiles
from cloud_worker.log.table_rows import (
    RECORD_COLUMNS,
    SCHEMA,
    Partition,
    partition_of,
    partitions_to_search,
    records_of,
    table_of,
)
from router.core.domain.record import Record
from router.core.errors import UnavailableError
from router.io.atomic_write import sync_folder

__all__ = ["RECORD_COLUMNS", "SCHEMA", "DistillationLog", "partition_of", "quoted", "records_of", "table_of"]

log = logging.getLogger(__name__)

Read = TypeVar("Read")

BATCHES = "batches"  # the application whose version counts our batches
COMPACT_EVERY_BATCHES = 64

_READINGS = 3  # files that were joined and dropped while they were read are read again where they are now


class DistillationLog:
    """The log at one folder. Many may read; one appends."""

    def __init__(self, path: Path) -> None:
        """Use the table at ``path``; it is made by the first append."""
        self._path = path
        self._files = LogFiles(path)
        self._keys = KnownKeys(self._read_keys)
        self._table: DeltaTable | None = None
        self._durable = False  # what was committed last has reached the disk

    def append(self, records: Sequence[Record], app_id: str, version: int) -> int:
        """Take records in, once, and return how many of them were new.

        Args:
            records: In the order of their spool.
            app_id: The spool that they come from.
            version: The spool's position up to which they go.
        """
        table = self._open_or_make()
        if (table.transaction_version(app_id) or 0) >= version:
            return 0
        fresh = self._unknown(records)
        if not fresh:
            return 0
        batch = (table.transaction_version(BATCHES) or 0) + 1
        commit = CommitProperties(app_transactions=[Transaction(app_id, version), Transaction(BATCHES, batch)])
        self._durable = False
        # A table that is older than a column takes it in with its next rows.
        with logged_errors():
            write_deltalake(table, table_of(fresh, batch), mode="append", schema_mode="merge", commit_properties=commit)
        table.update_incremental()
        self._make_durable(table.version())
        self._durable = True
        for record in fresh:
            self._keys.of(partition_of(record)).add(digest_of(record.key))
        if batch % COMPACT_EVERY_BATCHES == 0:
            self.tidy()
        return len(fresh)

    def known(self, records: Sequence[Record]) -> list[Record]:
        """The records, of those that are to be taken in, whose key is there already or comes again among them."""
        self._open_or_make()
        fresh = {id(record) for record in self._unknown(records)}
        return [record for record in records if id(record) not in fresh]

    def taken_in(self, app_id: str) -> int:
        """The spool position up to which records are in, and on the disk; 0 for none."""
        table = self._refreshed()
        if table is None:
            return 0
        self._settle(table)
        return table.transaction_version(app_id) or 0

    def version(self) -> int:
        """The table's version, -1 before the first append."""
        table = self._refreshed()
        return -1 if table is None else table.version()

    def last_batch(self) -> int:
        """The last batch that was taken in, -1 before the first append; what joins files leaves it as it is."""
        table = self._refreshed()
        return -1 if table is None else table.transaction_version(BATCHES) or 0

    def rows(self) -> int:
        """How many records the log holds."""
        return int(sum(row["rows"] for row in self.ask("select count(*) as rows from log")))

    def columns(self) -> frozenset[str]:
        """Those that the table has by now: a column of a newer version comes with its first rows."""
        table = self._refreshed()
        return frozenset() if table is None else frozenset(field.name for field in table.schema().fields)

    def ask(self, query: str) -> list[dict[str, Any]]:
        """What a query in SQL finds in the table, which it calls ``log``; nothing before the first append.

        It loads much less than ``read`` does, and holds no more than it finds.

        Raises:
            UnavailableError: The table can't be read now.
        """

        def ask(table: DeltaTable) -> list[dict[str, Any]]:
            found = QueryBuilder().register("log", table).execute(query)
            return list(pa.RecordBatchReader.from_stream(found).read_all().to_pylist())

        return self._reading(ask, [])

    def read(
        self,
        task: str,
        after_batch: int = -1,
        columns: Sequence[str] | None = None,
        since_day: str = "",
        *,
        until_batch: int | None = None,
        only: pc.Expression | None = None,
    ) -> pa.Table:
        """The records of one task, oldest batch first.

        Args:
            task: The task.
            after_batch: Only batches after this one.
            until_batch: Only batches up to this one; ``None`` for all.
            only: Only rows of which this holds; it may name columns that every row has had from the first version on.
            columns: Which ones; ``None`` for all of ``SCHEMA``.
            since_day: Only days from this one on, as ``2026-01-31``.

        Raises:
            UnavailableError: The table can't be read now.
        """
        names = list(SCHEMA.names if columns is None else columns)
        wanted = (pc.field("task") == task) & (pc.field("batch") > after_batch)
        if since_day:
            wanted &= pc.field("day") >= since_day
        if until_batch is not None:
            wanted &= pc.field("batch") <= until_batch
        if only is not None:
            wanted &= only

        def ask(table: DeltaTable) -> pa.Table:
            data = table.to_pyarrow_dataset()
            known = [name for name in names if name in data.schema.names]
            read = data.to_table(filter=wanted, columns=[*known, *({"batch"} - set(known))])
            return _completed(read, names).sort_by("batch").select(names)

        return self._reading(ask, SCHEMA.empty_table().select(names))

    def find(self, task: str, caller: str, query_id: str, day_batch: tuple[str, int] | None = None) -> Record | None:
        """The newest record of one query, of the day and batch at ``day_batch``; ``None`` where none can be read."""
        mine = (pc.field("task") == task) & (pc.field("caller") == caller) & (pc.field("query_id") == query_id)
        if day_batch is not None:
            mine &= (pc.field("day") == day_batch[0]) & (pc.field("batch") == day_batch[1])
        read = self._reading(lambda table: table.to_pyarrow_dataset().to_table(filter=mine), SCHEMA.empty_table())
        found = records_of(_completed(read, SCHEMA.names).sort_by("batch"))
        return found[-1] if found else None

    def tidy(self) -> None:
        """Drop what nobody reads any more, and join small files; call it from the one writer alone."""
        table = self._open_or_make()
        before = table.version()
        with logged_errors():
            self._files.tidy(table)
        table.update_incremental()
        for version in range(before + 1, table.version() + 1):
            self._make_durable(version)

    def change(self, work: Callable[[DeltaTable], Read]) -> Read | None:
        """What ``work`` makes of the table, whose rows and files it may change; ``None`` where there is none yet.

        Call it from the one writer alone.
        """
        table = self._refreshed()
        if table is None:
            return None
        self._settle(table)
        try:
            with logged_errors():
                return work(table)
        finally:
            self._table, self._durable = None, False
            self._keys.clear()

    def is_suspected(self) -> bool:
        """Whether a reader came upon damage since the last mending."""
        return self._files.is_suspected()

    def mend(self) -> str:
        """Look for damage, and mend it; says what was done, empty for nothing. Call it from the one writer alone."""
        done = self._files.mend()
        if done:
            self._table, self._durable = None, False
            self._keys.clear()
        return done

    def _reading(self, ask: Callable[[DeltaTable], Read], without: Read) -> Read:
        """What ``ask`` sees in the table; ``without`` where there is none yet."""
        for tried in range(_READINGS):
            table = self._refreshed()
            if table is None:
                return without
            try:
                with logged_errors():
                    return ask(table)
            except (OSError, DeltaError, pa.ArrowException) as error:
                if tried == _READINGS - 1:
                    self._files.suspect()
                    log.exception("the distillation log can't be read")
                    raise UnavailableError("the log can't be read now; its writer looks into it") from error
                self._table = None
        raise AssertionError

    def _refreshed(self) -> DeltaTable | None:
        if self._table is not None and self._files.are_the_same():
            try:
                with logged_errors():
                    self._table.update_incremental()
                return self._table
            except (OSError, DeltaError):  # the commits in between have been dropped
                self._table = None
        try:
            self._table = self._files.open()
        except (OSError, DeltaError) as error:
            self._table = None
            self._files.suspect()
            log.error("the distillation log can't be opened: %s", error)
            raise UnavailableError("the log can't be read now; its writer looks into it") from error
        return self._table

    def _open_or_make(self) -> DeltaTable:
        table = self._refreshed()
        if table is None:
            self._path.mkdir(parents=True, exist_ok=True)
            with logged_errors():
                table = DeltaTable.create(
                    self._path, SCHEMA, mode="ignore", partition_by=["task", "day"], configuration=CONFIGURATION
                )
            self._table = table
        self._settle(table)
        return table

    def _settle(self, table: DeltaTable) -> None:
        """Bring the last commit to the disk if a writer, this or one before, failed or was killed before it did."""
        if not self._durable:
            self._keys.clear()  # such a commit's keys are in the table alone
            self._make_durable(table.version())
            self._durable = True

    def _unknown(self, records: Sequence[Record]) -> list[Record]:
        """The records whose key is not in the log, each key once."""
        fresh: dict[bytes, Record] = {}
        for record in records:
            key = digest_of(record.key)
            if not any(key in self._keys.of(partition) for partition in partitions_to_search(record)):
                fresh.setdefault(key, record)
        return list(fresh.values())

    def _read_keys(self, partition: Partition) -> Iterator[bytes]:
        """Digests of the keys in one partition, some thousands joined at a time."""
        assert self._table is not None
        task, day = map(quoted, partition)
        query = f"select caller, query_id, teacher_version from log where task = {task} and day = {day}"
        with logged_errors():
            for batch in QueryBuilder().register("log", self._table).execute(query):
                columns = (column.to_pylist() for column in pa.record_batch(batch).columns)
                yield b"".join(map(digest_of, zip(*columns, strict=True)))

    def _make_durable(self, version: int) -> None:
        """Bring one commit and the files that it adds to the disk; delta-rs leaves that to the system.

        Its lines end at a line feed alone: statistics hold texts of queries as they are, U+2028 and U+0085 included.
        Its paths are percent-encoded (Delta protocol, "Add File").
        """
        commit = self._path / "_delta_log" / f"{version:020d}.json"
        added = [json.loads(line).get("add") for line in commit.read_bytes().split(b"\n") if line]
        paths = [self._path / unquote(action["path"]) for action in added if action] + [commit]
        for path in paths:
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
        for folder in {parent for path in paths for parent in _folders(path, self._path)}:
            sync_folder(folder)


def _completed(read: pa.Table, names: Iterable[str]) -> pa.Table:
    """The table, with empty columns for those that its rows are older than."""
    for name in sorted(set(names) - set(read.column_names)):
        read = read.append_column(SCHEMA.field(name), pa.nulls(len(read), SCHEMA.field(name).type))
    return read


def quoted(text: str) -> str:
    """A text as a query of ``DistillationLog.ask`` spells it."""
    return "'" + text.replace("'", "''") + "'"


def _folders(path: Path, root: Path) -> list[Path]:
    folders = [path.parent]
    while folders[-1] != root:
        folders.append(folders[-1].parent)
    return folders
