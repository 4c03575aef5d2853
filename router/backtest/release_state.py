"""What a fleet's store would remember during a replay: what serves, what has served, and what gives way to what.

Rules:
 * A release that broke its promise never serves again, nor does its student at a looser threshold.
 * A former release serves again only if the rows drawn since its certificate do not speak against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from router.backtest.student import ReplayedStudent
from router.core.certification.live_watch import MOST_FORMER, MOST_SINCE, evidence_against
from router.core.certification.refresh_schedule import Champion
from router.core.certification.trial import Judging
from router.core.domain.record import Record, may_certify
from router.core.domain.task import Task


@dataclass(slots=True)
class Release:
    """A release that serves, or has served.

    Attributes:
        number: Its number.
        content: The number under which its student was first released.
        threshold: Least score kept.
        student: Its student.
        kept: Share of queries that it was expected to keep, in [0, 1].
        rows: That certified it.
        weight: How many drawn ones they are worth.
        losses: Of them.
        attempt: Of the lineage, from 1.
        last_asked_at: When the last of them was asked, in Unix seconds or places in the log.
        alarmed: It broke its promise.
    """

    number: int
    content: int
    threshold: float
    student: ReplayedStudent
    kept: float
    rows: int
    weight: float
    losses: int
    attempt: int
    last_asked_at: float
    alarmed: bool = False

    def is_same(self, other: Release) -> bool:
        """Whether two numbers stand for one student at one threshold."""
        return (self.content, self.threshold) == (other.content, other.threshold)


@dataclass(slots=True)
class Standing:
    """Where a task stands.

    Attributes:
        exploration: Rate in force, in [0, 1].
        release: In force; ``None`` at first.
        former: Those that have served, that in force included, in their order.
        alarmed: What is in force may keep nothing.
        rows_at_refresh: Teachable rows at the last refresh.
        attempt: The last of the lineage.
        last_release: The last number given.
    """

    exploration: float
    release: Release | None = None
    former: list[Release] = field(default_factory=list)
    alarmed: bool = False
    rows_at_refresh: int = 0
    attempt: int = 0
    last_release: int = 0

    @property
    def champion(self) -> Champion:
        """What serves: nothing while what is in force may keep nothing."""
        if self.release is None or self.alarmed:
            return Champion()
        return Champion(self.release.number, self.release.kept)

    def same_as(self, release: Release) -> frozenset[int]:
        """Every number under which a release's student served at its threshold."""
        return frozenset(one.number for one in self.former if one.is_same(release))

    def successor(self, rows: Sequence[Record], task: Task, judging: Judging) -> Release | None:
        """The latest former release that may serve in the place of the one in force, ``None`` where none may.

        Args:
            rows: The log's.
            task: The task.
            judging: Its judge.
        """
        known = [] if self.release is None else [self.release]
        for one in reversed(self.former):
            if any(one.is_same(other) for other in known):
                continue
            known.append(one)
            if len(known) > MOST_FORMER + 1:
                break
            since = [row for row in rows if may_certify(row) and row.asked_at > one.last_asked_at][-MOST_SINCE:]
            one.student.prepare([row.text for row in since])
            if not self._broke(one) and evidence_against(since, one.student, one.threshold, task, judging) <= 0:
                return one
        return None

    def _broke(self, release: Release) -> bool:
        """Whether its student has broken the promise, at its threshold or a stricter one."""
        return any(
            one.alarmed and one.content == release.content and one.threshold >= release.threshold for one in self.former
        )
