"""How far a score can be believed: its ranking of agreements, and how often each score is right.

Rules:
 * Every row counts with its weight; a weight of two is the row twice.
 * Bins hold equal weight, so that a crowd of confident answers is looked at closely.
"""

from __future__ import annotations

import numpy as np

from router.core.arrays import Array, Bools

BINS = 15  # of the reliability curve, of equal weight


def calibration_error(scores: Array, agrees: Bools, weights: Array) -> float:
    """Expected calibration error over bins of equal weight, in [0, 1].

    Args:
        scores: (rows,) in [0, 1].
        agrees: (rows,).
        weights: (rows,) > 0.
    """
    return float(sum(share * abs(said - was) for share, said, was in reliability_curve(scores, agrees, weights)))


def reliability_curve(scores: Array, agrees: Bools, weights: Array) -> list[tuple[float, float, float]]:
    """The reliability of each bin of rows, low scores first: its share, its mean score, its agreement, each in [0, 1].

    Args:
        scores: (rows,) in [0, 1]; what has none, ``-inf``, is left out.
        agrees: (rows,).
        weights: (rows,) > 0.
    """
    scored = np.isfinite(scores)
    scores, agrees, weights = scores[scored], agrees[scored], np.asarray(weights)[scored]
    if not len(scores):
        return []
    order = np.argsort(scores, kind="stable")
    share = np.asarray(weights, np.float64)[order] / np.sum(weights)
    bins = np.minimum((np.cumsum(share) - share / 2) * BINS, BINS - 1).astype(int)
    curve = []
    for number in range(BINS):
        rows = bins == number
        if rows.any():
            part = share[rows]
            said = float(np.average(scores[order][rows], weights=part))
            curve.append((float(part.sum()), said, float(np.average(agrees[order][rows], weights=part))))
    return curve


def ranking(signal: Array, agrees: Bools, weights: Array) -> float:
    """Chance that a row that agrees has the higher signal than one that does not (weighted AUROC), in [0, 1].

    Args:
        signal: (rows,) any scale.
        agrees: (rows,) of both kinds, or 0.5 is returned.
        weights: (rows,) >= 0.
    """
    values, position = np.unique(signal, return_inverse=True)
    good = np.bincount(position, weights=weights * agrees, minlength=len(values))
    bad = np.bincount(position, weights=weights * ~agrees, minlength=len(values))
    if not good.sum() or not bad.sum():
        return 0.5
    below = np.cumsum(bad) - bad
    return float((good * (below + bad / 2)).sum() / (good.sum() * bad.sum()))
