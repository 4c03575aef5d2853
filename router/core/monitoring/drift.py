"""Do the queries of today look like those that a release was certified on? An early warning, never an alarm.

Three comparisons of two samples: how near the queries are to what the student knows (Kolmogorov and Smirnov), the share
that escalates (Fisher's exact test), the mix of the reference's answers (chi-square, rare ones taken together).

Rules:
 * Both samples are explored rows of one rate each, so that each stands for its time's queries.
 * While the queries stay the same and come one by one, at most ``chance`` of all looks warn of anything: each of the
   comparisons may spend a third of it (Bonferroni). Each window is looked at once.
 * A warning changes no decision.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from router.core.domain.record import Record, may_certify, unit_interval

CHANCE = 0.01
WINDOW_ROWS = 200
LEAST_ROWS = 50  # of either sample
LEAST_EXPECTED = 5.0  # rows of a class, in either sample, for the chi-square to hold
COMPARISONS = ("distance", "escalation", "classes")


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows of one time.

    Attributes:
        answers: The reference's, one a row.
        kept: Whether the student's answer would have stayed, one a row; empty where that is not known.
        similarities: To what the student knows, in [-1, 1], one a row; empty where it tells none.
    """

    answers: tuple[str, ...]
    kept: tuple[bool, ...] = ()
    similarities: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    """One comparison of two samples.

    Attributes:
        what: One of ``COMPARISONS``.
        size: How far they are apart, in [0, 1]: the largest gap of the distributions, the difference of the shares,
            half the summed differences of the shares.
        chance: That the same queries are as far apart, in [0, 1].
        rows_before: Of the sample that certified.
        rows_now: Of the window.
        warns: Whether that is too small a chance to be one.
    """

    what: str
    size: float
    chance: float
    rows_before: int
    rows_now: int
    warns: bool


def compare(before: Sample, now: Sample, chance: float = CHANCE) -> tuple[Comparison, ...]:
    """Every comparison that the samples allow.

    Args:
        before: The rows that certified.
        now: A window of later ones.
        chance: Of any warning while nothing has changed, in (0, 1).
    """
    found = []
    if _are_enough(before.similarities, now.similarities):
        found.append(("distance", _distance(before.similarities, now.similarities)))
    if _are_enough(before.kept, now.kept):
        found.append(("escalation", _escalation(before.kept, now.kept)))
    if _are_enough(before.answers, now.answers):
        found.append(("classes", _classes(before.answers, now.answers)))
    rows = len(before.answers), len(now.answers)
    return tuple(
        Comparison(what, size, likely, *rows, likely < chance / len(COMPARISONS)) for what, (size, likely) in found
    )


def _are_enough(before: Sequence[object], now: Sequence[object]) -> bool:
    return min(len(before), len(now)) >= LEAST_ROWS


def at_one_rate(rows: Sequence[Record], rate: float) -> list[Record]:
    """Explored rows thinned to one exploration rate; those of a lower one are left out.

    Args:
        rows: In the log's order.
        rate: In [0, 1]; nothing stays at 0.
    """
    return [
        row
        for row in rows
        if may_certify(row)
        and row.exploration >= rate > 0
        and unit_interval("drift", row.caller, row.query_id) < rate / row.exploration
    ]


def _distance(before: Sequence[float], now: Sequence[float]) -> tuple[float, float]:
    from scipy.stats import ks_2samp  # seconds, where nothing but the figures is read

    found = ks_2samp(before, now)
    return float(found.statistic), float(found.pvalue)


def _escalation(before: Sequence[bool], now: Sequence[bool]) -> tuple[float, float]:
    from scipy.stats import fisher_exact

    counts = [[sum(kept), len(kept) - sum(kept)] for kept in (before, now)]
    size = abs(counts[0][0] / len(before) - counts[1][0] / len(now))
    return size, float(fisher_exact(counts).pvalue)


def _classes(before: Sequence[str], now: Sequence[str]) -> tuple[float, float]:
    counts = Counter(before), Counter(now)
    whole = len(before) + len(now)
    least = min(len(before), len(now))
    columns, rare = [], [0, 0]
    for answer in counts[0] | counts[1]:
        both = counts[0][answer], counts[1][answer]
        if sum(both) * least / whole >= LEAST_EXPECTED:
            columns.append(both)
        else:
            rare = [rare[0] + both[0], rare[1] + both[1]]
    if sum(rare) * least / whole >= LEAST_EXPECTED:
        columns.append((rare[0], rare[1]))
    if len(columns) < 2:
        return 0.0, 1.0
    from scipy.stats import chi2_contingency

    table = np.array(columns).T
    shares = table / table.sum(axis=1, keepdims=True)
    return float(np.abs(shares[0] - shares[1]).sum() / 2), float(chi2_contingency(table, correction=False).pvalue)
