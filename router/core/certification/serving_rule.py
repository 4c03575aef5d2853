"""Serving rules: at which certified threshold a challenger may serve, and when it replaces the champion.

A trial is given one of two: by the floor alone, or by a share of escalations that the operator allows.

Rules of the second:
 * It serves at the strictest threshold that keeps within that share, or at the loosest certified one where that is
   stricter: the floor wins.
 * Without a floor nothing gates: the certificate says which disagreement can be proved.
 * Within the share, a student that disagrees less replaces one that disagrees more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

import numpy as np

from router.core.certification.observations import Observation
from router.core.domain.task import NO_FLOOR, Task
from router.core.statistics.intervals import is_above_zero
from router.core.statistics.threshold_planning import NEVER, Point, Situation, least_where

PROVING_ROWS = 300  # drawn ones that prove without a floor: 1.6 % on the first attempt, where nothing is lost


class Next(StrEnum):
    """What becomes of a trial."""

    WAIT = "wait"  # more rows are worth their price
    PROMOTE = "promote"  # a threshold is certified that keeps more than what serves
    END = "end"  # no further threshold is worth its rows


class Proof(Protocol):
    """What a rule reads of a trial; ``router.core.certification.trial.Trial`` says what each is."""

    @property
    def allowance(self) -> float:
        """Largest loss, in (0, 1)."""

    @property
    def alpha(self) -> float:
        """Chance of a false certificate that the attempt spends."""

    @property
    def patience(self) -> float:
        """Most rows that it may observe."""

    @property
    def serving(self) -> float:
        """The threshold that serves already, ``NEVER`` while none does."""

    @property
    def has_served(self) -> bool:
        """Whether one of its thresholds serves."""

    @property
    def observations(self) -> Sequence[Observation]:
        """The rows observed."""

    @property
    def rows(self) -> int:
        """How many rows it has observed, or missed."""

    @property
    def weight(self) -> float:
        """How many independent drawn rows those are worth."""

    def evidence(self, threshold: float, allowance: float | None = None) -> float:
        """Natural logarithm of the bet against a loss of the allowance at a threshold."""


class ServingRule(Protocol):
    """What a trial asks of the rule that it was given."""

    @property
    def least_rows(self) -> int:
        """Rows to observe before it may serve, as many as they are worth of drawn ones, whatever they say."""

    def loosest(self, proof: Proof, certified: float) -> float:
        """The loosest threshold that may serve, ``NEVER`` for none; ``certified`` is the loosest certified one."""

    def proven(self, proof: Proof, threshold: float) -> float:
        """The loss at a threshold, once certified, that the rows speak against, in (0, 1)."""

    def weighed(self, situation: Situation, *, has_served: bool) -> Situation:
        """What thresholds are weighed against when rows are spent on them."""

    def decide(self, proof: Proof, threshold: float, champion: int) -> Next | None:
        """What the rule itself wants, before it is asked what further rows bring; ``None`` where that decides.

        Args:
            proof: The trial.
            threshold: The loosest that may serve.
            champion: What serves now, 0 for nothing.
        """


@dataclass(frozen=True, slots=True)
class ByFloor:
    """Whatever is certified may serve; what keeps more is better."""

    @property
    def least_rows(self) -> int:
        """None: the certificate alone says how many."""
        return 0

    def loosest(self, proof: Proof, certified: float) -> float:
        """The loosest certified one."""
        del proof
        return certified

    def proven(self, proof: Proof, threshold: float) -> float:
        """The allowance."""
        del threshold
        return proof.allowance

    def weighed(self, situation: Situation, *, has_served: bool) -> Situation:
        """Against what serves."""
        del has_served
        return situation

    def decide(self, proof: Proof, threshold: float, champion: int) -> None:
        """What further rows bring decides."""


@dataclass(frozen=True, slots=True)
class ByBudget:
    """No more stays on the devices than the share of escalations wants; what disagrees less is better.

    Attributes:
        least: The strictest threshold that keeps within the share: no looser one may serve.
        has_floor: The operator states a floor too.
    """

    least: float
    has_floor: bool

    @property
    def least_rows(self) -> int:
        """Beside a floor none; without one as many as prove something."""
        return 0 if self.has_floor else PROVING_ROWS

    def loosest(self, proof: Proof, certified: float) -> float:
        """The threshold of the share where it is certified, else the loosest certified one."""
        is_proven = proof.rows > 0 and proof.evidence(self.least) >= -math.log(proof.alpha)
        return self.least if is_proven else certified

    def proven(self, proof: Proof, threshold: float) -> float:
        """The allowance, or without a floor the least that the rows can prove."""
        if self.has_floor:
            return proof.allowance
        return least_where(lambda allowance: proof.evidence(threshold, allowance) >= -math.log(proof.alpha))

    def weighed(self, situation: Situation, *, has_served: bool) -> Situation:
        """Against nothing at all until it serves: one that disagrees less is worth rows although it keeps no more."""
        return situation if has_served else replace(situation, champion_share=0.0)

    def decide(self, proof: Proof, threshold: float, champion: int) -> Next | None:
        """Wait for the least rows; end once the share is reached; within it the student that disagrees less serves."""
        if proof.weight < min(self.least_rows, proof.patience):
            return Next.WAIT
        if proof.has_served and proof.serving <= self.least:
            return Next.END
        within = threshold == self.least < NEVER
        if within and not proof.has_served and (not champion or self._loses_less(proof, champion)):
            return Next.PROMOTE
        return None

    def _loses_less(self, proof: Proof, champion: int) -> bool:
        """Whether it disagrees less than the champion on the same rows, paired, one-sided at 90 %."""
        met = [observation for observation in proof.observations if observation.release == champion]
        gains = np.array(
            [int(observation.lost) - int(observation.wrong and observation.score >= self.least) for observation in met],
            np.float64,
        )
        return bool(met) and is_above_zero(gains, np.array([observation.weight for observation in met]))


def rule_of(task: Task, points: Sequence[Point]) -> ServingRule:
    """The rule of a task's challengers.

    Args:
        task: The task.
        points: Thresholds that might be proved, strict to loose; under a share of escalations the last one keeps it.
    """
    if task.objective.max_escalation is None:
        return ByFloor()
    return ByBudget(points[-1].threshold if points else NEVER, task.at_device.max_disagreement < NO_FLOOR)
