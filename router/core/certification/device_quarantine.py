"""Devices in quarantine: which of their rows say nothing, and when such a device has shown that it may come back.

Rules:
 * A device in quarantine keeps nothing, so that it loses nothing. What it gave before speaks of no promise any more,
   whatever it said: the watch is as if it had never been there.
 * What it asks does not teach either: its answers are not those of the others' population.
 * It comes back once its own rows since speak against a loss of the allowance, under the release that serves, at the
   alpha of the next attempt, shared by all that wait to come back. It is a proof like any other: for its rows alone, on
   all of its queries, each of them once, from the first on that shows that it escalates what it is sure of.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from router.core.certification.evidence import Evidence
from router.core.certification.fleet_watch import FleetWatch
from router.core.certification.observations import Columns, Observation
from router.core.certification.trial import Judging
from router.core.domain.record import Record, had_to_be_asked, may_certify
from router.core.domain.task import Kind
from router.core.learning.training_rows import would_stay
from router.core.statistics.dependence import dependence
from router.core.statistics.likeness import likeness

ACCUSED_SHARE = 0.25  # of the watch's alpha: how seldom a device is accused for nothing
MOST_ROWS = 2_000  # of one device, under one release, that are observed; after that the next release has to come


@dataclass(frozen=True, slots=True)
class Apart:
    """When a device was in quarantine.

    Attributes:
        since: Unix time in seconds at which the latest row had been received by then.
        until: The same of its end, infinite while it lasts: no row received until then speaks of a promise.
    """

    since: float
    until: float = math.inf

    @property
    def lasts(self) -> bool:
        """Whether it is in quarantine now."""
        return self.until == math.inf


class Accusation:
    """Looks over rows of a fleet for a device that loses alone.

    A text counts once of each device: a wrong answer that is asked for again and again is one piece of evidence. What
    the others lose is read the same way, so that a fleet whose rare texts are hard accuses nobody.
    """

    def __init__(self, promise: float, alpha: float) -> None:
        """Accuse who loses alone more than ``promise``, in (0, 1); ``alpha`` is the watch's, in (0, 1)."""
        self._watch = FleetWatch(promise, alpha * ACCUSED_SHARE)
        self._told: set[tuple[str, int]] = set()
        self.accused = ""

    def meet(self, device: str, at: float) -> None:
        """Hear that a device has given a row that speaks of the promise, received at Unix time ``at`` in seconds."""
        self._watch.meet(device, at)

    def update(self, device: str, text: int, lost: bool) -> None:
        """Observe a device's answer to a text, by its number; nothing that comes after an accusation counts."""
        if self.accused or (device, text) in self._told:
            return
        self._told.add((device, text))
        self._watch.update(device, lost)
        if lost:
            self.accused = self._watch.who_loses_alone()


Quarantines = Mapping[str, Apart]  # by device


def is_apart(row: Record, quarantines: Quarantines) -> bool:
    """Whether a row says nothing because of its device."""
    known = quarantines.get(row.caller)
    return known is not None and row.received_at <= known.until


def may_show(row: Record, since: float) -> bool:
    """Whether a row of a device in quarantine ``since`` then may speak for it."""
    return row.received_at > since and not row.kept and (had_to_be_asked(row) or may_certify(row))


def has_shown(rows: Sequence[Record], judging: Judging, kind: Kind, allowance: float, alpha: float) -> bool:
    """Whether a device's rows in quarantine prove that it may keep answers again.

    Args:
        rows: That may show it, of the release that serves, the first ``MOST_ROWS``, in the log's order.
        judging: The task's judge.
        kind: Of the task.
        allowance: Largest loss, in (0, 1).
        alpha: Chance of a false proof, in (0, 1).
    """
    obeys = next((position for position, row in enumerate(rows) if would_stay(row)), len(rows))
    observations = [_observation(row, judging, kind) for row in rows[obeys + 1 :]]
    if not observations:
        return False
    columns = Columns.of(observations)
    found = dependence(columns.alike, columns.callers, columns.weights, columns.wrong)
    evidence = Evidence.of(columns, np.ones(len(observations), np.bool_), found, 0)
    return evidence.at(0.5, allowance) >= -math.log(alpha)


def _observation(row: Record, judging: Judging, kind: Kind) -> Observation:
    lost = would_stay(row) and not judging(row.text, row.local_answer or "", row.answer)
    alike = likeness(row.text, row.answer if kind is Kind.LABEL else "", row.conversation)
    return Observation(score=1.0, wrong=lost, release=row.release, kept=would_stay(row), caller=row.caller, alike=alike)
