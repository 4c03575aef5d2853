"""What waits, by who asked: taken in turn, one of each caller, so that a flood of one delays nobody else.

Rules:
 * Of one caller's, the oldest goes first.
 * What goes back to the front is taken before all else.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Generic, Protocol, TypeVar


class _Asked(Protocol):
    @property
    def caller(self) -> str:
        """Who asked."""


_T = TypeVar("_T", bound=_Asked)


class FairQueue(Generic[_T]):
    """The questions that wait for one teacher, taken from each caller in turn."""

    def __init__(self) -> None:
        """Nothing waits."""
        self._front: deque[_T] = deque()
        self._queues: OrderedDict[str, deque[_T]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        """How many wait."""
        return self._count

    def __iter__(self) -> Iterator[_T]:
        """All that wait."""
        yield from self._front
        for queue in self._queues.values():
            yield from queue

    def push(self, item: _T) -> None:
        """Let one wait behind all of its caller's."""
        self._queues.setdefault(item.caller, deque()).append(item)
        self._count += 1

    def push_front(self, items: Sequence[_T]) -> None:
        """Let some go first, in their order: they have waited longest."""
        self._front.extendleft(reversed(items))
        self._count += len(items)

    def take(self) -> _T:
        """The next; ``LookupError`` where none waits."""
        if self._front:
            self._count -= 1
            return self._front.popleft()
        caller, queue = next(iter(self._queues.items()), ("", None))
        if queue is None:
            raise LookupError("nothing waits")
        self._count -= 1
        item = queue.popleft()
        if queue:
            self._queues.move_to_end(caller)
        else:
            del self._queues[caller]
        return item

    def drop(self, item: _T) -> None:
        """Take out one, if it waits here."""
        queue = self._queues.get(item.caller, deque())
        for held in (self._front, queue):
            with suppress(ValueError):
                held.remove(item)
                self._count -= 1
        if not queue:
            self._queues.pop(item.caller, None)

    def drop_of_longest(self, least: int) -> _T | None:
        """Take out the newest of the caller with the longest queue, if that has more than ``least``."""
        caller, queue = max(self._queues.items(), key=lambda pair: len(pair[1]), default=("", None))
        if queue is None or len(queue) <= least:
            return None
        self._count -= 1
        item = queue.pop()
        if not queue:
            del self._queues[caller]
        return item
