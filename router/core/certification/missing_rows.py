"""Missing rows: what a device kept and has not sent. What escalates comes at once, what was kept comes later, or never.

A device numbers the drawn queries of a task that it keeps, and names the last number with every query that it sends. So
the log knows of each row what was kept before it, and what of that has come. Its numbers go on from one start to the
next; after a kill, or in another folder, it begins another sequence, at a multiple of ``SEQUENCE_LENGTH``.

Rules:
 * A row is observed once all that its device kept before it has come. Whether it has does not depend on what it says.
 * What has not come an hour after a row that follows it counts as lost, for a challenger whose freeze is before it.
 * Of before the freeze, the rows after the last one missing are observed.
 * Rows asked while the watch was blind say nothing, and what is missing from that time is not missed.
 * The same holds for one device while two agents report under its name.
 * A number whose query the log had before has come, though its row was not taken in again.
 * Rows without a number, those of older agents, are observed as they come.
 * A number is a claim: how many rows are missing is counted, whatever the size of a gap, and bounded by
   ``DeviceSequences.missed``.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Self

from router.core.certification.device_shares import share_left
from router.core.domain.record import Record, Source

WAIT_SECONDS = 3600.0
MOST_PER_SECOND = 100  # drawn queries of one task that a device keeps
MOST_AT_ONCE = 1000  # beside these: before its first row came
SEQUENCE_LENGTH = 1_000_000  # numbers of one sequence

Rows = Sequence[tuple[int, Record]]  # batch and record, in the log's order
Spans = Sequence[tuple[float, float]]  # from and until, Unix times in seconds
SequenceKey = tuple[str, int]  # a device, and which of its sequences
_NO_TWINS: Mapping[str, Spans] = {}


@dataclass(frozen=True, slots=True)
class NumberSequence:
    """Where the rows of one sequence of a device stand, for one challenger.

    Attributes:
        restart: Least number that may be observed.
        horizon: Numbers from here on wait for what comes before them.
        missing: How many kept rows since the freeze never came.
    """

    restart: int = 0
    horizon: float = math.inf
    missing: int = 0

    def has_settled(self, number: int) -> bool:
        """Whether all that was kept before a row of this number has come or is given up; 0 for no number."""
        return not number or self.restart <= number < self.horizon


@dataclass(frozen=True, slots=True)
class _Named:
    """A number that was named: by which batch, when received and asked first, and whether the kept row itself came."""

    number: int
    batch: int
    received_at: float
    asked_at: float
    came: bool

    def joined(self, other: _Named) -> _Named:
        """The same number, named twice."""
        earliest = min(self.received_at, other.received_at)
        came = self.came or other.came
        return replace(self, batch=min(self.batch, other.batch), received_at=earliest, came=came)


@dataclass(frozen=True, slots=True)
class _Gap:
    """Numbers from ``first`` on that have not come, and the number that shows it."""

    first: int
    behind: _Named

    @property
    def last(self) -> int:
        """The last of these numbers; below the first where none is missing."""
        return self.behind.number - self.behind.came

    def stretches(self, repeated: Set[int]) -> Iterator[tuple[int, int]]:
        """First and last number of each stretch between numbers that the log had before."""
        first = self.first
        for number in sorted(one for one in repeated if first <= one <= self.last):
            if number > first:
                yield first, number - 1
            first = number + 1
        if self.last >= first:
            yield first, self.last


@dataclass(slots=True)
class _OpenSequence:
    """One sequence of a device: the last number named, and what is missing before it, in order."""

    last: int
    gaps: list[_Gap] = field(default_factory=list)

    def name(self, named: _Named) -> None:
        """A row names a number. What lies between two gaps has come, and needs no memory."""
        if named.number > self.last:
            at, parts = len(self.gaps), [_Gap(self.last + 1, named)]
            self.last = named.number
        else:
            at = bisect_left(self.gaps, named.number, key=lambda gap: gap.behind.number)
            if at == len(self.gaps) or self.gaps[at].first > named.number:
                return
            gap = self.gaps[at]
            if named.number == gap.behind.number:
                parts = [_Gap(gap.first, gap.behind.joined(named))]
            else:
                parts = [_Gap(gap.first, named), _Gap(named.number + 1, gap.behind)]
        self.gaps[at : at + 1] = [part for part in parts if part.last >= part.first]


class DeviceSequences:
    """The sequences of the devices that number their rows. They grow with what is missing, not with the log."""

    def __init__(self) -> None:
        """No row has come yet."""
        self._sequences: dict[SequenceKey, _OpenSequence] = {}
        self._times: dict[str, tuple[float, float]] = {}  # of each device: received first, and last
        self._newest = -math.inf

    @classmethod
    def of(cls, rows: Rows) -> Self:
        """The sequences of all of a task's rows, whatever their version."""
        found = cls()
        for batch, row in rows:
            found.take(batch, row)
        return found

    def take(self, batch: int, row: Record) -> None:
        """Take in the next row of the task, whatever its version: a sequence goes on over versions."""
        at = row.received_at
        self._newest = max(self._newest, at)
        first, last = self._times.get(row.caller, (at, at))
        self._times[row.caller] = (min(first, at), max(last, at))
        if row.sequence_number:
            key = _sequence_of(row)
            sequence = self._sequences.setdefault(key, _OpenSequence(key[1] * SEQUENCE_LENGTH))
            sequence.name(_Named(row.sequence_number, batch, at, row.asked_at, is_kept_row(row)))

    def latest_of(self, device: str) -> float:
        """The latest Unix time in seconds at which a row of a device was received, ``-inf`` without any."""
        return self._times.get(device, (-math.inf, -math.inf))[1]

    def sequences(
        self,
        freeze: int,
        blind: Spans = (),
        repeats: Set[tuple[str, int]] = frozenset(),
        twins: Mapping[str, Spans] = _NO_TWINS,
    ) -> dict[SequenceKey, NumberSequence]:
        """Where each sequence stands for a challenger.

        Args:
            freeze: Last batch that the challenger may have learned from.
            blind: When the watch was blind.
            repeats: Devices and numbers of kept rows that the log had before.
            twins: When each device had twins, which is as if the watch had been blind to it.
        """
        again: dict[SequenceKey, set[int]] = {}
        for caller, number in repeats:
            again.setdefault((caller, number // SEQUENCE_LENGTH), set()).add(number)
        return {
            key: self._sequence(sequence, freeze, again.get(key, set()), (*blind, *twins.get(key[0], ())))
            for key, sequence in self._sequences.items()
        }

    def _sequence(self, open_sequence: _OpenSequence, freeze: int, repeated: Set[int], blind: Spans) -> NumberSequence:
        sequence = NumberSequence()
        for gap in open_sequence.gaps:
            if is_within(blind, gap.behind.asked_at):
                continue
            for first, last in gap.stretches(repeated):
                if gap.behind.batch <= freeze:
                    sequence = replace(sequence, restart=last)
                elif self._newest - gap.behind.received_at < WAIT_SECONDS:
                    return replace(sequence, horizon=first)
                else:
                    sequence = replace(sequence, missing=sequence.missing + last - first + 1)
        return sequence

    def missed(
        self, sequences: Mapping[SequenceKey, NumberSequence], observed: Counter[str], heard: frozenset[str]
    ) -> int:
        """How many rows that never came count as lost.

        Of a device no more than it can have kept since its first row came, and no more than its share
        of what is observed: beyond that its rows would not be observed either.

        Args:
            sequences: Where they stand.
            observed: Rows of each device that were.
            heard: The devices heard of lately.
        """
        missing: Counter[str] = Counter()
        for (device, _), sequence in sequences.items():
            missing[device] += sequence.missing
        found = 0
        for device, count in (+missing).items():
            first, last = self._times[device]
            found += min(count, most_kept(last - first), share_left(device, observed, heard))
        return found


def settled(rows: Rows, sequences: Mapping[SequenceKey, NumberSequence], blind: Spans = ()) -> list[tuple[int, Record]]:
    """The rows that may be observed now: nothing is awaited before them, and the watch was not blind."""
    free = NumberSequence()
    return [
        (batch, row)
        for batch, row in rows
        if sequences.get(_sequence_of(row), free).has_settled(row.sequence_number)
        and not is_within(blind, row.asked_at)
    ]


def most_kept(seconds: float) -> int:
    """How many drawn queries of a task a device can have kept in a time, at the most."""
    return int(MOST_AT_ONCE + MOST_PER_SECOND * seconds)


def _sequence_of(row: Record) -> SequenceKey:
    return row.caller, row.sequence_number // SEQUENCE_LENGTH


def is_within(spans: Spans, at: float) -> bool:
    """Whether a Unix time in seconds lies in one of the spans."""
    return any(first <= at < last for first, last in spans)


def is_kept_row(row: Record) -> bool:
    """Whether a row is that of a drawn query that was kept: its number is its own, not that of the one before."""
    return row.source is Source.TAUGHT and row.kept and not row.degraded


def set_apart(record: Record, twins: Mapping[str, Spans]) -> Record:
    """The record, not under the promise where its device had twins then: nobody can tell which of the two asked.

    By the time of asking, and by that of coming: what an agent kept before it was heard of may come afterwards. No
    outcome has a say in it, and what was answered still teaches.

    Args:
        record: As it stands in the log.
        twins: When each device had twins, in Unix seconds.
    """
    spans = twins.get(record.caller, ())
    if record.covered and (is_within(spans, record.asked_at) or is_within(spans, record.received_at)):
        return replace(record, covered=False)
    return record
