"""Which rows of the log a trial may observe next, and what one row says of a student.

Rules:
 * No row is chosen by its outcome: only by its draw, its device, its batch, and whether a certificate observed it.
 * A query counts by the exploration rate that was in force when it was asked, which follows from rows before it: drawn,
   it counts in full, and one that is there without a draw as much as that rate. So at any moment every query has the
   same chance times weight, whatever the rate does, and a bet on its loss stays a fair one.
 * Rows drawn at a lower rate than the trial's stay out. Those of before the freeze that were drawn at a higher one are
   thinned to it: what was asked long ago counts no more than what is asked while the challenger waits.
 * No device gives more than its share of the rows.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterable, Sequence, Set
from typing import Protocol, Self

import numpy as np

from router.core.arrays import Bools
from router.core.certification.device_shares import heard_lately, shared_fairly
from router.core.domain.prediction import DeviceStudent
from router.core.domain.record import Record, had_to_be_asked, is_set_aside, may_certify, unit_interval
from router.core.errors import BadInputError
from router.core.learning.training_rows import Key, query_of
from router.core.statistics.e_process import Certificate

_ROUNDING = 1e-9


class Trying(Protocol):
    """What the choice of rows needs to know of a trial."""

    @property
    def rate(self) -> float:
        """Lowest exploration rate whose rows count, in [0, 1]."""

    @property
    def freeze(self) -> int:
        """Last batch of the log that the challenger may have learned from."""

    @property
    def after(self) -> int:
        """Batch of the log after which all its rows come, -1 for none."""

    @property
    def earliest(self) -> float:
        """Unix time in seconds: rows asked before it say nothing."""

    @property
    def counts(self) -> Counter[str]:
        """How many rows of each device it has observed."""

    @property
    def observed(self) -> Set[Key]:
        """The keys of the rows observed."""


class CertifyingRows:
    """Rows that a trial may still observe, in the log's order, with what chooses among them as columns.

    It holds the latest ``most`` of them. Which ones are forgotten depends on their age alone, never on what they say,
    so that those which stay are as good a sample as all were.
    """

    def __init__(self, most: int = sys.maxsize) -> None:
        """None yet, and never more than ``most``."""
        self._most = most
        self._rows: list[tuple[int, Record]] = []
        self._facts = np.empty(0, _FACTS)

    @classmethod
    def of(cls, rows: Iterable[tuple[int, Record]]) -> Self:
        """The rows of some pairs of batch and record."""
        held = cls()
        held.add(rows)
        return held

    def __len__(self) -> int:
        """How many there are."""
        return len(self._rows)

    def add(self, rows: Iterable[tuple[int, Record]]) -> None:
        """Hold more rows; what may certify no trial is left out.

        Args:
            rows: Pairs of batch and current record that no certificate has observed, in the log's order.
        """
        new = [(batch, row) for batch, row in rows if may_certify(row) or counts_for_certain(row)]
        if new:
            facts = np.array([_facts_of(batch, row) for batch, row in new], _FACTS)
            self._rows = (self._rows + new)[-self._most :]
            self._facts = np.concatenate([self._facts, facts])[-self._most :]

    def remove(self, keys: Set[Key]) -> None:
        """Forget rows that a certificate has observed."""
        self._keep(np.array([row.key not in keys for _, row in self._rows], np.bool_))

    def only_set_aside(self) -> None:
        """Forget the rows that no later trial may observe: those that teach it."""
        self._keep(self._facts["set_aside"] & ~self._facts["certain"])

    def _keep(self, stays: Bools) -> None:
        if not stays.all():
            self._rows = [pair for pair, stay in zip(self._rows, stays.tolist(), strict=True) if stay]
            self._facts = self._facts[stays]

    @property
    def rows(self) -> list[Record]:
        """The rows, in the log's order."""
        return [row for _, row in self._rows]

    def at_hand(self, trial: Trying) -> list[tuple[int, Record]]:
        """Pairs of batch and record that a trial may observe, whatever its devices' shares."""
        facts = self._facts
        is_late, is_drawn_enough = facts["batch"] > trial.freeze, facts["exploration"] >= trial.rate - _ROUNDING
        thinned = facts["thin"] < trial.rate / np.maximum(facts["exploration"], _ROUNDING)
        is_apart = (facts["asked_at"] >= trial.earliest) & (facts["batch"] > trial.after)
        chosen = is_apart & is_drawn_enough & (is_late | facts["set_aside"] & ~facts["certain"] & thinned)
        return [self._rows[position] for position in np.flatnonzero(chosen)]


_FACTS = np.dtype(
    [
        ("batch", np.int64),
        ("asked_at", np.float64),
        ("exploration", np.float64),
        ("thin", np.float64),
        ("certain", "?"),
        ("set_aside", "?"),
    ]
)


def _facts_of(batch: int, row: Record) -> tuple[int, float, float, float, bool, bool]:
    return (
        batch,
        row.asked_at,
        row.exploration,
        _thin(row),
        counts_for_certain(row),
        is_set_aside(row.caller, row.query_id),
    )


def certifying(rows: Sequence[tuple[int, Record]], trial: Trying, spent: Set[Key]) -> list[Record]:
    """The rows of a list that a trial may observe next, such that no device gives more than its share.

    Args:
        rows: Pairs of batch and current record, in the log's order.
        trial: The challenger's.
        spent: Keys that a certificate has observed.
    """
    held = CertifyingRows.of((batch, row) for batch, row in rows if row.key not in trial.observed | spent)
    heard = heard_lately(row for _, row in reversed(rows))
    return shared_fairly([row for _, row in held.at_hand(trial)], trial.counts, heard)


def counts_for_certain(row: Record) -> bool:
    """Whether a row is observed without a draw, at a weight of its own: what is set aside goes by the draw alone."""
    return had_to_be_asked(row) and not is_set_aside(row.caller, row.query_id)


def weight_of(row: Record) -> float:
    """What a row counts beside a drawn one, in [0, 1]: one that is always there as much as such are drawn."""
    return row.exploration if counts_for_certain(row) else 1.0


def is_kept_by_thinning(row: Record, rate: float) -> bool:
    """Whether an explored row stays when rows drawn at a higher rate are thinned to ``rate``, in (0, 1]."""
    return row.exploration >= rate - _ROUNDING and _thin(row) < rate / max(row.exploration, _ROUNDING)


def _thin(row: Record) -> float:
    """A row's draw in [0, 1) that thins rows of one rate to a lower one."""
    return unit_interval("thin", row.caller, row.query_id)


def drawn_of(rows: Iterable[Record], proof: Certificate) -> list[Record]:
    """The drawn rows, of those that a certificate observed, thinned to its rate: they stand for all queries alike."""
    drawn = [row for row in rows if may_certify(row)]
    return drawn if proof.rate is None else [row for row in drawn if is_kept_by_thinning(row, proof.rate)]


def said_by_student(student: DeviceStudent, row: Record) -> tuple[float, str]:
    """The student's score and answer to a row; what it has no score for, or can't read whole, it defers: ``-inf``."""
    try:
        prediction = student.predict(query_of(row))
    except BadInputError:
        return -math.inf, ""
    return (-math.inf if prediction.score is None else prediction.score), prediction.answer


def within_patience(rows: Iterable[Record], weight: float) -> list[Record]:
    """The first of some rows, until they are worth ``weight`` drawn ones."""
    found: list[Record] = []
    for row in rows:
        if weight <= 0:
            break
        found.append(row)
        weight -= weight_of(row)
    return found
