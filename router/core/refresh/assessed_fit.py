"""What a fitted student is worth: its calibrated scores on rows that it did not train on, beside whether they agree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from router.core.certification.trial import Judging
from router.core.domain.record import Record
from router.core.learning.held_out import Calibrated, Measures
from router.core.learning.training_rows import weights_of, would_stay
from router.core.refresh.actions import FitResult
from router.core.statistics.likeness import likeness


def assess(rows: Sequence[Record], measures: Measures, judging: Judging) -> tuple[Calibrated, FitResult]:
    """The calibration, and what the loop decides on.

    Args:
        rows: Calibrating ones.
        measures: What a student that did not train on them says of each.
        judging: The task's judge.

    Raises:
        ModelError: No row has a score.
    """
    answers = zip(measures.answers, rows, strict=True)
    agrees = np.array([judging(row.text, answer, row.answer) for answer, row in answers])
    weights = weights_of(rows)
    calibrated = measures.calibrate(agrees, weights)
    callers, texts = (row.caller for row in rows), (likeness(row.text, "", "")[0] for row in rows)
    releases, stayed = np.array([row.release for row in rows]), np.array([would_stay(row) for row in rows])
    return calibrated, FitResult(calibrated.scores, agrees, weights, tuple(callers), tuple(texts), releases, stayed)
