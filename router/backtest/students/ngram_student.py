"""The light student: ridge regression on the likeness of hashed n-grams. No model is needed.

Its answer to a text is a weighted vote of the lessons, near ones most: kernel ridge regression on labels, with the
kernel ``exp(BEND (cosine - 1))``. What a student says that has not learned from a row needs no new fit: see
``_LeftOut``.

Rules:
 * The same rows give the same student; nothing is drawn.
 * More than ``MOST_LESSONS`` lessons are thinned by a hash of their text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from router.backtest.students.ngrams import HashedTexts, Matrix, Neighbours, Rarity
from router.backtest.students.student import Fit
from router.core.arrays import Floats
from router.core.domain.label_confidence import Reading
from router.core.domain.record import Record, unit_interval
from router.core.learning.held_out import LabelMeasures
from router.core.learning.training_rows import Lessons, calibrating, known_labels, lessons_of, target_of

MOST_LESSONS = 6000
ROWS_AT_ONCE = 1000
BEND = 2.0  # how much nearer lessons count more
RIDGE = 0.1


@dataclass(frozen=True, slots=True)
class HashedReader:
    """A fitted student.

    Attributes:
        texts: Counts of the log's texts.
        rarity: Of n-grams among the lessons.
        lessons: Their vectors, to be held against others.
        votes: (lessons, labels).
        centroids: (lessons, labels): each label's share in its centroid, which has length 1.
    """

    texts: HashedTexts
    rarity: Rarity
    lessons: Neighbours
    votes: Floats
    centroids: Matrix

    def read(self, texts: Sequence[str]) -> Reading:
        """Logits and similarity of each text."""
        return _read(self.near(texts), self.votes, self.centroids)

    def near(self, texts: Sequence[str]) -> Floats:
        """Cosine of each text to each lesson."""
        return self.lessons.cosines(self.rarity.features(self.texts.counts(texts)))


class HashedFitter:
    """Fits light students on the texts of one log."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Count the n-grams of ``texts``."""
        self._texts = HashedTexts(texts)

    def fit(self, rows: Sequence[Record]) -> Fit | None:
        """Fit on teachable rows; ``None`` when fewer than two labels have enough of them."""
        labels = known_labels(rows)
        if len(labels) < 2:
            return None
        lessons = _thinned(lessons_of(rows, labels))
        counts = self._texts.counts(lessons.texts)
        rarity = Rarity.of(counts)
        vectors = rarity.features(counts)
        known = Neighbours.of(vectors)
        likeness = known.cosines(vectors)
        votes, diagonal = _solved(likeness, lessons.targets)
        targets = sparse.csr_matrix(lessons.targets)
        sums = _product(targets, likeness)
        lengths = np.asarray(targets.multiply(sums).sum(axis=0)).ravel()
        centroids = targets @ sparse.diags_array(1.0 / np.maximum(np.sqrt(lengths), 1e-6), dtype=np.float32)
        reader = HashedReader(self._texts, rarity, known, votes, centroids)
        held = calibrating(rows)
        left = _LeftOut(lessons, votes, diagonal, sums, lengths, np.diag(likeness))
        return Fit(labels, reader, held, LabelMeasures(labels, left.reading(rows, held, reader)))


