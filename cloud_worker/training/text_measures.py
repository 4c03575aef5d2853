"""What a student that writes says to rows that it did not train on: by the code of the device, one text at a time."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cloud_worker.training.spec import Fitted, Progress
from router.core.domain.generation import Written
from router.core.domain.record import Record
from router.core.errors import BadInputError, ModelError
from router.core.learning.held_out import TextMeasures
from router.core.learning.training_rows import query_of
from router.core.policy.text_confidence import TEXT_SIGNALS
from router.core.release.manifest import StudentSpec
from router.students.text_student import TextStudent

log = logging.getLogger(__name__)

UNSCORED = np.full(len(TEXT_SIGNALS), np.nan)


def measured(
    student: TextStudent,
    spec: StudentSpec,
    files: dict[str, bytes | Path],
    held: Sequence[Record],
    progress: Progress,
) -> Fitted | None:
    """The student with what it said, and how sure it was, of the rows that it was held against."""
    texts, signals, problems, gives_tokens = [], [], [], False
    for position, row in enumerate(held):
        query = query_of(row)
        try:
            written = student.read(query)
            found = student.signals_of(query, written)
            gives_tokens = gives_tokens or bool(written.tokens)
        except BadInputError as error:
            problems.append(str(error))
            written, found = Written(""), None
        progress("exporting", position / len(held))
        texts.append(written.text)
        signals.append(UNSCORED if found is None else found)  # the device escalates it, whatever the threshold
    if problems:
        log.warning("%d calibrating rows can't be read by the student; one: %s", len(problems), problems[0])
    scored = [row for row, found in zip(held, signals, strict=True) if found is not UNSCORED]
    if held and not gives_tokens:
        problem = problems[0] if problems else "it gives no token probabilities, so that every query would escalate"
        raise ModelError(f"student {spec.version} can't be calibrated: {problem}")
    if not held:
        return None
    golden = list(dict.fromkeys(row.text for row in scored))
    return Fitted(spec, files, list(held), TextMeasures(tuple(texts), np.stack(signals)), golden)
