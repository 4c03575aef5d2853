"""Which keys the log holds, in sixteen bytes each: exact, and small enough for days of traffic.

Rules:
 * A key is known by a digest of 128 bits: that two differ and look alike does not happen.
 * Keys of a partition are read once and kept while it is in use; what was used longest ago is let go first, once all
   together are more than ``MOST_KEYS``. A partition that is let go is read again when somebody asks for it.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from cloud_worker.log.table_rows import Partition

MOST_KEYS = 8_000_000  # 128 MB: two days of 46 answers a second
_DIGEST_BYTES = 16
_MERGE_AT = 4096  # keys that wait as objects, 90 bytes each; each merge copies all: 30 ms for eight million

Digests = NDArray[np.bytes_]


def digest_of(key: Sequence[str]) -> bytes:
    """The digest of a record's key."""
    return hashlib.blake2b("\x1f".join(key).encode(), digest_size=_DIGEST_BYTES).digest()


class KeySet:
    """Digests of keys."""

    def __init__(self, digests: Iterable[bytes] = ()) -> None:
        """Hold what each of ``digests`` joins, one after the other; any may come more than once."""
        joined = bytearray()
        for some in digests:
            joined += some
        self._sorted: Digests = np.unique(_array(bytes(joined)))
        self._recent: set[bytes] = set()

    def __len__(self) -> int:
        """How many digests are held."""
        return len(self._sorted) + len(self._recent)

    def __contains__(self, digest: bytes) -> bool:
        """Whether a digest is held."""
        if digest in self._recent:
            return True
        (one,) = _array(digest)
        position = int(np.searchsorted(self._sorted, one))
        return position < len(self._sorted) and bool(self._sorted[position] == one)

    def add(self, digest: bytes) -> None:
        """Hold one more."""
        if digest in self:
            return
        self._recent.add(digest)
        if len(self._recent) >= _MERGE_AT:
            fresh = np.sort(_array(b"".join(self._recent)))
            self._sorted = np.insert(self._sorted, np.searchsorted(self._sorted, fresh), fresh)
            self._recent = set()


class KnownKeys:
    """The keys of every partition of a log."""

    def __init__(self, read: Callable[[Partition], Iterable[bytes]], most: int = MOST_KEYS) -> None:
        """Keep ``most`` keys, beside those of the partition used last; ``read`` gives a partition's, joined by many."""
        self._read, self._most = read, most
        self._sets: OrderedDict[Partition, KeySet] = OrderedDict()

    def of(self, partition: Partition) -> KeySet:
        """The keys of one partition."""
        known = self._sets.get(partition)
        if known is None:
            known = self._sets[partition] = KeySet(self._read(partition))
            while len(self._sets) > 1 and len(self) > self._most:
                self._sets.popitem(last=False)
        self._sets.move_to_end(partition)
        return known

    def clear(self) -> None:
        """Let all go: the table has changed, or may hold more than is known here."""
        self._sets.clear()

    def __len__(self) -> int:
        """How many keys are held."""
        return sum(map(len, self._sets.values()))


def _array(joined: bytes) -> Digests:
    return np.frombuffer(joined, f"V{_DIGEST_BYTES}").view(f"S{_DIGEST_BYTES}")
