"""Rows on which every cheaper teacher was asked -> a path of policies for the pool, from the strictest on.

Rules:
 * What is fitted here is fitted on rows that certify nothing.
 * From the last teacher back, what asking on costs is regressed on what is known when it must be decided.
 * A teacher without an answer to a row teaches nothing on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cloud_worker.pool.word_features import WordHead, fit_words
from router.core.arrays import Array, Bools
from router.core.domain.task import Way
from router.core.policy.pool_routing import RIDGE, PoolPolicy, Tier, line_of, sigmoid, transformed

PRICES = tuple(float(price) for price in np.geomspace(0.002, 1.0, 40))  # of one reference answer, in errors


@dataclass(frozen=True, slots=True)
class Seen:
    """What the cheaper teachers said of explored rows.

    Attributes:
        texts: The queries.
        teachers: Their names, in the order in which they stand before the reference.
        versions: Theirs.
        log_confidence: (rows, teachers), NaN where one can't say.
        answers: (rows, teachers) whether one answered.
        agrees: (rows, teachers) whether its answer is the reference's, by the task's judge.
        costs: (teachers,) of one answer, in answers of the reference.
    """

    texts: tuple[str, ...]
    teachers: tuple[str, ...]
    versions: tuple[str, ...]
    log_confidence: Array
    answers: Bools
    agrees: Bools
    costs: Array


@dataclass(frozen=True, slots=True)
class Path:
    """Policies along one path, the words that they share, and the rows as heads see them that know none of them."""

    policies: tuple[PoolPolicy, ...]
    words: tuple[WordHead, ...]
    odds: Array


def fit_path(seen: Seen, way: Way, prices: Sequence[float] = PRICES) -> Path:
    """Fit every policy of a path on the same rows.

    Args:
        seen: The rows, at least one.
        way: How the teachers are used.
        prices: Of the reference's answer, in errors, > 0, rising: a higher one asks it less.
    """
    fitted = [_fit_words(seen, position) for position in range(len(seen.teachers))]
    odds = np.stack([unseen for _, unseen in fitted], axis=1)
    chances = [_fit_chance(seen, position, odds[:, position], way) for position in range(len(seen.teachers))]
    policies = tuple(_policy(seen, way, price, odds, chances) for price in prices)
    return Path(policies, tuple(head for head, _ in fitted), odds)


def _fit_words(seen: Seen, position: int) -> tuple[WordHead, Array]:
    known = seen.answers[:, position]
    texts = [text for text, is_known in zip(seen.texts, known, strict=True) if is_known]
    head, unseen = fit_words(texts, seen.agrees[known, position])
    odds = np.full(len(seen.texts), head.bias)
    odds[known] = unseen
    return head, odds


def _fit_chance(seen: Seen, position: int, odds: Array, way: Way) -> tuple[float, float, float]:
    """Bias, and weights of confidence and of what the query says, of the log-odds of agreeing."""
    known = seen.answers[:, position]
    agrees = seen.agrees[known, position]
    right, wrong = float(agrees.sum()), float((~agrees).sum())
    if not right or not wrong:
        return float(np.log((right + 0.5) / (wrong + 0.5))), 0.0, 0.0
    from sklearn.linear_model import LogisticRegression  # a second, which the refresher does not take to start

    of_query = odds[known] if way is Way.BOTH else np.zeros(int(known.sum()))
    signals = np.stack([transformed(seen.log_confidence[known, position]), of_query], axis=1)
    head = LogisticRegression(C=1.0 / RIDGE).fit(signals, agrees)
    return float(head.intercept_[0]), float(head.coef_[0][0]), float(head.coef_[0][1])


def _policy(
    seen: Seen, way: Way, price: float, odds: Array, chances: Sequence[tuple[float, float, float]]
) -> PoolPolicy:
    """One policy, from the last teacher back."""
    tiers: list[Tier] = []
    value = np.full(len(odds), price)  # of asking on: errors and priced costs, as it turned out
    for position in reversed(range(len(seen.teachers))):
        cost = float(seen.costs[position])
        tier = Tier(seen.teachers[position], seen.versions[position], cost, *chances[position], (0.0, 0.0), (0.0, 0.0))
        chance = tier.chance(odds[:, position], seen.log_confidence[:, position])
        going_on = line_of(chance, value)
        errs, further = 1.0 - chance, going_on[0] + going_on[1] * chance
        stays = seen.answers[:, position] & ((errs <= further) | (way is Way.ROUTING))
        value = price * cost + np.where(stays, errs, value)
        entering = (1.0 + price * cost, -1.0) if way is Way.ROUTING else line_of(sigmoid(odds[:, position]), value)
        tiers.insert(0, Tier(tier.teacher, tier.version, cost, *chances[position], entering, going_on))
    return PoolPolicy(way, price, tuple(tiers))
