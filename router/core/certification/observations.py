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

from router.core.arrays import Array, Bools, Ints
from router.core.statistics.likeness import number_of
from router.core.statistics.threshold_planning import NEVER

KINDS = 3  # of likeness: text, answer, conversation


@dataclass(frozen=True, slots=True)
class Observation:
    """What one row says of a challenger.

    Attributes:
        score: The challenger's, -inf where it has none, ``NEVER`` of a row that never came.
        wrong: Its answer differs from the reference's.
        release: That served when the row was asked.
        kept: The user got that release's answer, or would have, had the operator not had everything escalate.
        lost: Of those kept: that answer differs from the reference's.
        weight: What it counts beside a row that was drawn, in (0, 1].
        label: The reference's, of a drawn row whose answers are labels; else empty.
        caller: Who asked.
        alike: Numbers of what the row may share with others: its text, its answer, its conversation; 0 for nothing.
            Empty where nothing is known: it is like no other.
    """

    score: float
    wrong: bool
    release: int
    kept: bool
    lost: bool = False
    weight: float = 1.0
    label: str = ""
    caller: str = ""
    alike: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Columns:
    """Observations as arrays, (rows,) each.

    Attributes:
        source: The list that they were read from.
        scores: The challenger's.
        weights: What each counts, in (0, 1].
        wrong: Whether the challenger's answer differs.
        releases: What served when each was asked.
        kept: Whether that release's answer stayed.
        callers: Who asked each, as numbers.
        alike: Of each kind of likeness, equal numbers where rows are alike.
        weight: The sum of the weights.
        weight_came: Of them, those of rows that came.
    """

    source: Sequence[Observation]
    scores: Array
    weights: Array
    wrong: Bools
    releases: NDArray[np.int_]
    kept: Bools
    callers: Ints
    alike: tuple[Ints, ...]
    weight: float = 0.0
    weight_came: float = 0.0

    @property
    def came(self) -> Bools:
        """Which rows came."""
        return np.asarray(self.scores < NEVER)

    @classmethod
    def of(cls, observations: Sequence[Observation], known: Columns | None = None) -> Columns:
        """The columns of a list; ``known`` are those made of it before, when it was not longer."""
        if known is None or known.source is not observations or len(known.scores) > len(observations):
            none = np.empty(0, np.bool_)
            whole = np.empty(0, np.int64)
            known = cls(
                observations, np.empty(0), np.empty(0), none, np.empty(0, np.int_), none, whole, (whole,) * KINDS
            )
        return known if len(known.scores) == len(observations) else known._with(observations[len(known.scores) :])

    def _with(self, new: Sequence[Observation]) -> Columns:
        scores = np.append(self.scores, [observation.score for observation in new])
        weights = np.append(self.weights, [observation.weight for observation in new])
        return Columns(
            source=self.source,
            scores=scores,
            weights=weights,
            wrong=np.append(self.wrong, [observation.wrong for observation in new]),
            releases=np.append(self.releases, [observation.release for observation in new]),
            kept=np.append(self.kept, [observation.kept for observation in new]),
            callers=np.append(self.callers, [number_of(observation.caller) for observation in new]),
            alike=tuple(
                np.append(
                    known, [_alike(observation, kind, -1 - row) for row, observation in enumerate(new, len(known))]
                )
                for kind, known in enumerate(self.alike)
            ),
            weight=total(weights),
            weight_came=total(weights[scores < NEVER]),
        )

    def lost(self, threshold: float) -> Bools:
        """Which rows are lost at a threshold."""
        return np.asarray(self.wrong & (self.scores >= threshold))

    def share(self, threshold: float) -> float:
        """The weight of the rows kept at a threshold as a share of those that came, in [0, 1]; 0 without rows."""
        return total(self.weights[self.came & (self.scores >= threshold)]) / (self.weight_came or 1.0)

    def share_met(self, release: int, least: int) -> float | None:
        """The share of the rows that met a release which it kept; ``None`` where fewer than ``least`` met it."""
        met = self.releases == release
        return None if met.sum() < least else total(self.weights[met & self.kept]) / total(self.weights[met])


def weight_above(scores: Array, weights: Array, thresholds: Sequence[float]) -> Array:
    """The weight of the scores that reach each threshold."""
    order = np.argsort(scores, kind="stable")
    below = np.concatenate([[0.0], np.cumsum(weights[order])])
    return np.asarray(below[-1] - below[np.searchsorted(scores[order], thresholds, side="left")])


def _alike(observation: Observation, kind: int, alone: int) -> int:
    return observation.alike[kind] or alone if observation.alike else alone


def total(weights: Array) -> float:
    """The sum of weights (rows,), correctly rounded, so that it is the same in any order."""
    return math.fsum(weights.tolist())
