"""The two readings of a challenger's rows, by traffic and by devices: the weaker one decides.

Rules:
 * By traffic every row is taken as it came: that is the population whose loss users meet.
 * By devices none gives more than its share: a flood of right answers of one hides no loss of the others.
 * Both must speak against a loss of the allowance, so that the certificate holds for both, at the same alpha.
 * How rows depend on each other is measured on the first rows, again whenever there are a quarter more, and the
   strongest dependence found holds: the same rows give the same evidence, however often it is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from router.core.certification.evidence import Evidence
from router.core.certification.observations import Columns
from router.core.statistics.dependence import Dependence, dependence

FIRST_ROWS = 50
GROWTH = 1.25


@dataclass(frozen=True, slots=True)
class Readings:
    """The two readings of one state of a trial.

    Attributes:
        state: Rows observed, rows that the reading by devices leaves out, and missing ones.
        measured: Rows on which the dependence was measured last.
        dependence: The strongest one found.
        traffic: Every row.
        devices: The rows in which no device is ahead of its share.
    """

    state: tuple[int, tuple[int, ...], int]
    measured: int
    dependence: Dependence
    traffic: Evidence
    devices: Evidence

    @classmethod
    def of(
        cls, columns: Columns, apart: Sequence[int], before: Dependence, missing: int, known: Readings | None
    ) -> Readings:
        """The readings of a trial.

        Args:
            columns: The rows observed.
            apart: Of them, those that the reading by devices leaves out.
            before: How rows depended on each other before the trial.
            missing: Rows that never came.
            known: The readings of the same rows, or of fewer.
        """
        rows, measured, found = len(columns.scores), 0, before
        state = (rows, tuple(apart), missing)
        if known is not None and known.state[0] <= rows:
            if known.state == state:
                return known
            measured, found = known.measured, known.dependence
        for count in _measured_at(rows):
            if count > measured:
                measured, found = count, max(found, _dependence(columns, count), key=lambda one: one.effect)
        every = np.ones(rows, np.bool_)
        traffic = Evidence.of(columns, every, found, missing)
        every[list(apart)] = False
        devices = Evidence.of(columns, every, found, missing) if apart else traffic
        return cls(state, measured, found, traffic, devices)

    @property
    def weight(self) -> float:
        """How many independent drawn rows the weaker reading is worth."""
        return min(self.traffic.weight, self.devices.weight)

    def at(self, threshold: float, allowance: float) -> float:
        """Natural logarithm of the bet against a loss of ``allowance``, in (0, 1), at a threshold."""
        traffic = self.traffic.at(threshold, allowance)
        return traffic if self.devices is self.traffic else min(traffic, self.devices.at(threshold, allowance))

    def loosest(self, allowance: float, alpha: float) -> float:
        """The loosest threshold that both certify with 1 / alpha, ``NEVER`` where none is."""
        traffic = self.traffic.loosest(allowance, alpha)
        return traffic if self.devices is self.traffic else max(traffic, self.devices.loosest(allowance, alpha))


def _measured_at(rows: int) -> Iterator[int]:
    count = FIRST_ROWS
    while count <= rows:
        yield count
        count = int(count * GROWTH)


def _dependence(columns: Columns, count: int) -> Dependence:
    alike = [key[:count] for key in columns.alike]
    return dependence(alike, columns.callers[:count], columns.weights[:count], columns.wrong[:count])
