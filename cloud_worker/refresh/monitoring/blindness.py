"""Do as many explored rows come as were planned? While too few do, a watch sees nothing.

Rules:
 * Blind is told, and stops promotions; it ends when rows come as planned. It never makes anything escalate.
 * What devices still hold back excuses too few rows for an hour, no longer: a backlog that never drains hides nothing.
 * Of a device with twins, or in quarantine, nothing is planned and nothing counts.
 * No device alone makes a task blind, or hides that it is; see ``exploration_check``.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from cloud_worker.fleet.quarantines import Quarantines
from cloud_worker.fleet.twins import Incarnations
from cloud_worker.state.blind_spans import BlindSpans
from cloud_worker.state.store import Store
from cloud_worker.state.tallies import Tallies
from cloud_worker.state.traffic import Traffic
from router.core.certification.missing_rows import Spans
from router.core.domain.record import Record, may_certify
from router.core.domain.task import Task
from router.core.monitoring.exploration_check import Hour, expected, is_blind
from router.core.release.orders import Watch

log = logging.getLogger(__name__)

CHECK_SECONDS = 30.0  # between two checks
HOUR_SECONDS = 3600.0
MINUTE_SECONDS = 60
ON_THE_WAY_SECONDS = 120.0  # what was drawn since may still come
MINUTES_KEPT = 180  # of arrivals, which come about in order


@dataclass(frozen=True, slots=True)
class LastHour:
    """Explored rows that came in the last hour, those that were planned, and whether these are too few."""

    came: int = 0
    planned: float = 0.0
    is_blind: bool = False


class BlindnessCheck:
    """The check of one task: do the drawn rows come back?

    Attributes:
        last_hour: As of the last look.
    """

    def __init__(self, task: Task, store: Store) -> None:
        """Compare what comes of ``task`` with what its devices planned, as ``store`` knows it."""
        self._task = task
        self._store = store
        self._traffic, self._incarnations = Traffic(store.engine), Incarnations(store.engine)
        self._spans = BlindSpans(store.engine)
        self._tallies, self._quarantines = Tallies(store.engine), Quarantines(store.engine)
        self._minutes: dict[int, Counter[str]] = {}  # explored rows of each device, by the minute of their arrival
        self._checked_at = 0.0
        self._short_since = math.inf
        self.last_hour = LastHour()

    @property
    def spans(self) -> Spans:
        """When too few explored rows came to see anything."""
        return self._spans.of(self._task.name)

    def take(self, rows: Iterable[Record]) -> None:
        """Count the rows that came since."""
        for row in rows:
            if row.task_version == self._task.version and may_certify(row):
                minute = int(row.received_at // MINUTE_SECONDS)
                self._minutes.setdefault(minute, Counter())[row.caller] += 1
        oldest = max(self._minutes, default=0) - MINUTES_KEPT
        self._minutes = {minute: counts for minute, counts in self._minutes.items() if minute >= oldest}

    def begin_again(self) -> None:
        """Count anew from the log's first row on."""
        self._minutes = {}

    def observe(self, now: float) -> None:
        """Compare the explored rows of the last hour with those that should have come, at Unix time ``now``."""
        if now - self._checked_at < CHECK_SECONDS:
            return
        self._checked_at = now
        first = (now - HOUR_SECONDS) // MINUTE_SECONDS * MINUTE_SECONDS
        hours = self._hours(first, now)
        planned, came = expected(hours), sum(hour.came for hour in hours)
        blind = is_blind(hours)
        self._short_since = min(self._short_since, now) if blind else math.inf
        if blind and now - self._short_since < HOUR_SECONDS:
            blind = is_blind([hour.awaited for hour in hours])
        if blind:
            self._spans.begin(self._task.name, first)
        else:
            self._spans.end(self._task.name, now)
        self.last_hour = LastHour(came, planned, blind)
        self._note()

    def _note(self) -> None:
        """Keep whether it is blind, for all who read it; an alarm goes before."""
        state, seen = self._store.task_state(self._task.name), self.last_hour
        if seen.is_blind and state.watch is Watch.QUIET:
            log.warning(
                "task %s: blind: %d explored rows in an hour, %.0f planned", state.name, seen.came, seen.planned
            )
            self._store.update_task(state.name, watch=Watch.BLIND)
        elif not seen.is_blind and state.watch is Watch.BLIND:
            self._store.update_task(state.name, watch=Watch.QUIET)

    def _hours(self, first: float, now: float) -> list[Hour]:
        """The hours of each device: what it planned, what came, and what of all tasks may yet come."""
        came = Counter[str]()
        for minute, counts in self._minutes.items():
            if minute * MINUTE_SECONDS >= first:
                came.update(counts)
        planned = self._traffic.planned(self._task.name, first, now - ON_THE_WAY_SECONDS)
        held = self._tallies.held_back_since(now - HOUR_SECONDS)
        since = {one for one, spans in self._incarnations.spans().items() if any(until > first for _, until in spans)}
        since |= {one for one, apart in self._quarantines.of(self._task.name).items() if apart.until > first}
        devices = sorted((planned.keys() | came) - since)
        return [Hour(planned.get(one, 0.0), came[one], held.get(one, 0)) for one in devices]
