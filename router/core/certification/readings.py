"""The readings of a challenger's rows, by traffic, by devices and by new texts: the weakest one decides.

Rules:
 * By traffic every row is taken as it came: that is the population whose loss users meet.
 * By devices none gives more than its share: a flood of right answers of one hides no loss of the others.
 * By new texts only those rows are taken whose text was not asked before the freeze, all rows of a text as one piece:
   where a repertoire moves on, that is what will be asked, and how often each text was does not matter. It is left out
   where the repertoire was shown to stay.
 * All must speak against a loss of the allowance, so that the certificate holds for each, at the same alpha: a false
   one takes a false one of that reading which stands for what will be asked. New texts alone would not do: where
   commands stay after all, frequent ones may be those that are lost.
 * How rows depend on each other is measured on the first rows, again whenever there are a quarter more, and the
   strongest dependence found holds: the same rows give the same evidence, however often it is asked.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from router.core.arrays import Ints
from router.core.certification.evidence import Evidence
from router.core.certification.observations import Columns
from router.core.release.kept_texts import KeptTexts
from router.core.statistics.dependence import Dependence, dependence
from router.core.statistics.repertoire import cluster_weight

TEXT = 0  # the likeness by which a text is known again
FIRST_ROWS = 50
GROWTH = 1.25


@dataclass(frozen=True, slots=True)
class AskedBefore:
    """What was asked up to the freeze: a challenger may know it by heart.

    Attributes:
        texts: Their numbers, sorted; ``None`` where the repertoire was shown to stay.
        piece: Rows that come for each independent one of a text that is none of them, >= 1.
    """

    texts: Ints | None = field(default=None, compare=False)
    piece: float = 1.0

    @property
    def stays(self) -> bool:
        """Whether what was asked will be asked again, as often."""
        return self.texts is None


@dataclass(frozen=True, slots=True)
class Readings:
    """The readings of one state of a trial.

    Attributes:
        state: Rows observed, rows that the reading by devices leaves out, missing ones, and texts asked before.
        measured: Rows on which the dependence was measured last.
        dependence: The strongest one found.
        traffic: Every row.
        devices: The rows in which no device is ahead of its share.
        new: Those of texts that were not asked before; where the repertoire stays, every row.
    """

    state: tuple[int, tuple[int, ...], int, int]
    measured: int
    dependence: Dependence
    traffic: Evidence
    devices: Evidence
    new: Evidence

    @classmethod
    def of(
        cls,
        columns: Columns,
        apart: Sequence[int],
        before: Dependence,
        missing: int,
        known: Readings | None,
        asked: AskedBefore,
    ) -> Readings:
        """The readings of a trial.

        Args:
            columns: The rows observed.
            apart: Of them, those that the reading by devices leaves out.
            before: How rows depended on each other before the trial.
            missing: Rows that never came.
            known: The readings of the same rows, or of fewer.
            asked: What was asked up to the freeze.
        """
        rows, measured, found = len(columns.scores), 0, before
        state = (rows, tuple(apart), missing, -1 if asked.texts is None else len(asked.texts))
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
        new = traffic if asked.texts is None else _by_new_texts(columns, asked.texts, found, missing)
        return cls(state, measured, found, traffic, devices, new)

    @property
    def weight(self) -> float:
        """How many independent drawn rows the weakest reading is worth."""
        return min(one.weight for one in self._all)

    @property
    def _all(self) -> list[Evidence]:
        """Each that is no other."""
        return [self.traffic, *(one for one in (self.devices, self.new) if one is not self.traffic)]

    def at(self, threshold: float, allowance: float) -> float:
        """Natural logarithm of the bet against a loss of ``allowance``, in (0, 1), at a threshold."""
        return min(one.at(threshold, allowance) for one in self._all)

    def loosest(self, allowance: float, alpha: float) -> float:
        """The loosest threshold that all certify with 1 / alpha, ``NEVER`` where none is."""
        return max(one.loosest(allowance, alpha) for one in self._all)


def _by_new_texts(columns: Columns, asked: Ints, found: Dependence, missing: int) -> Evidence:
    """Each text is one piece, unless rows that are alike in another way make larger ones."""
    chosen = ~KeptTexts(asked).among(columns.alike[TEXT])
    _, texts = np.unique(columns.alike[TEXT][chosen], return_inverse=True)
    weights = np.asarray(np.bincount(texts, columns.weights[chosen]), np.float64)
    clusters = Dependence(max(1.0, cluster_weight(weights)), math.inf, TEXT)
    return Evidence.of(columns, chosen, max(clusters, found, key=lambda one: one.effect), missing)


def _measured_at(rows: int) -> Iterator[int]:
    count = FIRST_ROWS
    while count <= rows:
        yield count
        count = int(count * GROWTH)


def _dependence(columns: Columns, count: int) -> Dependence:
    alike = [key[:count] for key in columns.alike]
    return dependence(alike, columns.callers[:count], columns.weights[:count], columns.wrong[:count])
