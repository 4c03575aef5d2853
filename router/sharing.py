"""How many of the rows each device may give, so that none dominates what is proved.

Rules:
 * No device gives more than 5 % of the rows, or its fair share in a small fleet.
 * A device of which the latest rows hold none is no part of the fleet: nobody waits for it.
 * No outcome has a say in it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from itertools import islice

from router.distillation import Record, had_to_be_asked, may_certify

DEVICE_SHARE = 0.05
SLACK_ROWS = 5  # by which a device may be ahead of its share
LATELY_ROWS = 200  # a device that gave none of so many latest ones has fallen silent


def heard_lately(rows: Iterable[Record]) -> frozenset[str]:
    """The devices of the latest rows of the kinds that certify, whether or not they may still be looked at.

    Args:
        rows: The latest first.
    """
    of_kind = (row for row in rows if may_certify(row) or had_to_be_asked(row))
    return frozenset(row.caller for row in islice(of_kind, LATELY_ROWS))


def shared_fairly(rows: Sequence[Record], before: Counter[str], heard: frozenset[str]) -> list[Record]:
    """The rows that may be looked at, such that no device gives more than its share.

    Args:
        rows: In the log's order.
        before: How many rows each device has given already.
        heard: The devices heard of lately; whoever's rows are at hand shares too.
    """
    queues: dict[str, deque[Record]] = {}
    for row in rows:
        queues.setdefault(row.caller, deque()).append(row)
    counts = Counter(before)
    chosen: list[Record] = []
    while queues:
        caller = min(queues, key=lambda name: (counts[name], name))
        share = max(DEVICE_SHARE, 1.0 / len(heard.union(queues)))
        if counts[caller] >= share * sum(counts.values()) + SLACK_ROWS:
            break
        chosen.append(queues[caller].popleft())
        counts[caller] += 1
        if not queues[caller]:
            del queues[caller]
    return chosen
