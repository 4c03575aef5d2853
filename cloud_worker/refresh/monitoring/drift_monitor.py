"""Looks at the inputs of a release that serves, window after window, beside the rows that certified it.

Rules:
 * A window is observed once, when it is whole; of several that became whole together, the latest.
 * Held are the rows of the window that fills, and of the latest whole one.
 * Whatever comes of it is told, and decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cloud_worker.state.task_figures import Drifted
from router.core.domain.prediction import DeviceStudent
from router.core.domain.record import Record
from router.core.learning.training_rows import query_of, would_stay
from router.core.monitoring.drift import WINDOW_ROWS, Sample, at_one_rate, compare
from router.students.onnx_student import Student

MOST_BEFORE = 500  # latest of the rows that certified


@dataclass(slots=True)
class Windows:
    """The drawn rows that one release met, thinned to one rate.

    Attributes:
        rate: In [0, 1].
        count: Windows that have become whole.
        whole: The rows of the latest of them.
        filling: Those of the next.
    """

    rate: float
    count: int = 0
    whole: list[Record] = field(default_factory=list)
    filling: list[Record] = field(default_factory=list)

    def take(self, row: Record) -> None:
        """Take in the next row that met the release."""
        self.filling += at_one_rate([row], self.rate)
        if len(self.filling) == WINDOW_ROWS:
            self.count, self.whole, self.filling = self.count + 1, self.filling, []


class InputMonitor:
    """The monitor of one release's inputs.

    Attributes:
        figures: Of the last look.
    """

    def __init__(self, release: int, threshold: float, student: DeviceStudent) -> None:
        """Look for a release that keeps what its student scores at a threshold or above."""
        self.figures = Drifted(release, 0)
        self._threshold = threshold
        self._student = student
        self._before: Sample | None = None

    def observe(self, windows: Windows, certified: Callable[[], Sequence[Record]]) -> Drifted:
        """Look at the latest whole window, if it has not been observed.

        Args:
            windows: Of its life.
            certified: Gives the drawn rows that certified it, of one rate.
        """
        if windows.count > self.figures.windows:
            if self._before is None:
                rows = certified()[-MOST_BEFORE:]
                self._before = self._sample(rows, self._would_keep) if rows else None
            if self._before is not None:
                found = compare(self._before, self._sample(windows.whole, would_stay))
                self.figures = Drifted(self.figures.release, windows.count, found)
        return self.figures

    def _sample(self, rows: Sequence[Record], keeps: Callable[[Record], bool]) -> Sample:
        """The rows as a sample; one that writes takes seconds for each row, and tells no distance."""
        answers = tuple(row.answer for row in rows)
        if not isinstance(self._student, Student):
            return Sample(answers)
        near = tuple(float(value) for value in self._student.read([row.text for row in rows]).similarity)
        return Sample(answers, tuple(keeps(row) for row in rows), near)

    def _would_keep(self, row: Record) -> bool:
        """What the release would have done with a row that it did not serve."""
        score = self._student.predict(query_of(row)).score
        return score is not None and score >= self._threshold
