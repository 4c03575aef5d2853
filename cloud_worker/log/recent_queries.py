"""Which queries were answered within the last minutes, in memory, so that a new one is known to be new without a read.

Rules:
 * A query that was answered is never said to be new; one that is new may be said to be known, and then the disk tells.
 * At most ``MOST`` are held: of more, the oldest are let go, and until their time is over every query may be known.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

MOST = 1_000_000  # about 80 MB: ten minutes of 1,600 answers a second
_GENERATIONS = 10


@dataclass(slots=True)
class _Generation:
    """Queries that were answered within one part of the time.

    Attributes:
        since: When the first was answered, in Unix seconds.
        newest: When the last was.
        known: Their hashes.
    """

    since: float
    newest: float
    known: set[int] = field(default_factory=set)


class RecentQueries:
    """The latest answered queries, by caller and id. Belongs to one thread at a time."""

    def __init__(self, seconds: float, most: int = MOST) -> None:
        """Know queries for so many seconds after their answer, ``most`` at once."""
        self._seconds, self._most = seconds, most
        self._generations: deque[_Generation] = deque()
        self._count = 0
        self._let_go = float("-inf")  # when the newest of those was answered

    def __len__(self) -> int:
        """How many are held."""
        return self._count

    def add(self, caller: str, query_id: str, answered_at: float) -> None:
        """Know one more, answered at a time in Unix seconds."""
        if not self._generations or answered_at >= self._generations[-1].since + self._seconds / _GENERATIONS:
            self._generations.append(_Generation(answered_at, answered_at))
            self._forget(answered_at - self._seconds)
        generation = self._generations[-1]
        generation.newest = max(generation.newest, answered_at)
        before = len(generation.known)
        generation.known.add(hash((caller, query_id)))
        self._count += len(generation.known) - before
        while self._count > self._most:
            oldest = self._drop()
            self._let_go = max(self._let_go, oldest.newest)

    def may_know(self, caller: str, query_id: str, now: float) -> bool:
        """Whether the query may have been answered within the time before ``now``, in Unix seconds."""
        if self._let_go > now - self._seconds:
            return True
        key = hash((caller, query_id))
        for generation in self._generations:  # noqa: SIM110 - a generator costs three times as much
            if key in generation.known:
                return True
        return False

    def _forget(self, before: float) -> None:
        while self._generations[0].newest <= before:
            self._drop()

    def _drop(self) -> _Generation:
        oldest = self._generations.popleft()
        self._count -= len(oldest.known)
        return oldest
