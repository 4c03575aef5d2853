"""What the loop has in mind of one task, and what it is told at each step.

Rules:
 * What a store keeps is told anew at each step, in one snapshot, and changed here as each action is done.
 * All else follows from the rows: after a restart the same rows and the same store give the same state.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Any

from router.core.certification.device_quarantine import Apart, Quarantines
from router.core.certification.live_watch import LiveWatch
from router.core.certification.missing_rows import Spans
from router.core.certification.refresh_schedule import Champion, Pace, exploration_at_rest, situation_of
from router.core.certification.served_releases import ServedRelease, why_uncertified
from router.core.certification.trial import Judging, Trial
from router.core.domain.record import Record
from router.core.domain.task import Limits, Task
from router.core.refresh.task_rows import TaskRows
from router.core.release.manifest import Manifest
from router.core.release.orders import Watch
from router.core.statistics.threshold_planning import Situation


@dataclass(frozen=True, slots=True)
class TaskReleases:
    """Where the releases of a task stand.

    Attributes:
        exploration: Rate in force, in [0, 1].
        champion: The number of the release that serves, 0 for none with a student.
        watch: What the watch over it says.
        attempt: The last of the lineage, 0 before the first.
        last_release: The last number given.
        rows_at_refresh: Teachable rows at the last refresh, 0 before the first.
        refreshed_at: Unix time in seconds of the last refresh.
        served: All that have served, that which serves included, by their numbers, in their order.
    """

    exploration: float
    champion: int = 0
    watch: Watch = Watch.UNPROVEN
    attempt: int = 0
    last_release: int = 0
    rows_at_refresh: int = 0
    refreshed_at: float = 0.0
    served: Mapping[int, ServedRelease] = field(default_factory=dict)

    @property
    def is_alarmed(self) -> bool:
        """Whether what serves may keep nothing."""
        return self.watch is Watch.ALARMED

    @property
    def serving(self) -> ServedRelease | None:
        """The release that serves, ``None`` where it can't be read."""
        return self.served.get(self.champion)


def _never_overtaken(manifest: Manifest, version: str) -> bool:
    del manifest, version
    return False


@dataclass(frozen=True, slots=True)
class StepInputs:
    """What a step is told beside the rows.

    Attributes:
        now: Unix time in seconds.
        releases: Where they stand.
        pinned: The release that the operator wants to serve, ``None`` for whichever is certified.
        forced: It is pinned whatever its certificate says.
        is_held: The operator holds the task, or a release rolls out: nothing is fitted, promoted or explored for.
        base: While a release rolls out, that which the others run; ``None`` while all run the same.
        is_blind: Too few explored rows come to see anything: nothing is fitted or promoted.
        judged_by: The judge of the task's lineage, empty if none is known.
        blind: When too few rows came to see anything.
        repeats: Devices and numbers of kept rows that the log had before.
        twins: When each device had twins.
        quarantines: When devices were in quarantine.
        is_overtaken: Whether another version of the reference than this one answered the rows of a certificate.
    """

    now: float
    releases: TaskReleases
    pinned: int | None = None
    forced: bool = False
    is_held: bool = False
    base: int | None = None
    is_blind: bool = False
    judged_by: str = ""
    blind: Spans = ()
    repeats: Set[tuple[str, int]] = frozenset()
    twins: Mapping[str, Spans] = field(default_factory=dict)
    quarantines: Quarantines = field(default_factory=dict)
    is_overtaken: Callable[[Manifest, str], bool] = _never_overtaken


