"""Rows that say nothing of a promise, because nobody can tell which of two agents under one name they came from.

Rules:
 * By the time of asking, and by that of coming: what an agent kept before it was heard of may come afterwards.
 * No outcome has a say in it. What was answered still teaches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from router.core.certification.missing_rows import Spans, is_within
from router.core.domain.record import Record


def set_apart(record: Record, twins: Mapping[str, Spans]) -> Record:
    """The record, not under the promise where its device had twins then.

    Args:
        record: As it stands in the log.
        twins: When each device had twins, in Unix seconds.
    """
    spans = twins.get(record.caller, ())
    if record.covered and (is_within(spans, record.asked_at) or is_within(spans, record.received_at)):
        return replace(record, covered=False)
    return record
