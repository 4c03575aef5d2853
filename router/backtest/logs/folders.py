"""A folder of Parquet files, or a Delta table -> its rows; a folder of text files -> those that count.

Rules:
 * Files of one kind count, the first there is of Parquet, JSON lines, JSON and CSV, by the endings of their names; what
   begins with a dot or an underscore does not.
 * A Delta table is read by its own log: files that it has deleted are no rows.
 * A part of a Delta table is not read alone, since only the table's log says which of its files count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from router.core.errors import DataError

DELTA_LOG = "_delta_log"
PARQUET = frozenset({".parquet"})
TEXTS = (frozenset({".jsonl", ".ndjson"}), frozenset({".json"}), frozenset({".csv", ".tsv"}))


def text_files(path: Path) -> list[Path]:
    """The text files of a folder that count, in the order of their names; none where it holds a table."""
    if (path / DELTA_LOG).is_dir() or _files(path, PARQUET):
        return []
    return next(filter(None, (_files(path, kind) for kind in TEXTS)), [])


def rows_of_table(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The rows of a Delta table, or of a folder of Parquet, each with its number, from 1.

    Raises:
        DataError: It holds nothing that can be read.
    """
    from pyarrow import ArrowException

    position = 0
    try:
        for batch in _dataset(path).to_batches():
            for row in batch.to_pylist():
                position += 1
                yield position, row
    except UnicodeError:
        raise DataError(
            str(path), 0, "has bytes in its path that are no text, which Parquet's library can't open"
        ) from None
    except (ArrowException, OSError) as error:
        raise DataError(str(path), position, f"is no folder of Parquet that can be read: {error}") from error


def table_around(path: Path) -> Path | None:
    """The Delta table that a file or a folder is a part of, if it is of one."""
    return next((above for above in path.absolute().parents if (above / DELTA_LOG).is_dir()), None)


def check_whole(path: Path) -> None:
    """Check that what is read is not a part of a Delta table.

    Raises:
        DataError: It is; names the table.
    """
    table = table_around(path)
    if table is not None:
        raise DataError(
            str(path), 0, f"is a part of a Delta table; name the table, {table}, and --task if it has several"
        )


def _dataset(path: Path) -> Any:
    from pyarrow import dataset

    if (path / DELTA_LOG).is_dir():
        return _delta(path)
    files = _files(path, PARQUET)
    if not files:
        other = next((file for file in sorted(path.rglob("*")) if file.is_file()), None)
        hint = f"; name one file, such as {other}" if other else ""
        raise DataError(str(path), 0, f"is a folder without Parquet files, or any in .jsonl, .json or .csv{hint}")
    return dataset.dataset(
        [str(file) for file in files], format="parquet", partitioning="hive", partition_base_dir=str(path)
    )


def _delta(path: Path) -> Any:
    try:
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError
    except ImportError:
        raise DataError(str(path), 0, "is a Delta table: pip install deltalake, and try again") from None
    try:
        return DeltaTable(str(path)).to_pyarrow_dataset()
    except (DeltaError, OSError, ValueError) as error:
        raise DataError(str(path), 0, f"is a Delta table that can't be read: {error}") from error


def _files(path: Path, endings: AbstractSet[str]) -> list[Path]:
    """Files with one of these endings, whatever comes after it: ``.jsonl.gz``, ``.jsonl.2``."""
    named = (file for file in path.rglob("*") if not endings.isdisjoint(part.lower() for part in file.suffixes))
    return sorted(file for file in named if file.is_file() and not _is_hidden(file.relative_to(path)))


def _is_hidden(file: Path) -> bool:
    return any(part.startswith((".", "_")) for part in file.parts)
