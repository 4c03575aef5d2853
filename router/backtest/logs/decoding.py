"""A log's file -> its text, unpacked and decoded.

Rules:
 * gzip, bzip2 and xz are told by their first bytes, not by their names.
 * A byte order mark says the encoding (UTF-8, -16 or -32); else the user does; else it is UTF-8.
 * What can't be unpacked or decoded is refused with what to do; nothing is guessed over.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from router.backtest.logs.foreign_files import check_kind
from router.core.errors import ConfigError, DataError

PROBED = 4096  # bytes
_PACKED = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\x00", lzma.open))
_NOT_OF_FILES = frozenset({"idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape"})
_MARKS = (  # the longer ones first: UTF-32's begins with UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def first_bytes(path: Path) -> bytes:
    """The first 4096 bytes of what a file holds, unpacked.

    Raises:
        DataError: It can't be read or unpacked.
    """
    with _reading(path), _unpacked(path) as file:
        start = bytes(file.read(PROBED))
    check_kind(path, start)
    return start


@contextmanager
def opened(path: Path, encoding: str = "") -> Iterator[io.TextIOWrapper]:
    """A file's text; line ends stay as they are.

    Args:
        path: The file, packed or not.
        encoding: Of its text; empty for what its byte order mark says, or UTF-8.

    Raises:
        ConfigError: There is no such encoding.
        DataError: It can't be read, unpacked or decoded.
    """
    with _reading(path):
        chosen = encoding_of(path, first_bytes(path), encoding)
        with _unpacked(path) as file, io.TextIOWrapper(file, encoding=chosen, newline="") as text:
            yield text


def encoding_of(path: Path, start: bytes, encoding: str = "") -> str:
    """The encoding of a text that begins so.

    Raises:
        ConfigError: There is no such encoding.
        DataError: It looks like UTF-16 without a mark.
    """
    marked = next((name for mark, name in _MARKS if start.startswith(mark)), "")
    if encoding:
        try:
            "".encode(encoding)
            if codecs.lookup(encoding).name.replace("-", "_") in _NOT_OF_FILES:
                raise LookupError
        except (LookupError, ValueError):
            raise ConfigError("--encoding", encoding, "is no encoding; try utf-8, utf-16, cp1252 or latin-1") from None
        return marked if marked and codecs.lookup(encoding).name.startswith(marked.split("-sig")[0]) else encoding
    if marked:
        return marked
    return _guessed(path, start)


def _guessed(path: Path, start: bytes) -> str:
    """UTF-8, unless zero bytes tell another encoding, or that it is no text."""
    zeros = [start[place::4].count(0) for place in range(4)]
    if sum(zeros) <= len(start) / 6:
        return "utf-8"
    even, odd = zeros[0] + zeros[2], zeros[1] + zeros[3]
    if min(even, odd) == 0:
        raise DataError(str(path), 0, f"looks like UTF-16: try --encoding utf-16-{'be' if even > odd else 'le'}")
    for end, place in (("le", 0), ("be", 3)):
        if zeros[place] == 0 and sum(zeros) > len(start) / 2:
            raise DataError(str(path), 0, f"looks like UTF-32: try --encoding utf-32-{end}")
    raise DataError(
        str(path), 0, f"holds zero bytes from byte {start.index(0)} on: it was not written whole, or is no text"
    )


def _unpacked(path: Path) -> Any:
    with path.open("rb") as file:
        start = file.read(16)
    unpack = next((unpack for mark, unpack in _PACKED if start.startswith(mark)), None)
    return unpack(path, "rb") if unpack else path.open("rb")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Say in words what goes wrong in reading a file."""
    try:
        yield
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise DataError(str(path), 0, f"can't be unpacked, it is cut off or damaged: {error}") from error
    except OSError as error:
        raise DataError(str(path), 0, f"can't be read: {error.strerror or error}") from error
    except UnicodeError as error:
        where = f": byte {error.start} of it can't be read" if isinstance(error, UnicodeDecodeError) else ""
        encoding = getattr(error, "encoding", "this encoding").upper()
        said = f"is not in {encoding}{where}; name its encoding, as in --encoding cp1252 or --encoding utf-16"
        raise DataError(str(path), 0, said) from error
