"""A champion that keeps what was asked before alone: how what it keeps has fallen since, and what that says of another.

Rules:
 * As texts are asked no more it keeps less and less, so that its share lately counts, not that of its life.
 * A challenger of its kind is taken to fare as it did: over as long a time it keeps on average as much of what it keeps
   at first. So one takes over when the champion keeps less than on average over its life, by more than a certificate
   costs: a place that yields less and less is left at that moment (Charnov, 1976, "Optimal foraging, the marginal
   value theorem").
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from router.core.certification.refresh_schedule import LEAST_MET
from router.core.refresh.actions import FitResult
from router.core.refresh.loop_state import LoopState
from router.core.statistics.threshold_planning import Situation


@dataclass(frozen=True, slots=True)
class Fading:
    """Such a champion.

    Attributes:
        now: Share of queries that it kept in the later half of its life, in [0, 1].
        lasting: What it kept on average, of what it was expected to keep, in [0, 1].
        age: Queries that it met.
    """

    now: float
    lasting: float
    age: float

    @classmethod
    def of(cls, loop: LoopState, fit: FitResult) -> Self | None:
        """The champion; ``None`` where it is of another kind, or has met too few rows yet."""
        serving, champion, met = loop.releases.serving, loop.champion, fit.releases == loop.champion.number
        if not champion.number or serving is None or not serving.manifest.only_asked or met.sum() < LEAST_MET:
            return None
        stayed, weights = fit.stayed[met], fit.weights[met]
        age = float(weights.sum())
        now = float(np.average(stayed, weights=weights * (np.cumsum(weights) > age / 2)))
        kept = float(np.average(stayed, weights=weights))
        return cls(now, min(kept / max(champion.expected, 1e-9), 1.0), age)

    def situation(self, situation: Situation) -> Situation:
        """The situation of a challenger of its kind."""
        horizon = self.age / situation.queries
        return replace(situation, champion_share=self.now, lasting=self.lasting, horizon=horizon)
