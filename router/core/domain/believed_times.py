"""Which times are believed: a device's word against the gateway's clock, and the log's against the reader's.

Rules:
 * A device's time holds from ``OLDEST_SECONDS`` before the gateway's to ``SKEW_SECONDS`` after it, where it is set to
   the gateway's.
 * A query with another time is answered as every other, and its row is an ordinary one: it never certifies, since
   nobody knows whether it was asked before or after what it would judge.
 * A row that is later than its reader's clock takes the time of the row before it in the log, so that one wrong clock
   makes no other row late and no version the newest for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from router.core.domain.query import Query
from router.core.domain.record import Record

SKEW_SECONDS = 300.0
OLDEST_SECONDS = 30 * 86_400.0  # an outage of a month, after which an outbox is taught


def is_plausible(asked_at: float, now: float) -> bool:
    """Whether a device may have asked then, both in Unix seconds; 0 says nothing, and is."""
    return not asked_at or now - OLDEST_SECONDS <= asked_at <= now + SKEW_SECONDS


def with_believed_time(query: Query, now: float) -> Query:
    """The query with a time that is not after ``now``; undrawn and without a time where its own can't be believed."""
    attempt = query.attempt
    if attempt is None or (attempt.asked_at <= now and is_plausible(attempt.asked_at, now)):
        return query
    if is_plausible(attempt.asked_at, now):
        return replace(query, attempt=replace(attempt, asked_at=now))
    return replace(query, attempt=replace(attempt, asked_at=0.0, explored=False))


def not_from_the_future(records: Iterable[Record], now: float) -> Iterator[Record]:
    """The records in the log's order, each received at ``now`` plus the skew at the latest."""
    before = 0.0
    for record in records:
        if record.received_at > now + SKEW_SECONDS:
            asked_at = min(record.asked_at, before)
            yield replace(record, received_at=before, asked_at=asked_at, explored=False)
        else:
            before = record.received_at
            yield record
