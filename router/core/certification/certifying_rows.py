"""Which rows of the log a trial may look at next, and what one row says of a student.

Rules:
 * No row is chosen by its outcome: only by its draw, its device, its batch, and whether a certificate looked at it.
 * Rows drawn at a higher rate than the trial's are thinned to it; those drawn at a lower one stay out.
 * No device gives more than its share of the rows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Protocol

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
    def counts(self) -> Counter[str]:
        """How many rows of each device it has looked at."""

    @property
    def looked(self) -> set[Key]:
        """The keys of the rows looked at."""


def certifying(rows: Sequence[tuple[int, Record]], trial: Trying, spent: set[Key]) -> list[Record]:
    """The rows that a trial may look at next, in their order.

    Args:
        rows: Pairs of batch and current record, in the log's order.
        trial: The challenger's.
        spent: Keys that a certificate has looked at.
    """
    at_hand = [row for batch, row in rows if _may_certify(batch, row, trial, spent)]
    return shared_fairly(at_hand, trial.counts, heard_lately(row for _, row in reversed(rows)))


def _may_certify(batch: int, row: Record, trial: Trying, spent: set[Key]) -> bool:
    if row.key in spent or row.key in trial.looked:
        return False
    if counts_for_certain(row):
        return batch > trial.freeze and row.exploration >= trial.rate - _ROUNDING
    if not may_certify(row) or (batch <= trial.freeze and not is_set_aside(row.caller, row.query_id)):
        return False
    return is_kept_by_thinning(row, trial.rate)


def counts_for_certain(row: Record) -> bool:
    """Whether a row is looked at without a draw, at a weight of its own: what is set aside goes by the draw alone."""
    return had_to_be_asked(row) and not is_set_aside(row.caller, row.query_id)


def weight_of(row: Record, rate: float) -> float:
    """What a row counts beside one that was drawn at ``rate``: a row that is always there stands for one query."""
    return rate if counts_for_certain(row) else 1.0


def is_kept_by_thinning(row: Record, rate: float) -> bool:
    """Whether an explored row stays when rows drawn at a higher rate are thinned to ``rate``, in (0, 1]."""
    return (
        row.exploration >= rate - _ROUNDING and unit_interval("thin", row.caller, row.query_id) < rate / row.exploration
    )


def drawn_of(rows: Iterable[Record], proof: Certificate) -> list[Record]:
    """Of the rows that a certificate looked at, those drawn, thinned to its rate: they stand for all queries alike."""
    drawn = [row for row in rows if may_certify(row)]
    return drawn if proof.rate is None else [row for row in drawn if is_kept_by_thinning(row, proof.rate)]


def said_by_student(student: DeviceStudent, row: Record) -> tuple[float, str]:
    """The student's score and answer to a row; what it has no score for, or can't read whole, it defers: ``-inf``."""
    try:
        judged = student.judge(query_of(row))
    except BadInputError:
        return -math.inf, ""
    return (-math.inf if judged.score is None else judged.score), judged.answer
