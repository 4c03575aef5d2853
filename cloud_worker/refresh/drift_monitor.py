"""Looks at the inputs of a release that serves, window after window, beside the rows that certified it.

Rules:
 * A window is looked at once, when it is whole.
 * Whatever comes of it is told, and decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cloud_worker.state.task_figures import Drifted
from router.core.domain.prediction import DeviceStudent
from router.core.domain.record import Record
from router.core.learning.training_rows import query_of, would_stay
from router.core.monitoring.drift import WINDOW_ROWS, Sample, at_one_rate, compare
from router.students.onnx_student import Student

MOST_BEFORE = 500  # latest of the rows that certified


class Inputs:
    """Of one release.

    Attributes:
        figures: Of the last look.
    """

    def __init__(self, release: int, rate: float, threshold: float, student: DeviceStudent) -> None:
        """Look for a release; rows of unequal exploration are thinned to ``rate``, in [0, 1]."""
        self.figures = Drifted(release, 0)
        self._rate = rate
        self._threshold = threshold
        self._student = student
        self._before: Sample | None = None

    def has_new(self, since: Sequence[Record]) -> bool:
        """Whether a window has become whole; ``since`` are the rows of its life, in the log's order."""
        return self._windows(since) > self.figures.windows

    def look(self, certified: Sequence[Record], since: Sequence[Record]) -> Drifted:
        """Look at the latest whole window, if it has not been looked at.

        Args:
            certified: Drawn rows that certified it, of one rate.
            since: The rows of its life, in the log's order.
        """
        windows = self._windows(since)
        if windows > self.figures.windows and certified:
            self._before = self._before or self._sample(certified[-MOST_BEFORE:], self._would_keep)
            window = at_one_rate(since, self._rate)[(windows - 1) * WINDOW_ROWS : windows * WINDOW_ROWS]
            found = compare(self._before, self._sample(window, would_stay))
            self.figures = Drifted(self.figures.release, windows, found)
        return self.figures

    def _windows(self, since: Sequence[Record]) -> int:
        return len(at_one_rate(since, self._rate)) // WINDOW_ROWS

    def _sample(self, rows: Sequence[Record], keeps: Callable[[Record], bool]) -> Sample:
        """The rows as a sample; one that writes takes seconds for each row, and tells no distance."""
        answers = tuple(row.answer for row in rows)
        if not isinstance(self._student, Student):
            return Sample(answers)
        near = tuple(float(value) for value in self._student.read([row.text for row in rows]).similarity)
        return Sample(answers, tuple(keeps(row) for row in rows), near)

    def _would_keep(self, row: Record) -> bool:
        """What the release would have done with a row that it did not serve."""
        score = self._student.judge(query_of(row)).score
        return score is not None and score >= self._threshold
