"""The repertoire: whether its texts stay, or come, are asked for a while, and go: a repertoire that moves on.

A student knows by heart what it was taught. Where commands stay that counts, since they will be asked again. Where a
repertoire moves on, what is asked soon after the rows that taught is known to the student, and what will be asked later
is not: near rows flatter, and repeats of a text are one piece of evidence, since the text's fate decides them all.

In a window that is no longer than a text's life its repeats look like those of a frequent command: how near alike rows
are to each other does not tell. What tells is *when* a text was asked, all its times together. Where commands stay, the
order of asking has nothing to do with the texts, so that every order of the same queries is as likely; the share of
the variance of the ranks of time that the texts explain then has a known mean and variance (Kruskal and Wallis, 1952,
"Use of ranks in one-criterion variance analysis"; Kruskal, 1952, "A nonparametric test for the several sample
problem"). It has both however the frequencies are spread: a command that makes half of the traffic at all times
explains nothing.

Rules:
 * It is for the repertoire to be shown to stay: too few rows show nothing, and count as one that moves on.
 * What one device asks several times in a row is one visit: such runs say nothing of how long a text lives.
 * Texts that are not repeated can't flatter, so that the share is one of all rows, not of the repeated ones.
 * No outcome has a say in it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from router.core.arrays import Array, Bools, Ints

MOST_EXPLAINED = 0.05  # of the variance of time: texts that live for ten windows explain less, and cost less to mistake
SURE = 2.0  # standard errors by which it is shown to be less


@dataclass(frozen=True, slots=True)
class Repertoire:
    """What repeats say of the texts to come.

    Attributes:
        stays: Texts were shown to be asked again and again, or hardly repeated.
        piece: Rows that come for each independent one of a text that was not asked before, >= 1.
    """

    stays: bool = False
    piece: float = 1.0


def repertoire_of(texts: Ints, rows: Ints) -> Repertoire:
    """Whether a repertoire stays.

    Args:
        texts: (visits,) in the order of asking: equal numbers are alike. Each query has the same chance to be among
            them, whatever its text.
        rows: (visits,) of each, > 0.
    """
    explained, error = explained_by_texts(texts)
    most = max(explained, 0.0) + SURE * error  # what explains less than chance is no better known for that
    return Repertoire(len(texts) > 0 and most <= MOST_EXPLAINED, _piece(texts, rows))


def lasting_share(texts: Ints, weights: Array, ahead: float) -> float:
    """How much of what is asked of known texts still will be, on average over a time to come, in [0, 1].

    By how much less each quarter asks of the texts known at the end of the last but one than the quarter before it did:
    so much is taken to be lost in each quarter to come. It is for weighing what to prove, and no proof.

    Args:
        texts: (rows,) in the order of asking: equal numbers are alike.
        weights: (rows,) queries for which each stands, > 0.
        ahead: That time, in times of the whole, > 0.
    """
    if not len(texts):
        return 1.0
    quarters = (4 * (np.cumsum(weights) - weights / 2) / weights.sum()).astype(int)  # by the middle of each row
    before = after = 0.0
    for known in (0, 1):
        asked = np.isin(texts, np.unique(texts[quarters <= known])) * weights
        shares = [_share(asked, weights, quarters == quarter) for quarter in range(known + 1, 4)]
        before, after = before + math.fsum(shares[:-1]), after + math.fsum(shares[1:])
    return lasting(before, after, 4.0 * ahead)


def lasting(before: float, after: float, ahead: float) -> float:
    """The average, over a time to come, of what falls in each step as it fell from one to the other, of what it is now.

    Args:
        before: >= 0.
        after: One step later, >= 0.
        ahead: Steps to come, > 0.
    """
    if after >= before:
        return 1.0
    lost = ahead * (math.inf if after <= 0 else -math.log(after / before))
    return -math.expm1(-lost) / lost


def _share(part: Array, weights: Array, chosen: Bools) -> float:
    whole = float(weights[chosen].sum())
    return float(part[chosen].sum()) / whole if whole > 0 else 0.0


def explained_by_texts(texts: Ints) -> tuple[float, float]:
    """The share of the variance of time that the texts explain beyond chance, and its standard error under chance.

    Args:
        texts: (visits,) in the order of asking.
    """
    visits = len(texts)
    _, groups, counts = np.unique(texts, return_inverse=True, return_counts=True)
    kinds = len(counts)
    if kinds in {visits, 1}:  # nothing is repeated, or nothing else is ever asked
        return 0.0, 0.0
    sums = np.bincount(groups, np.arange(1.0, visits + 1.0))
    explained = 12.0 / (visits * (visits + 1.0)) * float((sums**2 / counts).sum()) - 3.0 * (visits + 1.0)
    among = 3.0 * kinds**2 - 6.0 * kinds + visits * (2.0 * kinds**2 - 6.0 * kinds + 1.0)
    small = 1.2 * float((1.0 / counts).sum())
    variance = 2.0 * (kinds - 1.0) - 2.0 * among / (5.0 * visits * (visits + 1.0)) - small
    return (explained - (kinds - 1.0)) / visits, math.sqrt(max(variance, 0.0)) / visits


def _piece(texts: Ints, rows: Ints) -> float:
    """Rows for each independent new one in the second half of the visits, where the first half was asked before."""
    half = len(texts) // 2
    after, weights = texts[half:], rows[half:].astype(np.float64)
    new = ~np.isin(after, texts[:half])
    if not new.any():
        return max(float(weights.sum()), 1.0)
    _, groups = np.unique(after[new], return_inverse=True)
    return float(weights.sum() / weights[new].sum()) * cluster_weight(
        np.asarray(np.bincount(groups, weights[new]), np.float64)
    )


def cluster_weight(weights: Array) -> float:
    """The weight of the cluster in which the average row stands, of clusters of these weights (Kish, 1965)."""
    return float((weights**2).sum() / weights.sum()) if weights.sum() > 0 else 0.0
