"""The rows of the distillation log: their columns, and records as rows and back.

Rules:
 * What can't be a row is known before it is promised, again before it is written, and again when it is read: a row that
   a newer version wrote, or that holds no sense, is left out, and ends nobody.
"""

from __future__ import annotations

import datetime
import logging
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from typing import Any

import pyarrow as pa

from router.core.domain.record import Record, Source, Tried

log = logging.getLogger(__name__)

_DAY_SECONDS = 86_400.0
_LAST_SECOND = 1e11  # the year 5138: later ones are no times
_INT64 = 2**63
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
    "bytes": pa.binary(),
}
_TYPES["tuple[Tried, ...]"] = pa.list_(
    pa.struct([pa.field(field.name, _TYPES[str(field.type)]) for field in fields(Tried)])
)
# The column of each field of a record; one is called on disk as it was in the first logs.
_COLUMN_OF = {field.name: field.name for field in fields(Record)} | {"sequence_number": "place"}
RECORD_COLUMNS = tuple(_COLUMN_OF.values())
SCHEMA = pa.schema(
    [pa.field(_COLUMN_OF[field.name], _TYPES[str(field.type)]) for field in fields(Record)]
    + [pa.field("day", pa.string()), pa.field("batch", pa.int64())]
)

_LATER_TEXTS = ("chat", "problem")

_INTEGERS = tuple(field.name for field in fields(Record) if field.type == "int")
_FLOATS = tuple(field.name for field in fields(Record) if str(field.type).startswith("float"))
_TEXTS = tuple(field.name for field in fields(Record) if str(field.type).startswith("str"))
_FEW = ("caller", "teacher", "teacher_version", "task", "tenant", "answer", "local_answer", "problem")  # come again

Partition = tuple[str, str]  # task, day


def why_unfit(record: Record) -> str:
    """Why a record can't be a row of the log, or says nothing that can be reckoned with; empty where it can."""
    for name in _INTEGERS:
        if not -_INT64 <= getattr(record, name) < _INT64:
            return f"{name} is {getattr(record, name)}, beyond 64 bits"
    for name in _TEXTS:
        text = getattr(record, name)
        if text is None or text.isascii():
            continue
        try:
            text.encode()
        except UnicodeEncodeError:
            return f"{name} is no text of Unicode"
    return _why_senseless(record)


def _why_senseless(record: Record) -> str:
    """Why a record says nothing that can be reckoned with; empty where it does."""
    for name in _FLOATS:
        value = getattr(record, name)
        if value is not None and not math.isfinite(value) and not name.endswith("log_probability"):
            return f"{name} is {value}"
    for name in ("asked_at", "received_at"):
        if abs(getattr(record, name)) >= _LAST_SECOND:
            return f"{name} is {getattr(record, name)}, which is no time"
    if not 0 < record.propensity <= 1:
        return f"propensity is {record.propensity}, and not in (0, 1]"
    return ""


def partition_of(record: Record) -> Partition:
    """Task and day of a record, by the time that its first tier asked."""
    day = datetime.datetime.fromtimestamp(_asked_at(record), datetime.UTC).date().isoformat()
    return (record.task, day)


def partitions_to_search(record: Record) -> list[Partition]:
    """The record's partition, and that of the day before.

    Who asks the cloud directly repeats no time, and may ask again after midnight.
    """
    task, day = partition_of(record)
    before = datetime.date.fromisoformat(day) - datetime.timedelta(days=1)
    return [(task, day), (task, before.isoformat())]


def table_of(records: Sequence[Record], batch: int) -> pa.Table:
    """Records as rows of the log, in ``batch``."""
    columns: dict[str, list[Any]] = {
        column: [getattr(one, name) for one in records] for name, column in _COLUMN_OF.items()
    }
    columns["tried"] = [[asdict(said) for said in one.tried] for one in records]
    columns["day"] = [partition_of(one)[1] for one in records]
    columns["batch"] = [batch] * len(records)
    return pa.Table.from_pydict(columns, schema=SCHEMA)


def records_of(table: pa.Table) -> list[Record]:
    """Rows of the log as records, without those that can't be read."""
    return [record for _, record in numbered_records_of(table)]


def numbered_records_of(table: pa.Table) -> list[tuple[int, Record]]:
    """Pairs of a row's position in ``table`` and its record, without those that can't be read.

    Where the table was read without a column, the records have what a record has that says nothing of it.
    """
    found: list[tuple[int, Record]] = []
    odd = ""
    known = [name for name in RECORD_COLUMNS if name in table.column_names]
    for position, row in enumerate(table.select(known).to_pylist()):
        try:
            record = _record(row)
            why = _why_senseless(record)  # what the table holds fits its columns
        except (ValueError, TypeError, KeyError) as error:  # of a newer version
            odd = str(error)
        else:
            if why:
                odd = why
            else:
                found.append((position, record))
    if odd:
        log.warning("%d rows of the log are left out; one, because %s", len(table) - len(found), odd)
    return found


def _record(row: dict[str, Any]) -> Record:
    row["sequence_number"] = row.pop("place", None) or 0  # absent from the first logs
    few = {name: sys.intern(row[name]) for name in _FEW if row.get(name) is not None}  # rows are kept by the million
    read = {name: read(row[name]) for name, read in _READ.items() if name in row}
    return Record(**{**row, **few, **read})


_READ: dict[str, Callable[[Any], Any]] = {
    "labels": lambda value: tuple(map(sys.intern, value)),
    "log_probabilities": tuple,
    "tokens": lambda value: value or b"",
    "tried": lambda value: tuple(Tried(**one) for one in value or ()),
    "source": Source,
    **dict.fromkeys(_LATER_TEXTS, lambda value: value or ""),  # empty in rows that are older than their column
}


def _asked_at(record: Record) -> float:
    """When it was asked, or when it arrived if its device's clock can't be right (a year back, a day ahead)."""
    plausible = -366 * _DAY_SECONDS < record.asked_at - record.received_at < _DAY_SECONDS
    return record.asked_at if plausible else record.received_at
