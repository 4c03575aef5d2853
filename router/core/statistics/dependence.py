"""How many rows are one piece of evidence, where queries repeat.

A bet on each row is a fair one only while rows are drawn independently. Queries that come in bursts, from a local
repertoire or as retries are not: when one of them is lost, so are its neighbours. What tells is which queries *are
alike* (the same text, the same answer, the same conversation) and near each other more often than chance has it: the
integrated autocorrelation of a sequence (Kish, 1965, "Survey Sampling", design effects; Geyer, 1992, "Practical Markov
chain Monte Carlo"). A frequent command whose repeats come independently is no cluster, however frequent it is.

Rules:
 * Alike rows that are near each other by more than chance lessen what each of them counts, never add to it.
 * It is measured on what was asked, and once more on the rows where the student is wrong, since losses are among those:
   the larger one holds.
 * Excess that chance explains, within ``SURE`` standard errors, is none.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from router.core.arrays import Array, Bools, Ints

SURE = 4.0  # standard errors: about a hundred comparisons are made
LEAST_EXCESS = 0.05  # rows beside a row, of all rows; below it nothing is at stake
LEAST_PART = 0.1  # of what chance brings: where few commands make most of the traffic its scatter has long tails
LEAST_ROWS = 20  # that tell anything; wrong ones are looked at apart where there are as many,
LEAST_WRONG_EXCESS = 0.25  # and what they show at least
SLACK = 0.85  # of the design effect
LONGEST_REACH = 512.0  # rows of weight 1
LONGEST_REACH_OF_COMMON = 32.0  # of answers and of frequent texts: beyond it their share drifts with the hour
COMMON = 0.02  # of the rows: what is asked so often is held against a ring around it,
RING = 4.0  # of so many times the reach; what is rare is held against all others
EXACT = frozenset({0, 2})  # keys by which alike rows ask the very same: of texts and of conversations
PARTS = 4  # a sequence weighs at least so many times the reach that is looked at


@dataclass(frozen=True, slots=True)
class Dependence:
    """What repeats take from rows.

    Attributes:
        effect: Weight of the cluster in which the average row stands, >= 1: the design effect.
        reach: Weight of the rows within which alike ones belong together, 0 where none do.
        kind: Which of the keys shows it most.
    """

    effect: float = 1.0
    reach: float = 0.0
    kind: int = 0

    @property
    def is_local(self) -> bool:
        """Whether alike rows are nearer each other than chance has it."""
        return self.reach > 0

    @property
    def piece(self) -> float:
        """Rows of weight 1 that are one piece of evidence, >= 1.

        A little less than the design effect: most of the mixture's bets stake less than all, and so bear that some
        clusters make more than one piece; ``bench/lives.py`` shows that the promise holds with it.
        """
        return max(1.0, float(round(SLACK * self.effect)))


INDEPENDENT = Dependence()


def dependence(keys: Sequence[Ints], devices: Ints, weights: Array, wrong: Bools) -> Dependence:
    """How rows depend on those near them, in the order of asking and in that of each device.

    A row's weight is as one over its chance to be there: near is what few queries lie between, whatever share of them
    came to the log by then.

    Args:
        keys: Each (rows,): equal numbers are alike; by texts, by answers, by conversations.
        devices: (rows,) numbers of who asked.
        weights: (rows,) what each counts, > 0: as one over its chance to be there.
        wrong: (rows,) whether the student's answer differs.
    """
    found, most = Dependence(), 0.0
    if not len(weights):
        return found
    order, every = np.argsort(devices, kind="stable"), np.ones(len(wrong), np.bool_)
    least, marks = float(weights.min()), [(every, LEAST_EXCESS)]
    if wrong.sum() >= LEAST_ROWS:
        marks.append((wrong, LEAST_WRONG_EXCESS))
    sequences = [(np.arange(len(devices)), np.zeros_like(devices))]
    if (devices != devices[0]).any():
        sequences.append((order, devices[order]))  # of one device it is the same sequence again
    for kind, key in enumerate(keys):
        longest = LONGEST_REACH if kind in EXACT else LONGEST_REACH_OF_COMMON
        for positions, blocks in sequences:
            alike = _Alike(key[positions], blocks, weights[positions], kind in EXACT)
            for reach in _reaches(min(longest, float(weights.sum()) / PARTS)):
                near = alike.near(reach)
                for marked, excess in marks:
                    own, more, error = near.beyond_chance(marked[positions])
                    if more > max(error + excess * least, most):
                        most = more
                        found = Dependence(max(1.0, min(own, 1.0) + more), reach, kind)
    return found


def pieces(key: Ints, weights: Array, most: float) -> NDArray[np.intp]:
    """(rows,) the number of the piece that each row belongs to: alike rows, in order, until they weigh ``most``.

    Args:
        key: (rows,) equal numbers are alike.
        weights: (rows,) what each counts, in (0, 1].
        most: Weight of a piece, >= 1.
    """
    order = np.argsort(key, kind="stable")
    ranked, held = key[order], weights[order]
    first = np.append(True, ranked[1:] != ranked[:-1])[: len(ranked)]
    before = np.cumsum(held) - held
    start = np.maximum.accumulate(np.where(first, before, -1.0)) if len(ranked) else before
    part = np.floor((before - start) / most + _ROUNDING).astype(np.int64)
    new = first | np.append(True, part[1:] != part[:-1])[: len(ranked)]
    found = np.empty(len(key), np.intp)
    found[order] = np.cumsum(new) - 1
    return found


_ROUNDING = 1e-9


def _reaches(longest: float) -> Iterator[float]:
    reach = 1.0
    while reach <= longest:
        yield reach
        reach *= 2.0


class _Alike:
    """Rows sorted such that alike ones of one block stand together, in their order."""

    def __init__(self, key: Ints, blocks: Ints, weights: Array, are_exact: bool) -> None:
        """Sort rows.

        Args:
            key: (rows,) equal numbers are alike.
            blocks: (rows,) rows of a block are near each other; each is one stretch.
            weights: (rows,) what each counts.
            are_exact: Whether alike rows ask the very same; else they may be many.
        """
        rows, self._are_exact = len(key), are_exact
        order = np.lexsort((np.arange(rows), key, blocks))
        is_first = np.append(True, blocks[1:] != blocks[:-1])
        starts = np.flatnonzero(is_first)
        ends, before = np.cumsum(weights), np.cumsum(weights) - weights
        stretch = np.cumsum(is_first) - 1
        self._order = order
        self._size = np.add.reduceat(weights, starts)[stretch][order]  # the weight of the row's block
        self._position = ((before + ends) / 2.0 - before[starts][stretch])[order]
        ranked, block = key[order], blocks[order]
        group = np.cumsum(np.append(True, (ranked[1:] != ranked[:-1]) | (block[1:] != block[:-1])))
        apart = 4.0 * (float(ends[-1]) + LONGEST_REACH)
        self._at = group * apart + self._position
        self._weights = weights[order]
        self._sums = np.append(0.0, np.cumsum(self._weights))
        self._whole = self._within(group * apart, group * apart + float(ends[-1]))
        self._is_common = (self._whole >= COMMON * self._size) | (not are_exact)

    def _within(self, low: Array, high: Array) -> Array:
        """(rows,) the weight of alike rows from ``low`` up to ``high``."""
        last, first = np.searchsorted(self._at, high, "right"), np.searchsorted(self._at, low, "left")
        return np.asarray(self._sums[last] - self._sums[first])

    def near(self, longest: float) -> _Near:
        """What of each row's alike ones is near it, and what chance brings there.

        Rows of blocks that are too short to tell what chance brings are left out, frequent and rare ones alike: in a
        short block the frequent texts are those that came in long runs there.
        """
        reach = np.where(self._is_common, min(longest, LONGEST_REACH_OF_COMMON), longest)
        near = self._within(self._at - reach, self._at + reach)
        before = self._position - self._weights / 2.0
        after = self._size - self._weights - before
        span = np.minimum(before, reach) + np.minimum(after, reach)
        ring = RING * reach
        others = np.where(self._is_common, self._within(self._at - ring, self._at + ring), self._whole) - near
        space = np.where(self._is_common, np.minimum(before, ring) + np.minimum(after, ring), before + after) - span
        most = np.minimum(before, longest) + np.minimum(after, longest) if self._are_exact else span
        counted = (space > span) & (before + after > 2.0 * most)
        part = span / np.maximum(space, _ROUNDING)
        return _Near(self._order, self._weights * counted, counted, near, part, others * part)


@dataclass(frozen=True, slots=True)
class _Near:
    """What is alike and near, of each row: arrays (rows,) in the order of ``order``.

    Attributes:
        order: Which row each is.
        weights: What each counts, 0 where nothing is told.
        counted: Whether it tells anything.
        near: Weight of the alike rows near it, its own among them.
        part: Of the room in which chance was measured, how much is near.
        chance: Weight of alike rows that chance brings near it.
    """

    order: NDArray[np.intp]
    weights: Array
    counted: Bools
    near: Array
    part: Array
    chance: Array

    def beyond_chance(self, marked: Bools) -> tuple[float, float, float]:
        """The weights of an average marked row, of alike rows near it beyond chance, and of what chance may bring."""
        here = marked[self.order]
        if (self.counted & here).sum() < LEAST_ROWS:
            return 0.0, 0.0, 0.0
        weights = self.weights * here
        total = float(weights.sum())
        squares = float((weights**2).sum())  # a marked row that counts nothing has no weight here
        expected = float((weights * self.chance).sum()) / total
        own = squares / total
        more = float((weights * self.near).sum()) / total - own - expected
        doubt = 1.0 + float((weights * self.part).sum()) / total  # chance is an estimate too
        error = math.sqrt(2.0 * expected * doubt * squares) / total
        return own, more, max(SURE * error, LEAST_PART * expected)
