"""One e-process that certifies a release before it serves and watches it while it does.

Each explored row says whether the release lost on it: kept its own answer, and the reference's differs. A bet against
a hypothesis about the loss grows when the rows speak against it; by Ville's inequality it exceeds 1 / alpha with a
probability of at most alpha when the hypothesis is true, however often one looks (Waudby-Smith and Ramdas, 2024,
"Estimating means of bounded random variables by betting").

Rules:
 * Each row is looked at once, in any order, and never chosen by its outcome.
 * A certificate needs the bet against "loss >= allowance" to exceed 1 / alpha.
 * Attempt k of a lineage spends ``(1 - assurance) / (k (k + 1))``, so that the sum over all attempts stays below
   ``1 - assurance``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Certificate:
    """The proof that one release at one threshold keeps its allowance.

    Attributes:
        allowance: Largest loss that it speaks against, in (0, 1).
        alpha: Chance of a false certificate that this attempt spends, in (0, 1).
        rows: Explored rows looked at.
        losses: How many of them the release lost.
        log_evidence: Natural logarithm of the bet.
        attempt: Which attempt of the lineage, from 1.
        first_asked_at: Unix time in seconds of the first row.
        last_asked_at: Unix time in seconds of the last row.
    """

    allowance: float
    alpha: float
    rows: int
    losses: int
    log_evidence: float
    attempt: int
    first_asked_at: float = 0.0
    last_asked_at: float = 0.0


def attempt_alpha(assurance: float, attempt: int) -> float:
    """What attempt ``attempt`` (from 1) of a lineage may spend of ``1 - assurance``."""
    return (1.0 - assurance) / (attempt * (attempt + 1))


# The alternatives that the certifying bet is spread over, as shares of the allowance, with equal weights.
ALTERNATIVES = (0.05, 0.15, 0.3, 0.45, 0.6)


class CertifyingBet:
    """A bet against "loss >= allowance", spread over several smaller losses."""

    def __init__(self, allowance: float) -> None:
        """Start with evidence 1 against a loss of ``allowance``, in (0, 1)."""
        self.allowance = allowance
        self.rows = 0
        self.losses = 0

    def update(self, lost: bool) -> None:
        """Look at one more row."""
        self.rows += 1
        self.losses += lost

    @property
    def log_evidence(self) -> float:
        """Natural logarithm of the bet's value."""
        return log_evidence(self.allowance, self.rows, self.losses)


def log_evidence(allowance: float, rows: int, losses: int) -> float:
    """Natural logarithm of the mixture of likelihood ratios against a loss of ``allowance``.

    A likelihood ratio of one smaller loss against ``allowance`` is an e-process for every loss >= ``allowance`` too,
    since it falls with each loss.

    Args:
        allowance: In (0, 1).
        rows: Looked at, >= 0.
        losses: Among them.
    """
    terms = []
    for share in ALTERNATIVES:
        smaller = share * allowance
        gain = losses * math.log(smaller / allowance)
        gain += (rows - losses) * (math.log1p(-smaller) - math.log1p(-allowance))
        terms.append(gain - math.log(len(ALTERNATIVES)))
    top = max(terms)
    return top + math.log(sum(math.exp(term - top) for term in terms))


def is_certified(allowance: float, alpha: float, rows: int, losses: int) -> bool:
    """Whether the bet exceeds 1 / alpha."""
    return log_evidence(allowance, rows, losses) >= -math.log(alpha)
