"""Erases rows from the log's table, and whatever of its files still told of them.

Rules:
 * A row is gone from the table first, then the files that held it, then the commits whose statistics quote texts: of
   the table's own log its last state stays.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder

from cloud_worker.log.delta_table import CONFIGURATION
from cloud_worker.log.table_rows import records_of
from cloud_worker.running.process_memory import give_back_memory
from router.core.domain.record import Record
from router.io.atomic_write import sync_folder

_LOG_FILE = re.compile(r"(\d{20})\..*")
_LAST = "_last_checkpoint"


def hear_rows(table: DeltaTable, where: str, told: Callable[[Sequence[Record]], None]) -> None:
    """Tell the rows of which ``where`` holds, some thousands at a time."""
    for batch in QueryBuilder().register("log", table).execute(f"select * from log where {where}"):
        told(records_of(pa.Table.from_batches([pa.record_batch(batch)])))


def erase_rows(path: Path, table: DeltaTable, where: str) -> int:
    """Erase the rows of which ``where`` holds; how many they were.

    Args:
        path: Of the table.
        table: At its newest version.
        where: In SQL.
    """
    erased = int(table.delete(where)["num_deleted_rows"])
    table.update_incremental()
    table.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False, full=True)
    table.update_incremental()
    # The last commit stays, and may quote nothing: neither what was erased nor by which name.
    table.alter.set_table_properties({key: str(value) for key, value in CONFIGURATION.items()})
    table.update_incremental()
    table.create_checkpoint()
    _forget_before(path / "_delta_log", table.version())
    give_back_memory()
    return erased


def _forget_before(folder: Path, version: int) -> None:
    """Delete the commits and checkpoints before ``version``, which has a checkpoint of its own."""
    for file in sorted(folder.iterdir()):
        found = _LOG_FILE.fullmatch(file.name)
        if file.is_file() and (int(found[1]) < version if found else file.name != _LAST):
            file.unlink(missing_ok=True)
    sync_folder(folder)