@dataclass(slots=True)
class LoopState:
    """What the loop holds of one task from step to step.

    Attributes:
        task: The task.
        judging: Its judge.
        pace: How often a student is fitted.
        releases: Where they stand, as of the step that runs or ran last.
        max_seconds: Longest time between two refreshes, once there is anything new.
        quarantines: When devices were in quarantine.
        rows: Of the log.
        unwatched: Rows taken in that the watch has not observed.
        trial: Of the challenger that waits, or serves and waits for a looser threshold.
        taught: Rows that it learned from.
        attempt: That it spends.
        live_watch: The watch over what serves.
        base_watch: While that rolls out, the watch over the release that the others run.
        tried: The champion for which a fallback release was looked for already; -1 for none.
        is_held: Nothing is to be fitted or promoted.
        is_suspected: Everything is explored, since the watch suspects a change.
        watch_over: Begins a watch.
    """

    task: Task
    judging: Judging
    pace: Pace
    releases: TaskReleases
    max_seconds: float = math.inf
    quarantines: dict[str, Apart] = field(default_factory=dict)
    rows: TaskRows = field(init=False)
    unwatched: list[Record] = field(default_factory=list)
    trial: Trial | None = None
    taught: int = 0
    attempt: int = 0
    live_watch: LiveWatch | None = None
    base_watch: LiveWatch | None = None
    tried: int = -1
    is_held: bool = False
    is_suspected: bool = False
    watch_over: Callable[..., LiveWatch] = LiveWatch.over

    def __post_init__(self) -> None:
        """No row has come yet."""
        self.forget_rows()

    def forget_rows(self) -> None:
        """Hold no row any more, and no watch: all of the log comes anew."""
        self.rows = TaskRows(self.task, self.quarantines)
        self.unwatched = []
        self.watch_anew()

    def watch_anew(self) -> None:
        """Let every watch begin again from all rows."""
        self.live_watch = self.base_watch = None

    @property
    def champion(self) -> Champion:
        """What serves: nothing while none may keep anything."""
        serving = self.releases.serving
        if self.releases.is_alarmed or serving is None or serving.local_share is None:
            return Champion()
        return Champion(serving.number, serving.local_share)

    @property
    def apart(self) -> frozenset[str]:
        """The devices in quarantine."""
        return frozenset(device for device, one in self.quarantines.items() if one.lasts)

    @property
    def keeps(self) -> bool:
        """Whether what serves may keep answers: where all is asked in any case, the reference's are given."""
        return not (self.releases.is_alarmed or (self.is_suspected and self.task.budget == Limits()))

    def rate_at_ease(self, is_held: bool) -> float:
        """The exploration rate in [0, 1] while nothing is suspected; the operator may hold the task."""
        if self.trial is not None and not is_held:
            return self.trial.rate
        return exploration_at_rest(self.task, self.champion)

    def take(self, rows: list[tuple[int, Record]]) -> None:
        """Take in the next rows of the log: pairs of batch and record."""
        self.rows.take(rows)
        self.unwatched += [record for _, record in rows]

    def change(self, **changes: Any) -> None:
        """Change where the releases stand, after the shell has."""
        self.releases = replace(self.releases, **changes)

    def begin_trial(self, trial: Trial, taught: int, attempt: int) -> None:
        """A challenger waits, which learned from so many rows, and spends an attempt."""
        self.trial, self.taught, self.attempt = trial, taught, attempt
        self.rows.begin_trial(trial.freeze)

    def end_trial(self) -> None:
        """No challenger waits."""
        self.trial = None
        self.rows.end_trial()

    def situation(self, trial: Trial) -> Situation:
        """What further rows cost a challenger and bring it now."""
        return situation_of(self.task, self.rows.sums, trial, self.champion, self.in_vain())

    def in_vain(self) -> int:
        """Attempts since what serves was certified that came to nothing; the one that waits is not counted."""
        serving = self.releases.serving
        proof = None if serving is None else serving.manifest.certificate
        if serving is not None and proof is None:
            return 0
        waits = self.trial is not None and not self.trial.has_served
        return max(self.releases.attempt - (0 if proof is None else proof.attempt) - waits, 0)

    def why_uncertified(self, manifest: Manifest, inputs: StepInputs) -> str:
        """Why the certificate of a release does not stand; empty when it does."""

        def is_overtaken() -> bool:
            return inputs.is_overtaken(manifest, self.rows.version)

        served = self.releases.served.values()
        return why_uncertified(manifest, served, self.task, inputs.judged_by, is_overtaken)