@dataclass(frozen=True, slots=True)
class _LeftOut:
    """What a student says of a row when that row, and no other, did not teach it.

    With ``B`` the inverse of the regularised kernel, T the targets and V = B T the votes: without its only row, a
    lesson gets ``T - V / diag(B)`` (Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, 5.4.2);
    where other rows teach its text too and its target changes by D, it gets ``T + D - RIDGE (V + diag(B) D)``. A text
    that is no lesson gets what the student says of any.

    Attributes:
        lessons: Of the whole student.
        votes: (lessons, labels).
        diagonal: (lessons,) of ``B``.
        sums: (lessons, labels) each lesson's cosine to each label's lessons, summed by their targets.
        lengths: (labels,) squares of the lengths of the labels' sums.
        own: (lessons,) each lesson's cosine to itself: 1, or 0 for a text without any n-gram.
    """

    lessons: Lessons
    votes: Floats
    diagonal: Floats
    sums: Floats
    lengths: Floats
    own: Floats

    def reading(self, rows: Sequence[Record], held: Sequence[Record], reader: HashedReader) -> Reading:
        """What is said of each held row, one of ``rows``."""
        positions = {text: position for position, text in enumerate(self.lessons.texts)}
        stands = np.array([positions.get(row.text, -1) for row in held], np.int_)
        logits = np.zeros((len(held), len(self.lessons.labels)))
        similarity = np.zeros(len(held))
        new = np.flatnonzero(stands < 0)
        if len(new):
            reading = reader.read([held[position].text for position in new.tolist()])
            logits[new], similarity[new] = reading.logits, reading.similarity
        labels = {label: position for position, label in enumerate(self.lessons.labels)}
        teaching = Counter(row.text for row in rows if row.answer in labels)
        known = np.flatnonzero(stands >= 0)
        for start in range(0, len(known), ROWS_AT_ONCE):
            some = known[start : start + ROWS_AT_ONCE]
            changes = self._changes([held[position] for position in some.tolist()], stands[some], teaching, labels)
            logits[some] = self._logits(stands[some], changes)
            similarity[some] = self._similarity(stands[some], changes)
        return Reading(logits, similarity)

    def _changes(
        self, rows: Sequence[Record], stands: NDArray[np.int_], teaching: Counter[str], labels: dict[str, int]
    ) -> Floats:
        """How each row's lesson changes when the row does not teach, (rows, labels)."""
        result = np.zeros((len(rows), len(labels)), np.float32)
        for changed, row, stand in zip(result, rows, stands, strict=True):
            count, target = teaching[row.text], self.lessons.targets[stand]
            if row.answer in labels:
                changed[:] = -target if count == 1 else (target - target_of(row, labels)) / (count - 1)
        return result

    def _logits(self, stands: NDArray[np.int_], changes: Floats) -> Floats:
        diagonal, votes = self.diagonal[stands, None], self.votes[stands]
        targets: Floats = self.lessons.targets[stands] + changes
        rest = targets - np.float32(RIDGE) * (votes + diagonal * changes)
        is_taught = np.any(targets, axis=1, keepdims=True)
        return np.asarray(np.where(is_taught, rest, -changes - votes / diagonal))

    def _similarity(self, stands: NDArray[np.int_], changes: Floats) -> Floats:
        """Cosine to the nearest centroid; a label that no lesson is left of has none."""
        own, sums = self.own[stands, None], self.sums[stands]
        lengths = self.lengths + 2 * changes * sums + changes**2 * own
        left = lengths > 1e-5 * self.lengths  # beyond what single precision leaves of nothing
        near = (sums + changes * own) / np.sqrt(np.where(left, lengths, 1.0))
        return np.asarray(np.where(left, near, 0.0).max(axis=1))


def _read(near: Floats, votes: Floats, centroids: Matrix) -> Reading:
    return Reading(np.asarray(_kernel(near) @ votes, np.float64), _similarity(near.T, centroids))


def _similarity(near: Floats, centroids: Matrix) -> NDArray[np.float64]:
    """Cosine of each text to the nearest centroid; ``near`` is (lessons, texts)."""
    return np.asarray((centroids.T @ near).max(axis=0), np.float64)


def _kernel(cosine: Floats) -> Floats:
    result = cosine - np.float32(1.0)
    result *= np.float32(BEND)
    return np.asarray(np.exp(result, out=result))  # in place: a large matrix takes longer to get than to fill


def _solved(likeness: Floats, targets: Floats) -> tuple[Floats, Floats]:
    """The votes, (lessons, labels), and the diagonal of the inverse of the regularised kernel, (lessons,)."""
    matrix = _kernel(likeness)
    matrix[np.diag_indices_from(matrix)] += np.float32(RIDGE)
    factor, _ = linalg.lapack.spotrf(matrix.T, lower=1, overwrite_a=1)
    votes, _ = linalg.lapack.spotrs(factor, targets, lower=1)
    half, _ = linalg.lapack.strtri(factor, lower=1, overwrite_c=1)  # the inverse is half.T @ half
    return np.ascontiguousarray(votes), np.einsum("ij,ij->j", half, half)


def _product(targets: Matrix, symmetric: Floats) -> Floats:
    """``symmetric @ targets``, (lessons, labels)."""
    return np.ascontiguousarray((targets.T @ symmetric).T)


def _thinned(lessons: Lessons) -> Lessons:
    if len(lessons.texts) <= MOST_LESSONS:
        return lessons
    order = sorted(range(len(lessons.texts)), key=lambda position: unit_interval("lesson", lessons.texts[position]))
    chosen = sorted(order[:MOST_LESSONS])
    return Lessons(lessons.labels, tuple(lessons.texts[position] for position in chosen), lessons.targets[chosen])
