"""A challenger of a task whose operator allows a share of escalations.

Rules:
 * It serves at the strictest threshold that keeps within that share, or at the loosest certified one where that is
   stricter: the floor wins.
 * Without a floor nothing gates: the certificate says which disagreement can be proved.
 * Within the share, a student that disagrees less replaces one that disagrees more.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from router.core.certification.trial import Next, Trial
from router.core.domain.task import NO_FLOOR
from router.core.statistics.intervals import is_above_zero
from router.core.statistics.threshold_planning import NEVER, Proposal, Situation, least_where

PROVING_ROWS = 300  # drawn ones that prove without a floor: 1.6 % on the first attempt, where nothing is lost


class FrugalTrial(Trial):
    """The trial of a challenger under a share of escalations: its last point is the threshold that keeps the share."""

    __slots__ = ()

    @property
    def least(self) -> float:
        """No looser threshold may serve."""
        return self.points[-1].threshold if self.points else NEVER

    @property
    def least_rows(self) -> int:
        """Rows to look at before it may serve, as many as they are worth of drawn ones."""
        return PROVING_ROWS if self.allowance >= NO_FLOOR else 0

    def loosest(self) -> float:
        """The loosest threshold that is certified and not looser than the share wants, ``NEVER`` where none is."""
        if self.rows and self.evidence(self.least) >= -math.log(self.alpha):
            return self.least
        return Trial.loosest(self)

    def proven(self, threshold: float) -> float:
        """The loss that the rows speak against: the allowance, or without a floor the least that they can prove."""
        if self.allowance < NO_FLOOR:
            return self.allowance
        return least_where(lambda allowance: self.evidence(threshold, allowance) >= -math.log(self.alpha))

    def weighed(self, situation: Situation) -> Situation:
        """Against nothing at all: one that disagrees less is worth rows although it keeps no more."""
        return situation if self.has_served else replace(situation, champion_share=0.0)

    def outlook(self, situation: Situation) -> Proposal:
        """The threshold that is most worth further rows."""
        return Trial.outlook(self, self.weighed(situation))

    def next(self, champion: int, situation: Situation) -> Next:
        """What to do, after all rows at hand have been observed."""
        if self.weight < min(self.least_rows, self.patience):
            return Next.WAIT
        if self.has_served and self.serving <= self.least:
            return Next.END
        threshold = self.certified()
        within = threshold == self.least < NEVER
        if within and not self.has_served and (not champion or self.loses_less(champion)):
            return Next.PROMOTE
        return Trial.next(self, champion, situation)

    def loses_less(self, champion: int) -> bool:
        """Whether it disagrees less than the champion on the same rows, paired, one-sided at 90 %."""
        met = [observation for observation in self.observations if observation.release == champion]
        gains = np.array(
            [int(observation.lost) - int(observation.wrong and observation.score >= self.least) for observation in met],
            np.float64,
        )
        return bool(met) and is_above_zero(gains, np.array([observation.weight for observation in met]))
