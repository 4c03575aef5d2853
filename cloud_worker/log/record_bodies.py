"""Records as they lie in a spool: JSON, sealed."""

from __future__ import annotations

from pydantic import TypeAdapter
from pydantic_core import to_json

from router.core.domain.record import Record
from router.io.sealed import seal, unseal

_RECORD = TypeAdapter(Record)


def body_of(record: Record) -> bytes:
    """A record as bytes."""
    return seal(to_json(record, inf_nan_mode="constants", bytes_mode="base64"))  # log(0) is a figure


def record_of(body: bytes) -> Record:
    """What ``body_of`` was given.

    Raises:
        ValueError: These are other bytes, or a newer version's.
    """
    return _RECORD.validate_json(unseal(body))
