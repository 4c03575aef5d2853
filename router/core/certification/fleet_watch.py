"""The watch over a release, read by traffic and by devices, so that no device alone decides.

Two readings of the same explored rows: *by traffic* takes each as it comes; *by devices* takes them such that no device
is ahead of its fair share. What is alarmed on is the mean of their bets, and that mean without any one device.

Rules:
 * Half of the stake is on each reading, so either can alarm, with a false-alarm bound of alpha for both together.
 * In a fleet of three devices and more the alarm must stand without each one of them: what one device says, true or
   forged, never alarms alone. Asking for more than the bound needs leaves the bound.
 * A device loses alone where both readings together reach the bound, and without it nothing speaks against the others:
   their bet stands at 1 or below.
 * What one device says never hides the others: by devices it weighs as one.
 * Of two devices nobody can tell which one is wrong: by devices, where they weigh the same, either can alarm with the
   square of the evidence, and the promise goes first. A fleet of one device is that device, watched as if alone.
 * Which rows are taken, and when, does not depend on what they say.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, deque
from dataclasses import replace

import numpy as np

from router.core.arrays import Array
from router.core.certification.device_shares import DEVICE_SHARE, Presence
from router.core.statistics.e_process import RESTART_ROWS, Watch, WatchState, log_add, log_gains, log_restart_weight

SEVERAL = 3  # devices, of which one may be left out
PRESENT_SECONDS = 86_400.0  # a device that gave no row for a day, nor any of the latest, is no part of the fleet
MOST_WAITING = 50  # latest rows of a device that wait for their share
MEET_AGAIN_ROWS = 20  # between two checks at who is there


class Reading:
    """The watch over a stream of rows, and the same without each device that has lost one."""

    def __init__(self, promise: float, alpha: float) -> None:
        """Watch for a loss above ``promise``, in (0, 1), at ``alpha``, in (0, 1)."""
        self.all = Watch(WatchState(promise, alpha))
        self._gains = np.array(log_gains(promise))  # (bets, 2): a row not lost, and one that is
        self._bets = np.empty((0, len(self._gains)))  # (devices left out, bets)
        self._left_out: dict[int, int] = {}  # device, and its row in the bets
        self._well: Counter[int] = Counter()  # rows by device, none of them lost, that the bets don't hold yet
        self._devices: list[int] = []
        self._lost: list[bool] = []

    @property
    def left_out(self) -> list[int]:
        """The devices that have lost a row, in the order of ``without``."""
        return [*self._left_out]

    def leave_out(self, device: int) -> None:
        """Follow from now on what stands without a device, as if it had been followed from the start."""
        self._settle()
        self._left_out[device] = len(self._left_out)
        self._bets = np.vstack([self._bets, self._without(device)])

    def update(self, device: int, lost: bool) -> None:
        """Observe one more row."""
        if len(self._lost) % RESTART_ROWS == 0:
            self._settle()
            self._bets = np.logaddexp(self._bets, log_restart_weight(len(self._lost) // RESTART_ROWS + 1))
        self._devices.append(device)
        self._lost.append(lost)
        self.all.update(lost)
        if lost:
            self._settle()
            others = np.array([one != device for one in self._left_out], np.bool_)
            self._bets[others] += self._gains[:, 1]
        else:
            self._well[device] += 1

    def _settle(self) -> None:
        """Bring the rows that were not lost into the bets: many at once, since most rows are such."""
        counts = self._well.total() - np.array([self._well[one] for one in self._left_out])
        self._bets = self._bets + counts.reshape(-1, 1) * self._gains[:, 0]
        self._well.clear()

    def without(self) -> Array:
        """(devices left out,) natural logarithms of the bet without each, in their order."""
        self._settle()
        restarts = -(-len(self._lost) // RESTART_ROWS)
        started = np.logaddexp.reduce(self._bets, axis=1) - math.log(len(self._gains))
        return np.asarray(np.logaddexp(started, -math.log(restarts + 1)))

    def _without(self, device: int) -> Array:
        """(bets,) logarithms of the bets over the rows so far but a device's, restarts as in ``all``."""
        rows = len(self._lost)
        if not rows:
            return np.full(len(self._gains), -math.inf)
        gains = self._gains[:, np.array(self._lost, int)] * (np.array(self._devices) != device)
        sums = np.concatenate([np.zeros((len(gains), 1)), np.cumsum(gains, axis=1)], axis=1)
        starts = np.arange(0, rows, RESTART_ROWS)
        weights = np.array([log_restart_weight(restart + 1) for restart in range(len(starts))])
        return np.asarray(np.logaddexp.reduce(weights - sums[:, starts], axis=1) + sums[:, -1])


