"""Log rows -> what a student learns from, and what its score is calibrated on.

Rules:
 * A row that is set aside to certify does not teach, until a certificate has spent it.
 * Texts that teach are distinct; rows that calibrate keep their multiplicity, since a frequent command counts as often
   as it is asked.
 * A label with fewer than three rows stays unknown to the student: its queries escalate.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from router.core.domain.chat import messages_from_json
from router.core.domain.query import Query
from router.core.domain.record import Record, Source, is_remembered, may_certify, may_teach, unit_interval
from router.core.domain.task import Task

FOLDS = 5  # parts of the rows: what is held out of a fit, and each part in turn
LEAST_ROWS_OF_LABEL = 3

Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Lessons:
    """Distinct texts, and what the teacher says of them.

    Attributes:
        labels: Known to the student, sorted.
        texts: Distinct.
        targets: (texts, labels) the teacher's probabilities; each row sums to 1.
    """

    labels: tuple[str, ...]
    texts: tuple[str, ...]
    targets: NDArray[np.float32]


def query_of(record: Record) -> Query:
    """The query that a row answers, as a student reads it."""
    if record.chat:
        return Query(record.query_id, record.task, messages=messages_from_json(record.chat))
    return Query(record.query_id, record.task, record.text)


def current(records: Sequence[Record], task: Task) -> list[Record]:
    """The rows of the task's present version and reference, the latest reference version only."""
    rows = _of_reference(records, task)
    version = version_in_force(rows, task)
    return [row for row in rows if row.teacher_version == version]


def version_in_force(records: Sequence[Record], task: Task) -> str:
    """The reference's latest version, as the rows of the task's present version tell; empty without any."""
    latest = max(_of_reference(records, task), key=lambda row: row.received_at, default=None)
    return "" if latest is None else latest.teacher_version


def _of_reference(records: Sequence[Record], task: Task) -> list[Record]:
    return [r for r in records if r.task_version == task.version and r.teacher == task.reference and r.is_reference]


def would_stay(row: Record) -> bool:
    """Whether the student's answer stayed, or would have, had the operator not had everything escalate."""
    if is_remembered(row):  # it would have escalated
        return False
    if row.kept or row.degraded:
        return row.kept
    return row.local_score is not None and row.threshold is not None and row.local_score >= row.threshold


def teachable(rows: Sequence[Record], spent: set[Key]) -> list[Record]:
    """The rows that may teach: not set aside, or spent by a certificate already."""
    return [row for row in rows if may_teach(row) or (row.key in spent and row.answer and not row.problem)]


def with_reviewed(rows: Sequence[Record], corrections: Mapping[Key, str]) -> list[Record]:
    """Teachable rows, with what an operator accepted as right in place of the reference's answer.

    A corrected row teaches its answer alone: it stands for no query under the promise any more, and calibrates
    nothing.
    A row that was drawn is never corrected.
    """
    return [
        _corrected(row, corrections[row.key]) if row.key in corrections and not may_certify(row) else row
        for row in rows
    ]


def _corrected(row: Record, answer: str) -> Record:
    probabilities: dict[str, Any] = {"labels": (), "log_probabilities": (), "tail_log_probability": None, "tokens": ()}
    return replace(row, answer=answer, source=Source.IMPORTED, covered=False, rationale="", **probabilities)


def calibrating(rows: Sequence[Record]) -> list[Record]:
    """The teachable rows that stand for queries under the promise, by their propensity."""
    return [row for row in rows if row.covered and not row.degraded and row.source in (Source.ESCALATED, Source.TAUGHT)]


def fold_of(record: Record, folds: int) -> int:
    """Which of ``folds`` parts a row belongs to, by its query id: a repeated command may stand in several."""
    return int(unit_interval("fold", record.caller, record.query_id) * folds)


def weights_of(rows: Sequence[Record]) -> NDArray[np.float64]:
    """One over the propensity of each row."""
    return np.array([1.0 / max(row.propensity, 1e-3) for row in rows])


def known_labels(rows: Sequence[Record]) -> tuple[str, ...]:
    """The labels that enough rows teach, sorted."""
    counts = Counter(row.answer for row in rows)
    return tuple(sorted(label for label, count in counts.items() if count >= LEAST_ROWS_OF_LABEL))


def label_positions(rows: Sequence[Record], labels: tuple[str, ...]) -> NDArray[np.int_]:
    """Position of each row's answer among the labels, (rows,): -1 where it is none of them."""
    positions = {label: position for position, label in enumerate(labels)}
    return np.array([positions.get(row.answer, -1) for row in rows], np.int_)


def lessons_of(rows: Sequence[Record], labels: tuple[str, ...]) -> Lessons:
    """Distinct lessons for a student that knows ``labels``; rows with another answer are left out."""
    positions = {label: position for position, label in enumerate(labels)}
    taught = [row for row in rows if row.answer in positions]
    texts: dict[str, int] = {}
    stands = [texts.setdefault(row.text, len(texts)) for row in taught]
    targets = np.zeros((len(texts), len(labels)), np.float32)
    for stand, row in zip(stands, taught, strict=True):
        if row.labels:
            targets[stand] += target_of(row, positions)
        else:  # the answer alone: most logs have nothing else, and a vector a row takes seconds
            targets[stand, positions[row.answer]] += 1.0
    return Lessons(labels, tuple(texts), targets / np.maximum(targets.sum(axis=1, keepdims=True), 1e-9))


def target_of(row: Record, positions: dict[str, int]) -> NDArray[np.float32]:
    """The teacher's probabilities over the known labels, (labels,); what it leaves out is spread evenly.

    Args:
        row: Whose answer is known.
        positions: Of each known label.
    """
    target = np.zeros(len(positions), np.float32)
    for label, value in zip(row.labels, row.log_probabilities, strict=True):
        if label in positions:
            target[positions[label]] = np.exp(value)
    if not target.any():
        target[positions[row.answer]] = 1.0
        return target
    rest = max(0.0, 1.0 - float(target.sum()))
    empty = target == 0
    if empty.any():
        target[empty] = rest / empty.sum()
    return np.asarray(target / target.sum())
