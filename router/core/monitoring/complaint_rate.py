"""An early warning from what callers say of their answers.

Rules:
 * It warns and decides nothing: who speaks up chooses to, so a share of "wrong" is no error rate.
 * A release is compared with what was said of all others, and alone only with a half.
 * The order of what was said changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from router.core.statistics.intervals import Interval, share_interval

LEAST_SAID = 10
ALONE = 0.5  # of what was said of a release with which nothing can be compared


@dataclass(frozen=True, slots=True)
class Complaint:
    """What was said of one release's answers.

    Attributes:
        release: The student's.
        wrong: Share called wrong, with its interval.
        usual: The most that chance leaves of the same share among all other releases; ``ALONE`` without any.
        warns: More is called wrong than that, beyond chance.
    """

    release: int
    wrong: Interval
    usual: float
    warns: bool


def complaints(said: Iterable[tuple[int, bool]], assurance: float = 0.95) -> list[Complaint]:
    """What is said of each release, oldest first.

    Args:
        said: The release whose student answered, and whether its answer was called wrong.
        assurance: Of each interval, in (0, 1).
    """
    counts: dict[int, list[int]] = {}
    for release, wrong in said:
        count = counts.setdefault(release, [0, 0])
        count[0] += wrong
        count[1] += 1
    found = []
    for release, (called_wrong, rows) in sorted(counts.items()):
        others = [count for other, count in counts.items() if other != release]
        before = share_interval(sum(count[0] for count in others), sum(count[1] for count in others), assurance)
        usual = before.high if before.rows >= LEAST_SAID else ALONE
        share = share_interval(called_wrong, rows, assurance)
        found.append(Complaint(release, share, usual, rows >= LEAST_SAID and share.low > usual))
    return found
