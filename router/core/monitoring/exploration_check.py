"""Do explored rows come as planned? Told from what devices say they did, each weighing as one.

Rules:
 * A device plans at most twice what the median one does: more of its word is cut, and its rows in proportion.
 * Rows that came beyond what a device planned stand for nobody else's.
 * Too few rows must be too few without each single device too: nobody alone makes a fleet blind. Of a fleet of one
   device its own word is all there is.
 * What a device holds back excuses no more than what it planned itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median_low

from router.core.statistics.e_process import is_too_few

MOST_MEDIANS = 2
CHANCE = 3.0  # standard deviations by which rows may be more than planned


@dataclass(frozen=True, slots=True)
class Hour:
    """One hour of one device: what it planned to send, and what came.

    Attributes:
        planned: Explored rows that its queries should have given.
        came: Explored rows of it that came.
        held: Rows that it says it still holds.
    """

    planned: float
    came: int = 0
    held: int = 0

    @property
    def awaited(self) -> Hour:
        """The same, less what may still come."""
        return Hour(max(min(self.planned, self.planned - self.held), min(self.came, self.planned)), self.came)


def expected(hours: Iterable[Hour]) -> float:
    """Explored rows that an hour should have given, no device's word taken for more than its part."""
    return math.fsum(part.planned for part in _parts(hours))


def is_blind(hours: Iterable[Hour]) -> bool:
    """Whether too few rows came to see anything, whichever device one leaves out.

    Args:
        hours: Of each device that planned something, or of which something came.
    """
    parts = _parts(hours)
    planned, came = math.fsum(part.planned for part in parts), math.fsum(part.came for part in parts)
    if not is_too_few(math.ceil(came), planned):
        return False
    if len(parts) == 1:
        return True
    return all(is_too_few(math.ceil(max(came - part.came, 0.0)), planned - part.planned) for part in parts)


@dataclass(frozen=True, slots=True)
class _Part:
    planned: float
    came: float


def _parts(hours: Iterable[Hour]) -> list[_Part]:
    hours = [hour for hour in hours if hour.planned > 0 or hour.came]
    most = MOST_MEDIANS * median_low([hour.planned for hour in hours if hour.planned > 0] or [0.0])
    parts = []
    for hour in hours:
        share = min(1.0, most / hour.planned) if hour.planned > 0 else 1.0
        planned = share * hour.planned
        parts.append(_Part(planned, min(share * hour.came, planned + CHANCE * math.sqrt(planned) + CHANCE)))
    return parts
