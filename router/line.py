"""What a device kept and has not sent: what escalates comes to the log at once, what was kept comes later, or never.

A device numbers the drawn queries of a task that it keeps, and names the last number with every query that it sends. So
the log knows of each row what was kept before it, and what of that has come. Its numbers go on from one start to the
next; after a kill, or in another folder, it begins another line, at a multiple of ``LINE``.

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
LINE = 1_000_000  # numbers of one line

Rows = Sequence[tuple[int, Record]]  # batch and record, in the log's order
Spans = Sequence[tuple[float, float]]  # from and until, Unix times in seconds
LineKey = tuple[str, int]  # a device, and which of its lines


@dataclass(frozen=True, slots=True)
class Line:
    """Where the rows of one line of a device stand, for one challenger.

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


def lines_of(rows: Rows, freeze: int, blind: Spans = ()) -> dict[LineKey, Line]:
    """The lines of the devices that number their rows.

    Args:
        rows: All of the task, whatever its version: a line goes on over versions.
        freeze: Last batch that the challenger may have learned from.
        blind: When the watch was blind.
    """
    newest = max((row.received_at for _, row in rows), default=0.0)
    lines: dict[LineKey, dict[int, _Place]] = {}
    for batch, row in rows:
        if row.place:
            places = lines.setdefault(_line_of(row), {})
            places[row.place] = _named(places.get(row.place), batch, row)
    return {key: _line(places, freeze, newest, blind) for key, places in lines.items()}


def settled(rows: Rows, lines: Mapping[LineKey, Line], blind: Spans = ()) -> list[tuple[int, Record]]:
    """The rows that may be looked at now: nothing is awaited before them, and the watch was not blind."""
    free = Line()
    return [
        (batch, row)
        for batch, row in rows
        if lines.get(_line_of(row), free).has_settled(row.place) and not is_within(blind, row.asked_at)
    ]


def _line_of(row: Record) -> LineKey:
    return row.caller, row.place // LINE


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
    numbers = sorted(places)
    begin = numbers[0] // LINE * LINE
    for before, number in pairwise([begin, *numbers]):
        last = number - places[number].came
        if last > before:
            yield before + 1, last, places[number]
