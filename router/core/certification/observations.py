"""What rows say of a challenger, one by one and as columns.

Rules:
 * Rows only come: what has been read of a list is not read again.
 * A row that never came is lost at every threshold, and says nothing of what is kept.
 * Another list is read from its start.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from router.core.arrays import Array, Bools
from router.core.statistics.threshold_planning import NEVER


@dataclass(frozen=True, slots=True)
class Look:
    """What one row says of a challenger.

    Attributes:
        score: The challenger's, -inf where it has none, ``NEVER`` of a row that never came.
        wrong: Its answer differs from the reference's.
        release: That served when the row was asked.
        kept: The user got that release's answer, or would have, had the operator not had everything escalate.
        lost: Of those kept: that answer differs from the reference's.
        weight: What it counts beside a row that was drawn at the trial's rate, in (0, 1].
        label: The reference's, of a row drawn at that rate whose answers are labels; else empty.
    """

    score: float
    wrong: bool
    release: int
    kept: bool
    lost: bool = False
    weight: float = 1.0
    label: str = ""


@dataclass(frozen=True, slots=True)
class Columns:
    """Looks as arrays, (rows,) each.

    Attributes:
        source: The list that they were read from.
        scores: The challenger's.
        weights: What each counts, in (0, 1].
        wrong: Whether the challenger's answer differs.
        releases: What served when each was asked.
        kept: Whether that release's answer stayed.
        weight: The sum of the weights.
        weight_came: Of them, those of rows that came.
    """

    source: Sequence[Look]
    scores: Array
    weights: Array
    wrong: Bools
    releases: NDArray[np.int_]
    kept: Bools
    weight: float = 0.0
    weight_came: float = 0.0

    @property
    def came(self) -> Bools:
        """Which rows came."""
        return np.asarray(self.scores < NEVER)

    @classmethod
    def of(cls, looks: Sequence[Look], known: Columns | None = None) -> Columns:
        """The columns of a list; ``known`` are those made of it before, when it was not longer."""
        if known is None or known.source is not looks or len(known.scores) > len(looks):
            none = np.empty(0, np.bool_)
            known = cls(looks, np.empty(0), np.empty(0), none, np.empty(0, np.int_), none)
        return known if len(known.scores) == len(looks) else known._with(looks[len(known.scores) :])

    def _with(self, new: Sequence[Look]) -> Columns:
        scores = np.append(self.scores, [look.score for look in new])
        weights = np.append(self.weights, [look.weight for look in new])
        return Columns(
            source=self.source,
            scores=scores,
            weights=weights,
            wrong=np.append(self.wrong, [look.wrong for look in new]),
            releases=np.append(self.releases, [look.release for look in new]),
            kept=np.append(self.kept, [look.kept for look in new]),
            weight=total(weights),
            weight_came=total(weights[scores < NEVER]),
        )

    def lost(self, threshold: float) -> Bools:
        """Which rows are lost at a threshold."""
        return np.asarray(self.wrong & (self.scores >= threshold))

    def share(self, threshold: float) -> float:
        """The weight of the rows kept at a threshold as a share of those that came, in [0, 1]; 0 without rows."""
        return total(self.weights[self.came & (self.scores >= threshold)]) / (self.weight_came or 1.0)


def total(weights: Array) -> float:
    """The sum of weights (rows,), correctly rounded, so that it is the same in any order."""
    return math.fsum(weights.tolist())
