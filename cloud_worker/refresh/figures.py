"""What ``status`` and the metrics are told beside the watch: what would have stayed, and how the inputs look.

Rules:
 * Nothing is decided by it. What can't be told is left out, and noted.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from cloud_worker.refresh.drift_monitor import Inputs
from cloud_worker.refresh.shadow_counts import Observing
from cloud_worker.releases.publisher import Publisher
from cloud_worker.state.overrides import Hand
from cloud_worker.state.store import Store
from cloud_worker.state.task_figures import Drifted, Figures
from router.core.certification.certificate_validity import content_of
from router.core.certification.certifying_rows import drawn_of
from router.core.certification.trial import Judging
from router.core.domain.record import Record
from router.core.domain.task import Mode, Task
from router.core.errors import HeadraceError
from router.core.release.manifest import Manifest

log = logging.getLogger(__name__)


class Telling:
    """Of one task."""

    def __init__(self, task: Task, judging: Judging, store: Store, publisher: Publisher) -> None:
        """Tell of ``task``, whose answers ``judging`` compares."""
        self._task = task
        self._judging = judging
        self._store = store
        self._publisher = publisher
        self._observing: Observing | None = None
        self._inputs: Inputs | None = None
        self._unreadable = -1

    def complete(self, figures: Figures, hand: Hand, champion: Manifest, rows: Sequence[Record]) -> Figures:
        """Add to the figures what is known of the release that serves.

        Args:
            figures: Of the watch and the challenger.
            hand: The operator's.
            champion: What serves.
            rows: All of the task, in the log's order.
        """
        if champion.student is None:
            return figures
        if hand.mode is Mode.OBSERVE:
            known = self._observing
            if known is None or (known.figures.release, known.figures.since) != (champion.number, hand.mode_since):
                self._observing = known = Observing(champion.number, hand.mode_since, self._judging)
            figures = replace(figures, observed=known.look(rows))
        return replace(figures, drifted=self._drifted(champion, rows))

    def _drifted(self, champion: Manifest, rows: Sequence[Record]) -> Drifted | None:
        name, number = self._task.name, champion.number
        if self._unreadable == number:
            return None
        try:
            if self._inputs is None or self._inputs.figures.release != number:
                student = self._publisher.student(name, number, champion)
                self._inputs = Inputs(number, self._task.exploration.floor, champion.policy.threshold, student)
            since = [row for row in rows if row.release == number and row.task_version == self._task.version]
            if not self._inputs.has_new(since):
                return self._inputs.figures
            return self._inputs.look(self._certified(champion, rows), since)
        except (HeadraceError, OSError) as error:
            log.warning("task %s: the inputs of release %d can't be looked at: %s", name, number, error)
            self._unreadable = number
            return None

    def _certified(self, champion: Manifest, rows: Sequence[Record]) -> list[Record]:
        """Of the rows that certified a release, those that stand for all queries alike."""
        if champion.certificate is None:
            return []
        keys = self._store.spent_by(self._task.name, content_of(champion))
        return drawn_of((row for row in rows if row.key in keys), champion.certificate)
