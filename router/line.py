"""What a device kept and has not sent: what escalates comes to the log at once, what was kept comes later, or never.

A device numbers the drawn queries of a task that it keeps, and names the last number with every query that it sends. So
the log knows of each row what was kept before it, and what of that has come.

Rules:
 * A row is looked at once all that its device kept before it has come. Whether it has does not depend on what it says.
 * What has not come an hour after a row that follows it counts as lost, for a challenger whose freeze is before it.
 * Of before the freeze, the rows after the last one missing are looked at.
 * Rows asked while the watch was blind say nothing, and what is missing from that time is not missed.
 * Rows without a number, those of older agents, are looked at as they come.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from router.distillation import Record, Source

WAIT_SECONDS = 3600.0
NEW_LINE = 1_000_000  # a number so far above the one before begins another line

Rows = Sequence[tuple[int, Record]]  # batch and record, in the log's order
Spans = Sequence[tuple[float, float]]  # from and until, Unix times in seconds


@dataclass(frozen=True, slots=True)
class Line:
    """Where the numbered rows of one device stand, for one challenger.

    Attributes:
        restart: Least number that may be looked at.
        horizon: Numbers from here on wait for what comes before them.
        missing: How many kept rows since the freeze never came.
    """

    restart: int = 0
    horizon: float = math.inf
    missing: int = 0

    def has_settled(self, place: int) -> bool:
        """Whether all that was kept before a row of this number has come or is given up; 0 for no number."""
        return not place or self.restart <= place < self.horizon


@dataclass(frozen=True, slots=True)
class _Place:
    """A number that was named: by which batch, when received and asked first, and whether the kept row itself came."""

    number: int
    batch: int
    received_at: float
    asked_at: float
    came: bool


def lines_of(rows: Rows, freeze: int, blind: Spans = ()) -> dict[str, Line]:
    """The line of each device that numbers its rows.

    Args:
        rows: All of the task, whatever its version: a line goes on over versions.
        freeze: Last batch that the challenger may have learned from.
        blind: When the watch was blind.
    """
    newest = max((row.received_at for _, row in rows), default=0.0)
    devices: dict[str, dict[int, _Place]] = {}
    for batch, row in rows:
        if row.place:
            places = devices.setdefault(row.caller, {})
            places[row.place] = _named(places.get(row.place), batch, row)
    return {caller: _line(places, freeze, newest, blind) for caller, places in devices.items()}


def settled(rows: Rows, lines: Mapping[str, Line], blind: Spans = ()) -> list[tuple[int, Record]]:
    """The rows that may be looked at now: nothing is awaited before them, and the watch was not blind."""
    free = Line()
    return [
        (batch, row)
        for batch, row in rows
        if lines.get(row.caller, free).has_settled(row.place) and not is_within(blind, row.asked_at)
    ]


def is_within(spans: Spans, at: float) -> bool:
    """Whether a Unix time in seconds lies in one of the spans."""
    return any(first <= at < last for first, last in spans)


def _named(known: _Place | None, batch: int, row: Record) -> _Place:
    came = row.source is Source.TAUGHT and row.kept and not row.degraded
    if known is None:
        return _Place(row.place, batch, row.received_at, row.asked_at, came)
    earliest = min(known.received_at, row.received_at)
    return replace(known, batch=min(known.batch, batch), received_at=earliest, came=known.came or came)


def _line(places: Mapping[int, _Place], freeze: int, newest: float, blind: Spans) -> Line:
    line = Line()
    for first, last, behind in _gaps(places):
        if is_within(blind, behind.asked_at):
            continue
        if behind.batch <= freeze:
            line = replace(line, restart=last)
        elif newest - behind.received_at < WAIT_SECONDS:
            return replace(line, horizon=first)
        else:
            line = replace(line, missing=line.missing + last - first + 1)
    return line


def _gaps(places: Mapping[int, _Place]) -> Iterator[tuple[int, int, _Place]]:
    """First and last number of each stretch that has not come, and the place that shows it."""
    for before, number in pairwise(sorted(places)):
        last = number - places[number].came
        if last > before and number - before < NEW_LINE:
            yield before + 1, last, places[number]
