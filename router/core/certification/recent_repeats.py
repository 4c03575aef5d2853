"""How the latest rows of a task repeat each other, before a challenger has observed any.

Rules:
 * Rows near to what a challenger learned, where near ones are alike, say what it remembers, not what it knows: those
   that certify are asked later, by as long as the reach of the repeats took.
 * Where rows do not depend on those near them, rows of before the freeze that were set aside are as good as later ones.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from router.core.certification.certifying_rows import counts_for_certain
from router.core.domain.record import Record, may_certify
from router.core.statistics.dependence import Dependence, dependence
from router.core.statistics.likeness import likeness, number_of

LATEST = 2000  # rows: four times the longest reach that is observed


@dataclass(slots=True)
class RecentRepeats:
    """The latest rows that may certify: what each is like, who asked, when, and its draw."""

    _taken: int = 0
    _alike: deque[tuple[int, ...]] = field(default_factory=lambda: deque(maxlen=LATEST))
    _facts: deque[tuple[int, float, float]] = field(default_factory=lambda: deque(maxlen=LATEST))

    def take(self, row: Record, *, is_label: bool) -> None:
        """Take in the next row of the log, if a trial might observe it; answers without labels are like no other."""
        is_certain = counts_for_certain(row)
        if not (is_certain or may_certify(row)):
            return
        alike = likeness(row.text, row.answer if is_label else "", row.conversation)
        drawn_at = 0.0 if is_certain else row.exploration
        self._taken += 1
        self._alike.append(tuple(one or -self._taken for one in alike))
        self._facts.append((number_of(row.caller), row.asked_at, drawn_at))

    def forget(self, device: str) -> None:
        """Hold no row of a device any more."""
        kept = [facts[0] != number_of(device) for facts in self._facts]
        self._alike = deque((one for one, stays in zip(self._alike, kept, strict=True) if stays), LATEST)
        self._facts = deque((one for one, stays in zip(self._facts, kept, strict=True) if stays), LATEST)

    def before_trial(self, rate: float) -> tuple[Dependence, float]:
        """How rows depend on each other, and the Unix time in seconds from which on rows may certify.

        Args:
            rate: The exploration rate while the challenger waits, in [0, 1].
        """
        if not self._facts:
            return Dependence(), -math.inf
        callers, times, drawn_at = zip(*self._facts, strict=True)
        rates = np.array(drawn_at)
        weights = np.maximum(rate / np.where(rates > 0, rates, 1.0), _TINY)  # as one over the chance to be there
        keys = [np.array(key, np.int64) for key in zip(*self._alike, strict=True)]
        found = dependence(keys, np.array(callers, np.int64), weights, np.zeros(len(times), np.bool_))
        if not found.is_local:
            return found, -math.inf
        after = np.cumsum(weights)
        first = times[int(np.searchsorted(after, after[-1] - found.reach))]
        return found, times[-1] + max(times[-1] - first, 0.0)


_TINY = 1e-9
