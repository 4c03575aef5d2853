"""Records as they lie in a spool: JSON, sealed.

Rule:
 * A name on disk never changes: ``sequence_number`` is called ``place`` there, as it was from the first version on.
"""

from __future__ import annotations

from pydantic import TypeAdapter

from router.core.domain.record import Record
from router.io.sealed import seal, unseal

_RECORD = TypeAdapter(Record)
_ON_DISK, _HERE = b',"place":', b',"sequence_number":'  # inside a text a backslash stands before a quotation mark


def body_of(record: Record) -> bytes:
    """A record as bytes."""
    body = _RECORD.dump_json(record, warnings=False)
    return seal(body.replace(_HERE, _ON_DISK, 1))


def record_of(body: bytes) -> Record:
    """What ``body_of`` was given.

    Raises:
        ValueError: These are other bytes, or a newer version's.
    """
    return _RECORD.validate_json(unseal(body).replace(_ON_DISK, _HERE, 1))
