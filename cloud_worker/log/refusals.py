"""Which records a log can't take for a reason that lies in them, and not in the disk or in the table.

Rules:
 * A new table beside the log tells: what it takes, the log's own must take, and it is never dropped.
 * Where an ordinary record can't be written either, no record is to blame.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError

from cloud_worker.log.delta_table import logged_errors
from cloud_worker.log.table_rows import SCHEMA, table_of
from router.core.domain.record import Record

_ORDINARY = Record("probe", "probe", "probe", "probe", "probe", 1, 1.0, 1.0, "probe", "probe")
_PREFIX = ".probe-"


def can_be_written(folder: Path) -> bool:
    """Whether a table with an ordinary record can be written in ``folder``."""
    return not _refusal([_ORDINARY], folder)


def refused(records: Sequence[Record], folder: Path) -> dict[int, str]:
    """Positions of the records that a new table in ``folder`` does not take, each with the reason.

    Args:
        records: Any.
        folder: On the log's disk.
    """
    return _search(records, 0, folder) if can_be_written(folder) else {}


def _search(records: Sequence[Record], first: int, folder: Path) -> dict[int, str]:
    """Halve until one record alone is refused."""
    why = _refusal(records, folder) if records else ""
    if not why:
        return {}
    if len(records) == 1:
        return {first: why}
    half = len(records) // 2
    return _search(records[:half], first, folder) | _search(records[half:], first + half, folder)


def _refusal(records: Sequence[Record], folder: Path) -> str:
    try:
        with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=folder) as scratch, logged_errors():
            table = DeltaTable.create(scratch, SCHEMA, partition_by=["task", "day"])
            write_deltalake(table, table_of(records, 1), mode="append")
            written = DeltaTable(scratch).to_pyarrow_dataset().count_rows()
    except (OSError, DeltaError, pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        return f"{type(error).__name__}: {error}"
    return "" if written == len(records) else f"{written} of {len(records)} rows can be read again"
