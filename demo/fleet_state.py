"""Where fleet and refresh stand, read from what the cloud keeps: for the view, and for lockstep.

Rules:
 * A report tells of everything before a moment when it is the second one that came after it: the first may have been
   under way.
 * An agent that was killed counts from 0 again, so that its counters alone would hold the stream for ever.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.log.distillation_log import DistillationLog
from cloud_worker.log.spool import pending_in
from cloud_worker.releases.publisher import Publisher
from cloud_worker.state.states import Phase
from cloud_worker.state.store import Device, Store, TaskState
from cloud_worker.state.task_figures import Board, Figures
from demo.setting import TASK
from router.core.errors import UnavailableError
from router.core.release.reports import TaskReport

SETTLE_SECONDS = 1800.0
POLL_SECONDS = 0.03
QUIET_PHASES = (Phase.IDLE, Phase.WAITING)


@dataclass(frozen=True, slots=True)
class FleetState:
    """One look at the loop.

    Attributes:
        state: Of the demo's task.
        devices: All that have reported.
        figures: What the refresher saw last, ``None`` before its first look.
        labels: What the student that serves can answer.
    """

    state: TaskState
    devices: tuple[Device, ...]
    figures: Figures | None = None
    labels: frozenset[str] = frozenset()

    def report(self, device: str) -> TaskReport | None:
        """A device's last report of the demo's task."""
        for known in self.devices:
            if known.id == device and known.report is not None:
                return next((task for task in known.report.tasks if task.task == TASK), None)
        return None


class Freshness:
    """Which devices have told everything that happened before ``since``."""

    def __init__(self, since: float) -> None:
        """Begin at ``since``, Unix time in seconds."""
        self._since = since
        self._first: dict[str, float] = {}

    def has_told(self, known: Device) -> bool:
        """Whether a device's last report is the second one or a later one after ``since``."""
        if known.last_seen <= self._since:
            return False
        return known.last_seen > self._first.setdefault(known.id, known.last_seen)


class Observer:
    """Reads the store, the spools and the log of a running cloud."""

    def __init__(self, config: CloudConfig) -> None:
        """Look at the cloud that ``config`` describes."""
        self._store = Store(config.store_url)
        self._log = DistillationLog(config.log_folder)
        self._spools: Path = config.spool_folder
        self._board = Board(self._store.engine)
        self._publisher = Publisher(config.releases_folder)
        self._labels: tuple[int, frozenset[str]] = (0, frozenset())

    def read(self) -> FleetState:
        """Where everything stands now."""
        fleet_state = self._fleet()
        state = fleet_state.state
        return replace(
            fleet_state, figures=self._board.read(TASK, state.version), labels=self._labels_of(state.champion)
        )

    def _fleet(self) -> FleetState:
        return FleetState(self._store.task_state(TASK), tuple(self._store.devices()))

    def _labels_of(self, release: int) -> frozenset[str]:
        if release != self._labels[0]:
            student = self._publisher.manifest(TASK, release).student
            self._labels = release, frozenset(student.labels if student else ())
        return self._labels[1]

    def unsettled(self, answered: dict[str, int], freshness: Freshness) -> str:
        """What is still being computed or copied, in words; empty when nothing is.

        Args:
            answered: How many queries each device has answered, as the caller counts.
            freshness: Since the last of them was answered.
        """
        fleet_state = self._fleet()
        for device, count in answered.items():
            problem = self._behind(fleet_state, device, count, freshness)
            if problem:
                return problem
        if pending_in(self._spools):
            return "the spool is being drained"
        if fleet_state.state.log_version_seen != self._log.last_batch():
            return "the refresher has not seen the whole log"
        if fleet_state.state.phase not in QUIET_PHASES:
            return f"the refresher is {fleet_state.state.phase}"
        return ""

    def _behind(self, fleet_state: FleetState, device: str, count: int, freshness: Freshness) -> str:
        report, state = fleet_state.report(device), fleet_state.state
        known = next((known for known in fleet_state.devices if known.id == device), None)
        if report is None or known is None or known.report is None:
            return f"{device} has not reported"
        if report.answered + report.failed < count and not freshness.has_told(known):
            return f"{device} has reported {report.answered} of {count} answers"
        if known.report.outbox_pending:
            return f"{device} still sends {known.report.outbox_pending} queries for teaching"
        if report.active_release != state.champion and state.champion not in dict(report.refused):
            return f"{device} runs release {report.active_release}, not {state.champion}"
        if abs(report.exploration - state.exploration) > 1e-9:
            return f"{device} explores at {report.exploration}, not {state.exploration}"
        return ""

    def undrained(self, freshness: Freshness) -> str:
        """What has not reached the log yet, in words; empty when everything has.

        Args:
            freshness: Since the last answer.
        """
        for known in self._fleet().devices:
            if known.report is None or not known.report.tasks:
                continue
            if not freshness.has_told(known):
                return f"{known.id} has not reported"
            if known.report.outbox_pending:
                return f"{known.id} still sends {known.report.outbox_pending} queries for teaching"
        return "the spool is being drained" if pending_in(self._spools) else ""

    async def drained(self) -> None:
        """Wait until everything that was answered has reached the log.

        Raises:
            UnavailableError: It takes too long; says what was waited for.
        """
        freshness = Freshness(time.time())
        await _until(lambda: self.undrained(freshness))

    async def settle(self, answered: Callable[[], dict[str, int]]) -> None:
        """Wait until nothing is being computed or copied.

        Raises:
            UnavailableError: It takes too long; says what was waited for.
        """
        freshness = Freshness(time.time())
        await _until(lambda: self.unsettled(answered(), freshness))


async def _until(problem: Callable[[], str]) -> None:
    deadline = time.monotonic() + SETTLE_SECONDS
    while found := await asyncio.to_thread(problem):
        if time.monotonic() > deadline:
            raise UnavailableError(f"the loop did not settle within {SETTLE_SECONDS:.0f} s: {found}")
        await asyncio.sleep(POLL_SECONDS)
