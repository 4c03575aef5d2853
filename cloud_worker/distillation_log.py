"""The append-only table of what the teachers answered: a Delta table, written by one writer.

Rules:
 * A record's key stands here once: positions that a commit has taken in are skipped, and keys that are there already.
 * The partition of a record follows from what its caller repeats when it asks again, so two days tell whether its key
   is there, however late that is.
 * An append returns after its files have reached the disk; until they have, no later call says that rows are in.
 * ``batch`` grows with every append: a reader that has seen batch n reads on after n.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import TableNotFoundError

from cloud_worker.token_column import pack, unpack
from router.distillation import Record, Source, Tried
from router.files import sync_folder

COMPACT_EVERY_BATCHES = 64

_BATCHES = "batches"  # the application whose version counts our batches
_MOST_PARTITIONS_IN_MIND = 64
_DAY_SECONDS = 86_400.0
_CONFIGURATION: dict[str, str | None] = {
    "delta.checkpointInterval": "50",
    "delta.logRetentionDuration": "interval 1 days",
    "delta.enableExpiredLogCleanup": "true",
}
_LABELS = pa.list_(pa.string())
_TYPES: dict[str, pa.DataType] = {
    "str": pa.string(),
    "str | None": pa.string(),
    "int": pa.int64(),
    "float": pa.float64(),
    "float | None": pa.float64(),
    "bool": pa.bool_(),
    "Source": pa.string(),
    "tuple[str, ...]": _LABELS,
    "tuple[float, ...]": pa.list_(pa.float64()),
    "tuple[TokenProbability, ...]": pa.binary(),
}
_TYPES["tuple[Tried, ...]"] = pa.list_(
    pa.struct([pa.field(field.name, _TYPES[str(field.type)]) for field in fields(Tried)])
)
RECORD_COLUMNS = tuple(field.name for field in fields(Record))
SCHEMA = pa.schema(
    [pa.field(field.name, _TYPES[str(field.type)]) for field in fields(Record)]
    + [pa.field("day", pa.string()), pa.field("batch", pa.int64())]
)

_LATER_TEXTS = ("chat", "problem")

Partition = tuple[str, str]  # task, day


class DistillationLog:
    """The log at one folder. Many may read; one appends."""

    def __init__(self, path: Path) -> None:
        """Use the table at ``path``; it is made by the first append."""
        self._path = path
        self._keys: OrderedDict[Partition, set[bytes]] = OrderedDict()
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
        batch = (table.transaction_version(_BATCHES) or 0) + 1
        commit = CommitProperties(app_transactions=[Transaction(app_id, version), Transaction(_BATCHES, batch)])
        self._durable = False
        # A table that is older than a column takes it in with its next rows.
        write_deltalake(table, table_of(fresh, batch), mode="append", schema_mode="merge", commit_properties=commit)
        table.update_incremental()
        self._make_durable(table.version())
        self._durable = True
        self._remember(fresh)
        if batch % COMPACT_EVERY_BATCHES == 0:
            self._compact(table)
        return len(fresh)

    def known(self, records: Sequence[Record]) -> list[Record]:
        """Of records that are to be taken in, those whose key is there already, or comes again among them."""
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

    def rows(self) -> int:
        """How many records the log holds."""
        table = self._refreshed()
        return 0 if table is None else int(table.to_pyarrow_dataset().count_rows())

    def read(
        self, task: str, after_batch: int = -1, columns: Sequence[str] | None = None, since_day: str = ""
    ) -> pa.Table:
        """The records of one task, oldest batch first.

        Args:
            task: The task.
            after_batch: Only batches after this one.
            columns: Which ones; ``None`` for all of ``SCHEMA``.
            since_day: Only days from this one on, as ``2026-01-31``.
        """
        names = list(SCHEMA.names if columns is None else columns)
        table = self._refreshed()
        if table is None:
            return SCHEMA.empty_table().select(names)
        dataset = table.to_pyarrow_dataset()
        wanted = (pc.field("task") == task) & (pc.field("batch") > after_batch)
        if since_day:
            wanted &= pc.field("day") >= since_day
        known = [name for name in names if name in dataset.schema.names]
        read = dataset.to_table(filter=wanted, columns=[*known, *({"batch"} - set(known))])
        for name in set(names) - set(known):
            read = read.append_column(SCHEMA.field(name), pa.nulls(len(read), SCHEMA.field(name).type))
        return read.sort_by("batch").select(names)

    def find(self, task: str, caller: str, query_id: str, place: tuple[str, int] | None = None) -> Record | None:
        """The newest record of one query, of the day and batch at ``place``; ``None`` where the log has none."""
        table = self._refreshed()
        if table is None:
            return None
        mine = (pc.field("task") == task) & (pc.field("caller") == caller) & (pc.field("query_id") == query_id)
        if place is not None:
            mine &= (pc.field("day") == place[0]) & (pc.field("batch") == place[1])
        read = table.to_pyarrow_dataset().to_table(filter=mine)
        for name in set(SCHEMA.names) - set(read.column_names):
            read = read.append_column(SCHEMA.field(name), pa.nulls(len(read), SCHEMA.field(name).type))
        return records_of(read.sort_by("batch"))[-1] if len(read) else None

    def _refreshed(self) -> DeltaTable | None:
        if self._table is None:
            try:
                self._table = DeltaTable(self._path)
            except TableNotFoundError:
                return None
        else:
            self._table.update_incremental()
        return self._table

    def _open_or_make(self) -> DeltaTable:
        table = self._refreshed()
        if table is None:
            self._path.mkdir(parents=True, exist_ok=True)
            table = DeltaTable.create(
                self._path, SCHEMA, mode="ignore", partition_by=["task", "day"], configuration=_CONFIGURATION
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
            key = _digest(record)
            if not any(key in self._keys_of(partition) for partition in _partitions_to_search(record)):
                fresh.setdefault(key, record)
        return list(fresh.values())

    def _remember(self, records: Iterable[Record]) -> None:
        for record in records:
            self._keys_of(partition_of(record)).add(_digest(record))

    def _keys_of(self, partition: Partition) -> set[bytes]:
        """Digests of the keys in one partition, read once and kept while it is in use."""
        known = self._keys.get(partition)
        if known is None:
            known = self._keys[partition] = self._read_keys(partition)
            while len(self._keys) > _MOST_PARTITIONS_IN_MIND:
                self._keys.popitem(last=False)
        self._keys.move_to_end(partition)
        return known

    def _read_keys(self, partition: Partition) -> set[bytes]:
        assert self._table is not None
        where = (pc.field("task") == partition[0]) & (pc.field("day") == partition[1])
        columns = ["caller", "query_id", "teacher_version"]
        read = self._table.to_pyarrow_dataset().to_table(filter=where, columns=columns)
        return {_key_digest(*key) for key in zip(*(read.column(name).to_pylist() for name in columns), strict=True)}

    def _compact(self, table: DeltaTable) -> None:
        """Join small files, so that hundreds of appends stay readable, and drop what nobody reads any more."""
        table.optimize.compact()
        table.update_incremental()
        self._make_durable(table.version())
        table.vacuum(retention_hours=1, dry_run=False, enforce_retention_duration=False)

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


def partition_of(record: Record) -> Partition:
    """Task and day of a record, by the time that its first tier asked."""
    day = datetime.datetime.fromtimestamp(_asked_at(record), datetime.UTC).date().isoformat()
    return (record.task, day)


def _partitions_to_search(record: Record) -> list[Partition]:
    """Its own, and the day before: who asks the cloud directly repeats no time, and may ask again after midnight."""
    task, day = partition_of(record)
    before = datetime.date.fromisoformat(day) - datetime.timedelta(days=1)
    return [(task, day), (task, before.isoformat())]


def table_of(records: Sequence[Record], batch: int) -> pa.Table:
    """Records as rows of the log, in ``batch``."""
    rows = [
        {**asdict(record), "tokens": pack(record.tokens), "day": partition_of(record)[1], "batch": batch}
        for record in records
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def records_of(table: pa.Table) -> list[Record]:
    """Rows of the log as records."""
    return [_record(row) for row in table.select(list(RECORD_COLUMNS)).to_pylist()]


def _record(row: dict[str, Any]) -> Record:
    later = {name: row[name] or "" for name in _LATER_TEXTS}  # empty in rows that are older than their column
    changed = {
        "labels": tuple(row["labels"]),
        "log_probabilities": tuple(row["log_probabilities"]),
        "tokens": unpack(row["tokens"] or b""),
        "tried": tuple(Tried(**one) for one in row["tried"] or ()),
        "source": Source(row["source"]),
        "place": row["place"] or 0,
    }
    return Record(**{**row, **later, **changed})


def _asked_at(record: Record) -> float:
    """When it was asked, or when it arrived if its device's clock can't be right (a year back, a day ahead)."""
    plausible = -366 * _DAY_SECONDS < record.asked_at - record.received_at < _DAY_SECONDS
    return record.asked_at if plausible else record.received_at


def _digest(record: Record) -> bytes:
    return _key_digest(*record.key)


def _key_digest(*key: str) -> bytes:
    return hashlib.blake2b("\x1f".join(key).encode(), digest_size=16).digest()


def _folders(path: Path, root: Path) -> list[Path]:
    folders = [path.parent]
    while folders[-1] != root:
        folders.append(folders[-1].parent)
    return folders