class FleetWatch:
    """The live watch over one release of one task."""

    def __init__(self, promise: float, alpha: float) -> None:
        """Watch for a loss above ``promise``, in (0, 1); a false alarm has a chance of at most ``alpha``."""
        self._traffic, self._shared = Reading(promise, alpha), Reading(promise, alpha)
        self._queue = _FairQueue()
        self._presence = Presence(PRESENT_SECONDS)
        self._numbers: dict[str, int] = {}
        self._losers: set[int] = set()
        self._limit = -math.log(alpha)
        self._met = self._fleet = self._alarm_row = 0

    def meet(self, device: str, at: float) -> None:
        """Hear that a device has given a row that speaks of the promise, of this release or another.

        Args:
            device: Its name.
            at: Unix time in seconds at which the row was received.
        """
        is_new = self._presence.meet(device, at)
        if is_new or self._met % MEET_AGAIN_ROWS == 0:
            self._fleet = len(self._presence.heard())
        self._met += 1

    def update(self, device: str, lost: bool) -> bool:
        """Observe one more explored row of the release; say whether the alarm is on."""
        number = self._numbers.setdefault(device, len(self._numbers))
        if lost and number not in self._losers:
            self._losers.add(number)
            for reading in (self._traffic, self._shared):
                reading.leave_out(number)
        self._traffic.update(number, lost)
        told = lost
        for one, was_lost in self._queue.take(number, lost, self._fleet):
            self._shared.update(one, was_lost)
            told = told or was_lost
        if told and not self._alarm_row and self.log_evidence >= self._limit:
            self._alarm_row = self._traffic.all.freeze().rows
        return self._alarm_row > 0

    def who_loses_alone(self) -> str:
        """The device that carries all of the evidence; empty for none, and where the alarm is on."""
        if self._alarm_row or self._fleet < 2 or not self._losers or self.log_pooled < self._limit:
            return ""
        others = np.logaddexp(self._traffic.without(), self._shared.without()) - math.log(2.0)
        least = int(others.argmin())
        return [*self._numbers][self._traffic.left_out[least]] if others[least] <= 0.0 else ""

    @property
    def log_evidence(self) -> float:
        """Natural logarithm of what is alarmed on."""
        both = self.log_pooled
        if not self._losers or self._fleet < 2:
            return both
        shared = self._shared.without() if self._fleet >= SEVERAL else np.array(self._shared.all.log_evidence / 2.0)
        alone = np.logaddexp(self._traffic.without(), shared) - math.log(2.0)
        return min(both, float(alone.min()))

    @property
    def log_pooled(self) -> float:
        """Natural logarithm of the mean of both readings, no device left out."""
        return log_add(self._traffic.all.log_evidence, self._shared.all.log_evidence) - math.log(2.0)

    def freeze(self) -> WatchState:
        """What was seen, by traffic; the alarm is the fleet's."""
        return replace(self._traffic.all.freeze(), alarm_row=self._alarm_row)


class _FairQueue:
    """Lets rows through such that no device is ahead of its share; the latest of each wait for theirs."""

    def __init__(self) -> None:
        """Nothing waits yet."""
        self._waiting: dict[int, deque[bool]] = {}
        self._taken: Counter[int] = Counter()
        self._total = 0
        self._next: list[tuple[int, int]] = []  # rows taken, and device: a heap of those that have rows waiting

    def take(self, device: int, lost: bool, fleet: int) -> list[tuple[int, bool]]:
        """The rows that may be observed now that one of a device has come, in a fleet of so many."""
        waiting = self._waiting.setdefault(device, deque(maxlen=MOST_WAITING))
        if not waiting:
            heapq.heappush(self._next, (self._taken[device], device))
        waiting.append(lost)
        share, through = max(DEVICE_SHARE, 1.0 / max(fleet, 1)), []
        while self._next and self._next[0][0] < share * self._total + 1.0:
            one = heapq.heappop(self._next)[1]
            through.append((one, self._waiting[one].popleft()))
            self._taken[one] += 1
            self._total += 1
            if self._waiting[one]:
                heapq.heappush(self._next, (self._taken[one], one))
        return through
