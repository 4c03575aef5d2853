"""Which teacher of the pool answers an escalation: cheaper ones may stand before the reference.

    query ──first──▶ a teacher ──how sure is it?──▶ its answer stands
                         │
                         └──goes on──▶ the next one ──▶ ... ──▶ the reference

What a teacher's answer costs in errors is known from two sides: from the query before it is asked, and from how sure
it is once it has answered. A policy asks on while that is worth its price; the price of the reference's answer, in
errors, moves everything at once: it is the one number along a path of policies.

Rules:
 * Nothing is known of a teacher that has not been asked.
 * A teacher that fails, or is of another version than the policy was fitted on, decides nothing: the next one is asked.
 * What no cheaper teacher may answer, the reference does.
 * The same policy says the same at the gateway, one query at a time, and of the rows that prove it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from router.core.arrays import Array, Bools, Ints
from router.core.domain.record import Tried
from router.core.domain.task import Way

RIDGE = 1.0  # in rows: what a slope costs, as against its fit
CEILING = 8.0  # of a transformed confidence: models that are surer do not differ
_MOST_ODDS = 60.0

Line = tuple[float, float]  # intercept and slope


@dataclass(frozen=True, slots=True)
class Tier:
    """One cheaper teacher.

    Attributes:
        teacher: Its name.
        version: Its version when the policy was fitted.
        cost: Of one answer of it, in answers of the reference, >= 0.
        bias: Of the log-odds that its answer agrees with the reference's.
        of_confidence: Of the same, per transformed confidence.
        of_query: Of the same, per log-odds known from the query.
        entering: What asking it costs in errors, everything after it included, over the chance known from the query.
        going_on: What asking further costs, over the chance known once it has answered.
    """

    teacher: str
    version: str
    cost: float
    bias: float
    of_confidence: float
    of_query: float
    entering: Line
    going_on: Line

    def chance(self, odds: Array, log_confidence: Array) -> Array:
        """The chance that each answer agrees with the reference's, in (0, 1).

        Args:
            odds: (rows,) log-odds known from the query.
            log_confidence: (rows,) natural logarithms, NaN where it can't say.
        """
        return sigmoid(self.bias + self.of_confidence * transformed(log_confidence) + self.of_query * odds)


@dataclass(frozen=True, slots=True)
class PoolPolicy:
    """Where an escalation is asked, and when it is asked further.

    Attributes:
        way: Cascade, routing or both.
        price: Of one answer of the reference, in errors, > 0.
        tiers: In the order in which they stand before the reference.
    """

    way: Way
    price: float
    tiers: tuple[Tier, ...]

    def first(self, odds: Array) -> Ints:
        """Position of the teacher that is asked first; that of the reference is ``len(tiers)``.

        Args:
            odds: (rows, tiers) log-odds that each teacher's answer agrees, known from the query.
        """
        if self.way is Way.CASCADE:
            return np.zeros(len(odds), np.int_)
        worth = [_on(tier.entering, sigmoid(odds[:, position])) for position, tier in enumerate(self.tiers)]
        return np.asarray(np.stack([*worth, np.full(len(odds), self.price)], axis=1).argmin(axis=1))

    def stays(self, position: int, odds: Array, log_confidence: Array) -> Bools:
        """Whether the answer of the teacher at ``position`` stands.

        Args:
            position: In [0, tiers).
            odds: (rows,) its own.
            log_confidence: (rows,) natural logarithms, NaN where it can't say.
        """
        if self.way is Way.ROUTING:
            return np.ones(len(odds), np.bool_)
        chance = self.tiers[position].chance(odds, log_confidence)
        return np.asarray(1.0 - chance <= _on(self.tiers[position].going_on, chance))

    def walk(self, odds: Array, log_confidence: Array, answers: Bools) -> tuple[Ints, Array]:
        """Where rows end whose teachers are all known, and what they cost in answers of the reference.

        Args:
            odds: (rows, tiers) as known from the query.
            log_confidence: (rows, tiers), NaN where a teacher can't say.
            answers: (rows, tiers) whether the teacher answered, in the version that the policy knows.

        Returns:
            (rows,) positions, the reference's being ``len(tiers)``, and (rows,) costs.
        """
        first = self.first(odds)
        ends, spent = np.full(len(odds), len(self.tiers)), np.zeros(len(odds))
        walks = np.ones(len(odds), np.bool_)
        for position, tier in enumerate(self.tiers):
            asked = walks & (first <= position)
            spent += tier.cost * asked
            stands = asked & answers[:, position] & self.stays(position, odds[:, position], log_confidence[:, position])
            ends[stands] = position
            walks &= ~stands
        return ends, spent + walks


def said_by(tried: Sequence[Tried], policy: PoolPolicy) -> tuple[list[float], list[bool]]:
    """What a policy's teachers said of one query: log-confidences, NaN where unsaid, and whether each one counts."""
    known = {one.teacher: one for one in tried if not one.failed}
    found = [known.get(tier.teacher) for tier in policy.tiers]
    sure = [np.nan if one is None or one.log_confidence is None else one.log_confidence for one in found]
    counts = [one is not None and one.version == tier.version for one, tier in zip(found, policy.tiers, strict=True)]
    return sure, counts


def transformed(log_confidence: Array) -> Array:
    """-log(1 - confidence), at most ``CEILING`` and 0 where unsaid: it spreads out answers that are almost sure."""
    known = np.minimum(np.nan_to_num(log_confidence, nan=-np.inf, neginf=-np.inf), 0.0)
    return np.asarray(np.minimum(-np.log(np.maximum(-np.expm1(known), np.exp(-CEILING))), CEILING))


def sigmoid(odds: Array) -> Array:
    """Chance of log-odds, in (0, 1)."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(odds, -_MOST_ODDS, _MOST_ODDS))))


def _on(line: Line, chance: Array) -> Array:
    return np.asarray(line[0] + line[1] * chance)


def line_of(feature: Array, target: Array) -> Line:
    """Intercept and ridge slope of ``target`` over ``feature``, both (rows,)."""
    centred = feature - feature.mean()
    slope = float(centred @ target / (centred @ centred + RIDGE))
    return float(target.mean() - slope * feature.mean()), slope
