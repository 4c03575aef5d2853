"""Files that are no log in a form that is read here: told by their first bytes, with what would do."""

from __future__ import annotations

from pathlib import Path

from router.core.errors import DataError

_UNPACK = "unpack it, and give the file inside"
_SHEET = "save it as CSV (UTF-8), or read it with pandas and write it by DataFrame.to_parquet"
_TABLE = "read it with {} and write it as Parquet"
_KINDS = (
    (b"PK\x03\x04", "a zip archive", _UNPACK),
    (b"PK\x05\x06", "a zip archive with nothing in it", "give the log itself"),
    (b"\x28\xb5\x2f\xfd", "packed by zstd", _UNPACK),
    (b"7z\xbc\xaf", "packed by 7-Zip", _UNPACK),
    (b"Rar!", "packed by RAR", _UNPACK),
    (b"\x04\x22\x4d\x18", "packed by LZ4", _UNPACK),
    (b"\xff\x06\x00\x00sNaPpY", "packed by Snappy", _UNPACK),
    (b"\x1f\x9d", "packed by compress", _UNPACK),
    (b"LZIP", "packed by lzip", _UNPACK),
    (b"\x1f\x8b", "packed twice", "unpack it once"),
    (b"BZh", "packed twice", "unpack it once"),
    (b"\xfd7zXZ", "packed twice", "unpack it once"),
    (b"SQLite format 3", "a SQLite database", "export its table as CSV: sqlite3 -header -csv FILE 'select * from ...'"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook of the old kind", _SHEET),
    (b"ORC", "an ORC file", _TABLE.format("pyarrow.orc.read_table")),
    (b"ARROW1", "an Arrow or Feather file", _TABLE.format("pyarrow.feather.read_table")),
    (b"FEA1", "a Feather file", _TABLE.format("pyarrow.feather.read_table")),
    (b"\xff\xff\xff\xff", "an Arrow stream", _TABLE.format("pyarrow.ipc.open_stream")),
    (b"Obj\x01", "an Avro file", _TABLE.format("fastavro or Spark")),
    (b"PARE", "Parquet that is encrypted", "decrypt it"),
    (b"\x89HDF", "an HDF5 file", _TABLE.format("pandas.read_hdf")),
    (b"\x93NUMPY", "an array of NumPy", "give the log itself, as JSON lines, CSV or Parquet"),
    *((bytes((0x80, version)), "a pickle", "write it by DataFrame.to_parquet") for version in (2, 3, 4, 5)),
    (b"%PDF", "a PDF", "give the log itself, as JSON lines, CSV or Parquet"),
    (b"\x89PNG", "a picture", "give the log itself, as JSON lines, CSV or Parquet"),
    (b"\x7fELF", "a program", "give the log itself, as JSON lines, CSV or Parquet"),
)
_TAR, _TAR_AT = b"ustar", 257
_IN_A_WORKBOOK = (b"xl/", b"[Content_Types].xml")


def check_kind(path: Path, start: bytes) -> None:
    """Check that a file, unpacked, does not begin as something else does.

    Raises:
        DataError: It does; says what it is, and what would do.
    """
    if start[_TAR_AT:].startswith(_TAR):
        raise DataError(str(path), 0, f"is a tar archive: {_UNPACK}")
    for mark, name, todo in _KINDS:
        if start.startswith(mark):
            if mark == b"PK\x03\x04" and any(piece in start for piece in _IN_A_WORKBOOK):
                name, todo = "an Excel workbook", _SHEET
            raise DataError(str(path), 0, f"is {name}: {todo}")
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"<!", b"<?xml", b"<html", b"<HTML")):
        raise DataError(str(path), 0, "is HTML or XML: export the log as JSON lines, CSV or Parquet")
