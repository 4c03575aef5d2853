"""What ``status`` and the metrics are told beside the watch: what would have stayed, and how the inputs look.

Rules:
 * Nothing is decided by it. What can't be told is left out, and noted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass, replace

from cloud_worker.refresh.monitoring.drift_monitor import InputMonitor, Windows
from cloud_worker.refresh.monitoring.shadow_counts import ShadowCounts
from cloud_worker.releases.publisher import Publisher
from cloud_worker.state.overrides import Override
from cloud_worker.state.store import Store
from cloud_worker.state.task_figures import Drifted, Figures, Observed
from router.core.certification.certificate_validity import content_of
from router.core.certification.certifying_rows import drawn_of
from router.core.certification.trial import Judging
from router.core.domain.record import Record
from router.core.domain.task import Mode, Task
from router.core.errors import HeadraceError
from router.core.learning.training_rows import Key
from router.core.release.manifest import Manifest

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PastRows:
    """Reads rows of the log anew.

    Attributes:
        of_keys: Those of some keys.
        of_release: Those that met a release and came since a Unix time in seconds.
    """

    of_keys: Callable[[Set[Key]], Iterable[Record]]
    of_release: Callable[[int, float], Iterable[Record]]


class ReleaseFigures:
    """The figures of the release that serves one task."""

    def __init__(self, task: Task, judging: Judging, store: Store, publisher: Publisher, past: PastRows) -> None:
        """Tell of ``task``, whose answers ``judging`` compares."""
        self._task = task
        self._judging = judging
        self._store = store
        self._publisher = publisher
        self._past = past
        self._shadow: ShadowCounts | None = None
        self._new: list[Record] = []  # that the shadow counts have not observed
        self._windows: dict[int, Windows] = {}
        self._inputs: InputMonitor | None = None
        self._unreadable = -1

    def begin_again(self) -> None:
        """Count anew from the log's first row on: some rows count no longer."""
        self._shadow, self._new, self._windows, self._inputs = None, [], {}, None

    def take(self, rows: Iterable[Record]) -> None:
        """Take in the rows that came since."""
        for row in rows:
            if row.task_version == self._task.version and row.release:
                windows = self._windows.setdefault(row.release, Windows(self._task.exploration.floor))
                windows.take(row)
                if self._shadow is not None:
                    self._new.append(row)

    def complete(self, figures: Figures, override: Override, champion: Manifest) -> Figures:
        """Add to the figures what is known of the release that serves.

        Args:
            figures: Of the watch and the challenger.
            override: The operator's.
            champion: What serves.
        """
        self._windows = {number: one for number, one in self._windows.items() if number >= champion.number}
        if champion.student is None:
            return figures
        if override.mode is Mode.OBSERVE:
            figures = replace(figures, observed=self._observed(champion.number, override.mode_since))
        else:
            self._shadow, self._new = None, []
        return replace(figures, drifted=self._drifted(champion))

    def _observed(self, release: int, since: float) -> Observed:
        """What would have stayed since Unix time ``since`` in seconds."""
        known = self._shadow
        if known is None or (known.figures.release, known.figures.since) != (release, since):
            self._shadow = known = ShadowCounts(release, since, self._judging)
            self._new = list(self._past.of_release(release, since))
        new, self._new = self._new, []
        return known.observe(new)

    def _drifted(self, champion: Manifest) -> Drifted | None:
        name, number = self._task.name, champion.number
        if self._unreadable == number:
            return None
        try:
            if self._inputs is None or self._inputs.figures.release != number:
                student = self._publisher.student(name, number, champion)
                self._inputs = InputMonitor(number, champion.policy.threshold, student)
            windows = self._windows.get(number, Windows(self._task.exploration.floor))
            return self._inputs.observe(windows, lambda: self._certified(champion))
        except (HeadraceError, OSError) as error:
            log.warning("task %s: the inputs of release %d can't be looked at: %s", name, number, error)
            self._unreadable = number
            return None

    def _certified(self, champion: Manifest) -> list[Record]:
        """The rows, of those that certified a release, that stand for all queries alike."""
        if champion.certificate is None:
            return []
        keys = self._store.spent_by(self._task.name, content_of(champion))
        return drawn_of(self._past.of_keys(keys), champion.certificate)
