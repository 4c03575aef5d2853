"""How many of the rows each device may give, so that none dominates what is proved.

Rules:
 * No device gives more than 5 % of the rows, or its fair share in a small fleet.
 * A device that gave none of the latest rows is no part of the fleet: nobody waits for it. A flood of one device does
   not make the others silent: for some time a device counts too that gave its part of the rows, the most counted as
   ten times the median device's.
 * No outcome has a say in it.
"""

from __future__ import annotations

import heapq
import math
import sys
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from itertools import islice
from statistics import median_low

from router.core.domain.record import Record, had_to_be_asked, may_certify

DEVICE_SHARE = 0.05
SLACK_ROWS = 5  # by which a device may be ahead of its share
LATELY_ROWS = 200  # a device that gave none of so many latest ones has fallen silent,
LATELY_SECONDS = 600.0  # if it gave none for so long, or hardly any
MOST_MEDIANS = 10  # as which a device counts at most


class Presence:
    """Who is there: the devices of the latest rows, and of some time."""

    def __init__(self, seconds: float) -> None:
        """Remember the latest ``LATELY_ROWS`` rows, and those of the last ``seconds``."""
        self._seconds = seconds
        self._rows: deque[tuple[float, str]] = deque()
        self._counts: Counter[str] = Counter()
        self._now = -math.inf

    def meet(self, device: str, at: float) -> bool:
        """A device gave a row, received at Unix time ``at`` in seconds; whether it was not there before."""
        is_new = device not in self._counts
        self._rows.append((at, device))
        self._counts[device] += 1
        self._now = max(self._now, at)
        while len(self._rows) > LATELY_ROWS and self._rows[0][0] <= self._now - self._seconds:
            _, gone = self._rows.popleft()
            self._counts[gone] -= 1
            if not self._counts[gone]:
                del self._counts[gone]
        return is_new

    def heard(self) -> frozenset[str]:
        """The devices that are there."""
        if not self._counts:
            return frozenset()
        most = MOST_MEDIANS * median_low(self._counts.values())
        total = sum(min(count, most) for count in self._counts.values())
        parts = {device for device, count in self._counts.items() if count * LATELY_ROWS >= total}
        return frozenset(parts | {device for _, device in islice(reversed(self._rows), LATELY_ROWS)})


def heard_lately(rows: Iterable[Record]) -> frozenset[str]:
    """The devices that gave rows of the kinds that certify lately, whether or not those may still be observed.

    Args:
        rows: The latest first.
    """
    lately: list[Record] = []
    for row in rows:
        if len(lately) >= LATELY_ROWS and row.received_at <= lately[0].received_at - LATELY_SECONDS:
            break
        if may_certify(row) or had_to_be_asked(row):
            lately.append(row)
    presence = Presence(LATELY_SECONDS)
    for row in reversed(lately):
        presence.meet(row.caller, row.received_at)
    return presence.heard()


def share_left(device: str, counts: Counter[str], heard: frozenset[str]) -> int:
    """How many rows more of a device would bring it to its share of all, and the slack.

    Args:
        device: Its name.
        counts: How many rows each device has given already.
        heard: The devices heard of lately.
    """
    share = max(DEVICE_SHARE, 1.0 / len(heard | {device}))
    if share >= 1.0:
        return sys.maxsize
    return max(int((share * counts.total() + SLACK_ROWS - counts[device]) / (1.0 - share)), 0)


def shared_fairly(rows: Sequence[Record], before: Counter[str], heard: frozenset[str]) -> list[Record]:
    """The rows that may be observed, such that no device gives more than its share.

    Args:
        rows: In the log's order.
        before: How many rows each device has given already.
        heard: The devices heard of lately; whoever's rows are at hand shares too.
    """
    return [rows[position] for position in fair_positions([row.caller for row in rows], before, heard)]


def fair_positions(callers: Sequence[str], before: Counter[str], heard: frozenset[str]) -> list[int]:
    """The positions of the rows that may be observed, in that order, such that no device gives more than its share.

    Args:
        callers: Who gave each row, in the log's order.
        before: How many rows each device has given already.
        heard: The devices heard of lately; whoever's rows are at hand shares too.
    """
    queues: dict[str, deque[int]] = {}
    for position, caller in enumerate(callers):
        queues.setdefault(caller, deque()).append(position)
    counts, given = Counter(before), before.total()
    chosen: list[int] = []
    next_ones = [(counts[caller], caller) for caller in queues]
    heapq.heapify(next_ones)
    waiting = len(heard.difference(queues))
    while next_ones:
        count, caller = heapq.heappop(next_ones)
        if count >= max(DEVICE_SHARE, 1.0 / (waiting + len(next_ones) + 1)) * given + SLACK_ROWS:
            break
        chosen.append(queues[caller].popleft())
        given += 1
        if queues[caller]:
            heapq.heappush(next_ones, (count + 1, caller))
        else:
            waiting += caller in heard
    return chosen
