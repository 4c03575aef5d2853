"""What a device kept and has not sent: what escalates comes to the log at once, what was kept comes later, or never.

A device numbers the drawn queries of a task that it keeps, and names the last number with every query that it sends. So
the log knows of each row what was kept before it, and what of that has come. Its numbers go on from one start to the
next; after a kill, or in another folder, it begins another line, at a multiple of ``LINE``.

Rules:
 * A row is looked at once all that its device kept before it has come. Whether it has does not depend on what it says.
 * What has not come an hour after a row that follows it counts as lost, for a challenger whose freeze is before it.
 * Of before the freeze, the rows after the last one missing are looked at.
 * Rows asked while the watch was blind say nothing, and what is missing from that time is not missed.
 * The same holds for one device while two agents report under its name.
 * A number whose query the log had before has come, though its row was not taken in again.
 * Rows without a number, those of older agents, are looked at as they come.
 * A number is a claim: how many rows are missing is counted, whatever the size of a gap, and bounded by ``missed``.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from itertools import pairwise

from router.core.certification.device_shares import heard_lately, room_of
from router.core.domain.record import Record, Source

WAIT_SECONDS = 3600.0
MOST_PER_SECOND = 100  # drawn queries of one task that a device keeps
MOST_AT_ONCE = 1000  # beside these: before its first row came
LINE = 1_000_000  # numbers of one line

Rows = Sequence[tuple[int, Record]]  # batch and record, in the log's order
Spans = Sequence[tuple[float, float]]  # from and until, Unix times in seconds
LineKey = tuple[str, int]  # a device, and which of its lines
_NO_TWINS: Mapping[str, Spans] = {}


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


_Gap = tuple[int, int, _Place]


def lines_of(
    rows: Rows,
    freeze: int,
    blind: Spans = (),
    repeats: Set[tuple[str, int]] = frozenset(),
    twins: Mapping[str, Spans] = _NO_TWINS,
) -> dict[LineKey, Line]:
    """The lines of the devices that number their rows.

    Args:
        rows: All of the task, whatever its version: a line goes on over versions.
        freeze: Last batch that the challenger may have learned from.
        blind: When the watch was blind.
        repeats: Devices and numbers of kept rows that the log had before.
        twins: When each device had twins, which is as if the watch had been blind to it.
    """
    newest = max((row.received_at for _, row in rows), default=0.0)
    lines: dict[LineKey, dict[int, _Place]] = {}
    for batch, row in rows:
        if row.place:
            places = lines.setdefault(_line_of(row), {})
            places[row.place] = _named(places.get(row.place), batch, row)
    again: dict[LineKey, set[int]] = {}
    for caller, place in repeats:
        again.setdefault((caller, place // LINE), set()).add(place)
    gaps = {key: _gaps(places, again.get(key, set())) for key, places in lines.items()}
    return {key: _line(found, freeze, newest, (*blind, *twins.get(key[0], ()))) for key, found in gaps.items()}


def settled(rows: Rows, lines: Mapping[LineKey, Line], blind: Spans = ()) -> list[tuple[int, Record]]:
    """The rows that may be looked at now: nothing is awaited before them, and the watch was not blind."""
    free = Line()
    return [
        (batch, row)
        for batch, row in rows
        if lines.get(_line_of(row), free).has_settled(row.place) and not is_within(blind, row.asked_at)
    ]


def missed(rows: Rows, lines: Mapping[LineKey, Line], looked_at: Counter[str]) -> int:
    """How many rows that never came count as lost.

    Of a device no more than it can have kept since its first row came, and no more than its share of what is looked at:
    beyond that its rows would not be looked at either.

    Args:
        rows: All of the task.
        lines: Their lines.
        looked_at: Rows of each device that were.
    """
    missing: Counter[str] = Counter()
    for (device, _), line in lines.items():
        missing[device] += line.missing
    missing = +missing
    if not missing:
        return 0
    heard = heard_lately(row for _, row in reversed(rows))
    times: dict[str, list[float]] = {device: [] for device in missing}
    for _, row in rows:
        if row.caller in times:
            times[row.caller].append(row.received_at)
    return sum(
        min(count, most_kept(max(times[device]) - min(times[device])), room_of(device, looked_at, heard))
        for device, count in missing.items()
    )


def most_kept(seconds: float) -> int:
    """How many drawn queries of a task a device can have kept in a time, at the most."""
    return int(MOST_AT_ONCE + MOST_PER_SECOND * seconds)


def _line_of(row: Record) -> LineKey:
    return row.caller, row.place // LINE


def is_within(spans: Spans, at: float) -> bool:
    """Whether a Unix time in seconds lies in one of the spans."""
    return any(first <= at < last for first, last in spans)


def is_kept_row(row: Record) -> bool:
    """Whether a row is that of a drawn query that was kept: its number is its own, not that of the one before."""
    return row.source is Source.TAUGHT and row.kept and not row.degraded


def _named(known: _Place | None, batch: int, row: Record) -> _Place:
    came = is_kept_row(row)
    if known is None:
        return _Place(row.place, batch, row.received_at, row.asked_at, came)
    earliest = min(known.received_at, row.received_at)
    return replace(known, batch=min(known.batch, batch), received_at=earliest, came=known.came or came)


def _line(gaps: Iterable[_Gap], freeze: int, newest: float, blind: Spans) -> Line:
    line = Line()
    for first, last, behind in gaps:
        if is_within(blind, behind.asked_at):
            continue
        if behind.batch <= freeze:
            line = replace(line, restart=last)
        elif newest - behind.received_at < WAIT_SECONDS:
            return replace(line, horizon=first)
        else:
            line = replace(line, missing=line.missing + last - first + 1)
    return line


def _gaps(places: Mapping[int, _Place], repeated: Set[int]) -> Iterator[_Gap]:
    """First and last number of each stretch that has not come, and the place that shows it."""
    named = sorted(places)
    numbers = sorted({*named, *(number for number in repeated if number < named[-1])})
    for before, number in pairwise([named[0] // LINE * LINE, *numbers]):
        behind = places[named[bisect_left(named, number)]]
        last = number - (number in repeated or behind.came)
        if last > before:
            yield before + 1, last, behind
