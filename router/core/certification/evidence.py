"""What rows say against a loss of the allowance, piece by piece: alike rows that come together make one bet.

Rules:
 * A piece of evidence is one bet with a stake of at most 1, shared by its rows; where nothing depends on anything, each
   row is a piece.
 * Each row counts as much as any other of its weight, whatever the size of its cluster, so that the loss is that of all
   queries, and a command that is repeated when it goes wrong is not counted once.
 * A looser threshold loses no less, so that evidence falls with each loss, and is read off in one pass.
 * A row that never came is a piece of its own, and lost.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from router.core.arrays import Array, Bools
from router.core.certification.observations import Columns, total
from router.core.statistics.dependence import Dependence, pieces
from router.core.statistics.e_process import ALTERNATIVES, log_factors, log_mixture
from router.core.statistics.threshold_planning import NEVER


@dataclass(frozen=True, slots=True)
class Evidence:
    """The rows of one reading.

    Attributes:
        scores: (rows,) of the challenger.
        wrong: (rows,) whether its answer differs.
        stakes: (rows,) what each adds to its piece's stake, in (0, 1].
        pieces: (rows,) the number of its piece.
        missing: Rows that never came.
    """

    scores: Array
    wrong: Bools
    stakes: Array
    pieces: NDArray[np.intp]
    missing: int

    @classmethod
    def of(cls, columns: Columns, chosen: Bools, dependence: Dependence, missing: int) -> Evidence:
        """The evidence in some rows.

        Args:
            columns: The rows observed.
            chosen: (rows,) which of them this reading takes.
            dependence: How many of them are one piece.
            missing: Rows that never came.
        """
        weights, most = columns.weights[chosen], dependence.piece
        if most <= 1.0:
            alone = np.arange(len(weights))
            return cls(columns.scores[chosen], columns.wrong[chosen], weights, alone, missing)
        numbers = pieces(columns.alike[dependence.kind][chosen], weights, most)
        stakes = weights / most
        too_much = np.maximum(np.bincount(numbers, stakes), 1.0) if len(numbers) else stakes
        return cls(columns.scores[chosen], columns.wrong[chosen], stakes / too_much[numbers], numbers, missing)

    @property
    def weight(self) -> float:
        """How many independent drawn rows they are worth."""
        return total(self.stakes) + self.missing

    def at(self, threshold: float, allowance: float) -> float:
        """Natural logarithm of the bet against a loss of ``allowance``, in (0, 1), at a threshold."""
        count = int(self.pieces.max(initial=-1)) + 1
        stakes = _sums(self.pieces, self.stakes, count)
        lost = _sums(self.pieces, self.stakes * (self.wrong & (self.scores >= threshold)), count)
        terms = _log_bets(stakes, lost, allowance).sum(axis=1) + self._log_missed(allowance)
        return float(log_mixture(terms))

    def loosest(self, allowance: float, alpha: float) -> float:
        """The loosest threshold whose loss they speak against with 1 / alpha, ``NEVER`` where none is."""
        stakes = _sums(self.pieces, self.stakes, int(self.pieces.max(initial=-1)) + 1)
        rows = np.flatnonzero(self.wrong)
        rows = rows[np.argsort(-self.scores[rows], kind="stable")]  # lost one after the other as thresholds loosen
        after = _running_sum(self.stakes[rows], self.pieces[rows])
        whole = stakes[self.pieces[rows]]
        before, after = np.maximum(after - self.stakes[rows], 0.0), np.minimum(after, whole)
        worse = _log_bets(whole, after, allowance) - _log_bets(whole, before, allowance)
        well = _log_bets(stakes, np.zeros_like(stakes), allowance).sum(axis=1, keepdims=True)
        falls = np.concatenate([np.zeros((len(ALTERNATIVES), 1)), np.cumsum(worse, axis=1)], axis=1)
        terms = well + falls + self._log_missed(allowance)[:, None]
        most = int((log_mixture(terms) >= -math.log(alpha)).sum()) - 1
        if most < 0:
            return NEVER
        bound = float(self.scores[rows[most]]) if most < len(rows) else -math.inf
        return float(np.min(self.scores[self.scores > bound], initial=NEVER))

    def _log_missed(self, allowance: float) -> Array:
        """(alternatives,) what the missing rows add to the logarithm of each bet."""
        return np.asarray(self.missing * log_factors(allowance, np.ones(1))[1][:, 0])


def _sums(groups: NDArray[np.intp], values: Array, count: int) -> Array:
    """(count,) the sum of the values of each group."""
    return np.asarray(np.bincount(groups, values, count), np.float64)


def _log_bets(stakes: Array, lost: Array, allowance: float) -> Array:
    """(alternatives, pieces) natural logarithm of each piece's bet; of its stake in [0, 1] so much is lost."""
    bets = (1.0 - np.array(ALTERNATIVES)[:, None]) / (1.0 - allowance)
    return np.asarray(np.log1p(bets * (stakes * allowance - lost)))


def _running_sum(values: Array, groups: NDArray[np.intp]) -> Array:
    """(values,) the sum of those of the same group up to each, itself included."""
    order = np.argsort(groups, kind="stable")
    ranked, summed = groups[order], np.cumsum(values[order])
    first = np.append(True, ranked[1:] != ranked[:-1])[: len(ranked)]
    start = np.maximum.accumulate(np.where(first, summed - values[order], 0.0)) if len(ranked) else summed
    found = np.empty(len(values))
    found[order] = summed - start
    return found
