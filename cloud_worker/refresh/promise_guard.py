"""Keeps the promise of one task while a release serves: the watch, the way back, the operator override.

    quiet ◀──rows come as planned── blind        pinned by force: unproven ──unpinned──▶ a former release, or the cloud
      │ ▲                             ▲
      │ └──────too few rows for an hour
      └──the promise breaks──▶ alarmed ──a former release's certificate stands──▶ quiet, under a new number
                                  └──none does: everything escalates until another one is certified

Rules:
 * What keeps answers has a certificate that stands (``certificates``): where a wish grows stricter, or
   another version of the reference answers, everything escalates as after an alarm, until a former release's stands or
   another one is certified. Where the wish is taken back, the same release serves again.
 * An alarm is told to the devices first; only then a former release is looked for.
 * A pin is obeyed before anything else, and an alarm does not undo it: what is pinned then keeps nothing.
 * A release that serves without proof is not watched for an alarm: the operator wants it so, and is told of its losses.
 * Blind is told, and stops promotions; it ends when rows come as planned. It never makes anything escalate.
 * What devices still hold back excuses too few rows for an hour, no longer: a backlog that never drains hides nothing.
 * Of a device with twins nothing is planned and nothing counts.
 * No device alone makes a task blind, or hides that it is; see ``sighting``.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from cloud_worker.fleet.device_lives import Lives
from cloud_worker.refresh.failure_reason import reason_of
from cloud_worker.refresh.figures import Telling
from cloud_worker.releases.fallback import Search
from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.rollback import is_same_release, mark_alarmed, mark_fallen, roll_back, whole_release
from cloud_worker.state.blind_spans import Blindness
from cloud_worker.state.overrides import Hand, Hands
from cloud_worker.state.store import Store, TaskState
from cloud_worker.state.tallies import Tallies
from cloud_worker.state.task_figures import Board, Figures, Waiting, Watched
from cloud_worker.state.traffic import Traffic
from router.core.certification.live_watch import ALARMED, Lookout
from router.core.certification.missing_rows import Spans
from router.core.certification.refresh_schedule import Champion, exploration_at_rest
from router.core.certification.trial import Judging
from router.core.domain.record import Record, may_certify
from router.core.domain.task import Task
from router.core.errors import HeadraceError
from router.core.learning.training_rows import current, version_in_force
from router.core.monitoring.exploration_check import Hour, expected, is_blind
from router.core.policy.deferral import Policy
from router.core.release.manifest import Manifest
from router.core.release.orders import Watch
from router.core.statistics.threshold_planning import NEVER

log = logging.getLogger(__name__)

QUIET, BLIND, UNPROVEN = Watch.QUIET, Watch.BLIND, Watch.UNPROVEN
LOOK_SECONDS = 30.0  # between two looks when nothing new comes
HOUR_SECONDS = 3600.0
ON_THE_WAY_SECONDS = 120.0  # what was drawn since may still come


@dataclass(frozen=True, slots=True)
class Around:
    """What a guard works with: the store, its folders and tables."""

    store: Store
    publisher: Publisher
    hands: Hands
    traffic: Traffic
    board: Board
    blindness: Blindness
    lives: Lives

    @classmethod
    def of(cls, store: Store, publisher: Publisher) -> Around:
        """Everything that lies in a store, and the releases."""
        engine = store.engine
        return cls(store, publisher, Hands(engine), Traffic(engine), Board(engine), Blindness(engine), Lives(engine))


class Guard:
    """Of one task.

    Attributes:
        hand: The operator's, as read last.
    """

    def __init__(self, task: Task, judging: Judging, around: Around, clock: Callable[[], float] = time.time) -> None:
        """Guard ``task``, whose answers ``judging`` compares; ``clock`` tells Unix time in seconds."""
        self._task = task
        self._judging = judging
        self._around = around
        self._clock = clock
        self._lookout: Lookout | None = None
        self._telling = Telling(task, judging, around.store, around.publisher)
        self._champion: Manifest | None = None
        self._tried = -1
        self._looked_at = self._sighted_at = 0.0
        self._short_since = math.inf
        self._figures = Figures(0.0)
        self.hand = Hand()

    @property
    def holds(self) -> str:
        """Why nothing is to be fitted or promoted now; empty when nothing holds it."""
        return self.hand.holds or ("too few explored rows come to see anything" if self._figures.blind else "")

    @property
    def blind(self) -> Spans:
        """When too few explored rows came to see anything."""
        return self._around.blindness.of(self._task.name)

    def is_due(self, hand: Hand) -> bool:
        """Whether to look although the log has nothing new: the operator's ``hand`` has moved, or it is time."""
        return hand != self.hand or self._clock() - self._looked_at >= LOOK_SECONDS

    def look(self, rows: Sequence[Record], judged_by: str) -> bool:
        """Obey the operator, watch what serves, and give way where it may not.

        Args:
            rows: All of the task, in the log's order.
            judged_by: The judge of the task's lineage, empty if none is known.

        Returns:
            Whether another release serves now, or the one that served may keep nothing any more.
        """
        self._looked_at = self._clock()
        self.hand = self._around.hands.of(self._task.name)
        before = self._state()
        self._obey()
        self._hold_to_certificate(rows, judged_by)  # before the watch: what was never promised can't be broken
        self._watch(rows)
        self._give_way(rows, judged_by)
        self._see(rows)
        after = self._state()
        return (before.champion, before.watch == ALARMED) != (after.champion, after.watch == ALARMED)

    def begin_again(self) -> None:
        """Watch anew from the log's first row on: some rows count no longer."""
        self._lookout = None

    def post(self, rows: Sequence[Record], taught: int, needed: int, waiting: Waiting | None) -> None:
        """Tell what was seen.

        Args:
            rows: All of the task, in the log's order.
            taught: Of them, those that may teach.
            needed: Those that start the next fit.
            waiting: The challenger, if there is one.
        """
        known = replace(self._figures, at=self._clock(), taught=taught, needed=needed, waiting=waiting)
        told = self._telling.complete(known, self.hand, self._serving(self._state()), rows)
        self._around.board.post(self._task.name, self._task.version, told)

    def _obey(self) -> None:
        """Let the pinned release serve."""
        state, pinned = self._state(), self.hand.pinned
        if pinned is None:
            return
        try:
            wanted = whole_release(self._around.store, self._around.publisher, self._task.name, pinned)
            unproven = self.hand.forced or wanted.student is None
            if is_same_release(wanted, self._serving(state)):
                if self.hand.forced and state.watch != UNPROVEN:
                    self._around.store.update_task(self._task.name, watch=UNPROVEN)
                return
            self._roll_back(wanted, UNPROVEN if unproven else QUIET)
        except (HeadraceError, OSError) as error:
            log.error("task %s: release %d is pinned, and can't serve: %s", self._task.name, pinned, error)
            note = f"release {pinned} can't serve: {reason_of(error)}"
            self._around.store.update_task(self._task.name, phase_note=note)

    def _watch(self, rows: Sequence[Record]) -> None:
        """Look at what the champion kept; when that breaks the promise, everything escalates."""
        state = self._state()
        champion = self._serving(state)
        if champion.student is None:
            self._figures = replace(self._figures, watched=None)
            return
        if self._lookout is None or self._lookout.release != state.champion:
            self._lookout = Lookout.over(state.champion, self._task, self._judging, self._numbers_of(champion))
        self._lookout.look(rows, self.blind)
        seen = self._lookout.watch.freeze()
        evidence = max(0.0, self._lookout.watch.log_evidence / -math.log(seen.alpha))
        self._figures = replace(self._figures, watched=Watched(state.champion, seen.rows, seen.losses, evidence))
        if seen.alarmed and state.watch not in {ALARMED, UNPROVEN}:
            log.warning("task %s: release %d breaks its promise; everything escalates", self._task.name, state.champion)
            mark_alarmed(self._around.store, self._task.name, state.champion)
            self._escalate_all()

    def _hold_to_certificate(self, rows: Sequence[Record], judged_by: str) -> None:
        """Let nothing stay whose certificate does not stand; what fell with a wish that is gone serves again."""
        state, version = self._state(), version_in_force(rows, self._task)
        champion = self._serving(state)
        if champion.student is None or state.watch == UNPROVEN:
            return
        search = self._search(judged_by)
        if version:
            mark_fallen(self._around.store, state.name, state.champion, search.overtaken(champion, version))
        why = search.why_fallen(champion, version)
        if why and state.watch != ALARMED:
            log.warning("task %s: release %d: %s; everything escalates", state.name, state.champion, why)
            self._escalate_all()
        elif not why and state.watch == ALARMED:
            log.warning("task %s: release %d: its certificate stands again", state.name, state.champion)
            self._around.store.update_task(state.name, watch=QUIET)

    def _search(self, judged_by: str) -> Search:
        return Search(self._task, self._judging, judged_by, self._around.store, self._around.publisher)

    def _give_way(self, rows: Sequence[Record], judged_by: str) -> None:
        """From what has alarmed, or was pinned without proof until now, back to a release whose proof stands."""
        state = self._state()
        champion = self._serving(state)
        fallen = champion.student is not None and state.watch in {ALARMED, UNPROVEN}
        if not fallen or self.hand.pinned is not None or self._tried == state.champion:
            return
        self._tried = state.champion
        if state.watch == UNPROVEN:
            self._escalate_all()
        former = self._search(judged_by).find(champion, current(rows, self._task))
        if former is not None:
            manifest = self._around.publisher.manifest(self._task.name, former)
            log.warning("task %s: release %d serves again", self._task.name, former)
            self._roll_back(manifest, QUIET)

    def _see(self, rows: Sequence[Record]) -> None:
        """Compare the explored rows of the last hour with those that should have come."""
        now = self._clock()
        if now - self._sighted_at < LOOK_SECONDS:
            return
        self._sighted_at = now
        first = (now - HOUR_SECONDS) // 60 * 60
        hours = self._hours(_explored_since(rows, first, self._task), first, now)
        planned, came = expected(hours), sum(hour.came for hour in hours)
        blind = is_blind(hours)
        self._short_since = min(self._short_since, now) if blind else math.inf
        if blind and now - self._short_since < HOUR_SECONDS:
            blind = is_blind([hour.awaited for hour in hours])
        self._remember(blind, first, now)
        self._figures = replace(self._figures, hour_rows=came, hour_planned=planned, blind=blind)
        state = self._state()
        if blind and state.watch == QUIET:
            log.warning("task %s: blind: %d explored rows in an hour, %.0f planned", state.name, came, planned)
            self._around.store.update_task(state.name, watch=BLIND)
        elif not blind and state.watch == BLIND:
            self._around.store.update_task(state.name, watch=QUIET)

    def _remember(self, blind: bool, first: float, now: float) -> None:
        """Keep when it is blind: from the first hour that brought too few rows until one brings them."""
        if blind:
            self._around.blindness.begin(self._task.name, first)
        else:
            self._around.blindness.end(self._task.name, now)

    def _hours(self, came: Counter[str], first: float, now: float) -> list[Hour]:
        """Of each device: what it planned, what came, and what it still has to teach, of all tasks: it may yet come."""
        planned = self._around.traffic.planned(self._task.name, first, now - ON_THE_WAY_SECONDS)
        held = Tallies(self._around.store.engine).held_back_since(now - HOUR_SECONDS)
        since = {one for one, spans in self._around.lives.spans().items() if any(until > first for _, until in spans)}
        devices = sorted((planned.keys() | came) - since)
        return [Hour(planned.get(one, 0.0), came[one], held.get(one, 0)) for one in devices]

    def _escalate_all(self) -> None:
        cold = self._task.exploration.cold  # costs nothing now, since everything escalates
        self._around.store.update_task(self._task.name, watch=ALARMED, rows_at_refresh=0, exploration=cold)

    def _roll_back(self, wanted: Manifest, watch: Watch) -> None:
        rate = exploration_at_rest(self._task, Champion(wanted.number if wanted.student is not None else 0))
        around = self._around
        roll_back(around.store, around.publisher, self._task, wanted.number, watch=watch, exploration=rate)

    def _numbers_of(self, manifest: Manifest) -> frozenset[int]:
        """Every number under which this content served at this threshold."""
        rows = self._around.store.releases(self._task.name)
        served = [row.number for row in rows if row.state.has_served]
        manifests = [self._manifest(number) for number in served]
        return frozenset(one.number for one in manifests if one is not None and is_same_release(one, manifest))

    def _serving(self, state: TaskState) -> Manifest:
        """The champion's manifest; one without a student where it is lost."""
        if self._champion is None or self._champion.number != state.champion:
            found = self._manifest(state.champion)
            self._champion = found or Manifest(self._task, state.champion, 0.0, Policy(NEVER))
        return self._champion

    def _manifest(self, number: int) -> Manifest | None:
        try:
            return self._around.publisher.manifest(self._task.name, number)
        except (HeadraceError, OSError) as error:
            log.error("task %s: release %d can't be read: %s", self._task.name, number, error)
            return None

    def _state(self) -> TaskState:
        return self._around.store.task_state(self._task.name)


def _explored_since(rows: Sequence[Record], first: float, task: Task) -> Counter[str]:
    """Explored rows of each device that came since Unix time ``first`` in seconds; they come about in that order."""
    counts: Counter[str] = Counter()
    for row in reversed(rows):
        if row.received_at < first - HOUR_SECONDS:
            break
        if row.received_at >= first and row.task_version == task.version and may_certify(row):
            counts[row.caller] += 1
    return counts
