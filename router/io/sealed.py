"""Bytes with their checksum, for databases that check none: SQLite notices no byte that is flipped within a cell.

Bytes that an older version wrote without a seal pass as they are: they begin as JSON or a message does, which no single
flipped bit makes of the mark.
"""

from __future__ import annotations

import zlib

_MARK = b"\0\xc5"  # neither JSON nor a message of protobuf begins so
_CHECK_BYTES = 4
_UNSEALED = (b"{", b"\n")


def seal(data: bytes) -> bytes:
    """The bytes, with mark and checksum before them."""
    return _MARK + zlib.crc32(data).to_bytes(_CHECK_BYTES, "big") + data


def unseal(data: bytes) -> bytes:
    """What ``seal`` was given.

    Raises:
        ValueError: They are not what was written.
    """
    if data.startswith(_UNSEALED):
        return data
    start = len(_MARK) + _CHECK_BYTES
    check, inner = data[len(_MARK) : start], data[start:]
    if not data.startswith(_MARK) or zlib.crc32(inner).to_bytes(_CHECK_BYTES, "big") != check:
        raise ValueError("its bytes were changed on the disk")
    return inner
