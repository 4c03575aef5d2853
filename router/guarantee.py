"""Scores and agreements -> the threshold worth proposing. (First version; proving it is ``watch.py``.)

Rules:
 * A proposal looks at calibrating rows only, never at rows that certify.
 * It aims below the allowance, at the loss that the certifying rows to come can prove.
 * Loss counts over all queries, kept or not: bounding the error among the kept finds no threshold half of the time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

NEVER = 2.0  # a threshold above every score: everything is deferred


@dataclass(frozen=True, slots=True)
class Proposal:
    """A threshold worth proving.

    Attributes:
        threshold: Least score kept, in [0, 1], or ``NEVER``.
        expected_local_share: Of the calibrating rows, weighted, in [0, 1].
        expected_loss: Of the calibrating rows, weighted, in [0, 1].
    """

    threshold: float
    expected_local_share: float
    expected_loss: float


def propose(scores: Array, agrees: NDArray[np.bool_], weights: Array, allowance: float, aim: float = 0.35) -> Proposal:
    """The loosest threshold whose loss on the calibrating rows is at most ``aim * allowance``.

    Args:
        scores: (rows,) in [0, 1], of a student that did not train on the row.
        agrees: (rows,) whether its answer agrees with the reference's.
        weights: (rows,) one over the propensity.
        allowance: Largest loss over all queries, in (0, 1).
        aim: Share of the allowance to aim at, in (0, 1].
    """
    if not len(scores):
        return Proposal(NEVER, 0.0, 0.0)
    order = np.argsort(-scores, kind="stable")
    share = weights[order] / weights.sum()
    loss = np.cumsum(share * ~agrees[order])
    kept = np.cumsum(share)
    ends = np.append(scores[order][1:] != scores[order][:-1], True)  # a threshold keeps all rows of equal score
    fits = np.flatnonzero(ends & (loss <= aim * allowance))
    if not len(fits):
        return Proposal(NEVER, 0.0, 0.0)
    last = fits[-1]
    return Proposal(float(scores[order][last]), float(kept[last]), float(loss[last]))
