"""A gate by classes: a challenger serves at no threshold at which one class of queries loses far too much.

Rules:
 * Drawn rows alone, kept and deferred alike: each stands for as many queries as any other that was asked at its rate.
 * The gate makes a threshold stricter, never looser: on the same rows a certificate holds for every stricter one.
 * A class of ``LEAST_ROWS`` speaks against a threshold when its rows show that it loses more than ``MOST_OF_CLASS``
   times the allowance: by Clopper and Pearson's lower bound, all classes together with at most ``DOUBT``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from router.core.statistics.intervals import share_interval
from router.core.statistics.threshold_planning import NEVER

LEAST_ROWS = 100  # of a class that gates
MOST_OF_CLASS = 2.0  # times the allowance
DOUBT = 0.05  # chance of a gate where no class loses more, at one observation


class Seen(Protocol):
    """What one row says of a challenger: see ``router.core.certification.observations.Observation``."""

    @property
    def score(self) -> float:
        """The challenger's, -inf where it has none."""

    @property
    def wrong(self) -> bool:
        """Whether its answer differs from the reference's."""

    @property
    def label(self) -> str:
        """The reference's, empty where the row tells of no class."""


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """What the certifying rows say of one class.

    Attributes:
        label: The reference's.
        rows: Drawn ones.
        kept: Of them, those kept.
        losses: Of them, those kept and different from the reference's.
    """

    label: str
    rows: int
    kept: int
    losses: int


def figures_of(observations: Iterable[Seen], threshold: float) -> tuple[ClassFigures, ...]:
    """Each class at a threshold, the most frequent first."""
    found = []
    for label, rows in _by_label(observations).items():
        kept = [observation for observation in rows if observation.score >= threshold]
        found.append(ClassFigures(label, len(rows), len(kept), sum(observation.wrong for observation in kept)))
    return tuple(sorted(found, key=lambda one: (-one.rows, one.label)))


def spared(observations: Sequence[Seen], threshold: float, allowance: float) -> float:
    """The loosest threshold at which no class speaks against it, at least ``threshold``; ``NEVER`` where there is none.

    Args:
        observations: The rows observed.
        threshold: That is certified.
        allowance: Largest loss over all queries, in (0, 1).
    """
    classes = [rows for rows in _by_label(observations).values() if len(rows) >= LEAST_ROWS]
    limit = MOST_OF_CLASS * allowance
    if limit >= 1 or not classes:
        return threshold
    doubt = DOUBT / len(classes)
    worst = max(_last_too_much(rows, limit, doubt) for rows in classes)
    if threshold > worst:
        return threshold
    return min((observation.score for observation in observations if observation.score > worst), default=NEVER)


def _last_too_much(rows: Sequence[Seen], limit: float, doubt: float) -> float:
    """The highest threshold at which a class loses too much, -inf where none does."""
    lost = sorted((observation.score for observation in rows if observation.wrong), reverse=True)
    most = _most_losses(len(rows), limit, doubt)
    return lost[most] if most < len(lost) else float("-inf")


def _most_losses(rows: int, limit: float, doubt: float) -> int:
    """The most losses that do not show, one-sided, a loss above ``limit``."""
    low, high = 0, rows
    while low < high:
        middle = (low + high + 1) // 2
        if share_interval(middle, rows, 1.0 - 2.0 * doubt).low <= limit:
            low = middle
        else:
            high = middle - 1
    return low


def _by_label(observations: Iterable[Seen]) -> dict[str, list[Seen]]:
    found: dict[str, list[Seen]] = {}
    for observation in observations:
        if observation.label:
            found.setdefault(observation.label, []).append(observation)
    return found
