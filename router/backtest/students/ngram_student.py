"""The light student: ridge regression on the likeness of hashed n-grams. No model is needed.

Its answer to a text is a weighted vote of the lessons, near ones most: kernel ridge regression on labels, with the
kernel ``exp(BEND (cosine - 1))``. Leaving a fold out needs no new fit: with ``B`` the inverse of the regularised
kernel, S the lessons left out and R the others, the weights without S are ``B_RR Y_R - B_RS B_SS^-1 B_SR Y_R``.

Rules:
 * The same rows give the same student; nothing is drawn.
 * More than ``MOST_LESSONS`` lessons are thinned by a hash of their text.
"""

from __future__ import annotations

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
from router.core.learning.training_rows import FOLDS, Lessons, calibrating, fold_of, known_labels, lessons_of

MOST_LESSONS = 6000
BEND = 2.0  # how much nearer lessons count more
RIDGE = 0.1
BLOCK = 512  # rows that are mirrored together


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
        inverse = _inverse(likeness)
        targets = sparse.csr_matrix(lessons.targets)
        reader = HashedReader(self._texts, rarity, known, _product(targets, inverse), _centroids(targets, likeness))
        held = calibrating(rows)
        measured = _cross_fitted(rows, held, lessons, reader, (likeness, inverse))
        return Fit(labels, reader, held, LabelMeasures(labels, measured))


def _cross_fitted(
    rows: Sequence[Record],
    held: Sequence[Record],
    lessons: Lessons,
    reader: HashedReader,
    matrices: tuple[Floats, Floats],
) -> Reading:
    """What students without a held row's fold say of it."""
    likeness, inverse = matrices
    positions = {text: position for position, text in enumerate(lessons.texts)}
    logits = np.zeros((len(held), len(lessons.labels)))
    similarity = np.zeros(len(held))
    fold_of_row = [fold_of(row, FOLDS) for row in rows]
    folds = {row.key: fold for row, fold in zip(rows, fold_of_row, strict=True)}
    held_folds = np.array([folds[row.key] for row in held])
    stands = np.array([positions.get(row.text, -1) for row in held])
    for fold in range(FOLDS):
        taught = [row for row, other in zip(rows, fold_of_row, strict=True) if other != fold]
        targets = _targets(taught, lessons, positions)
        left = _LeftOut.of(targets, inverse)
        centroids = _centroids(targets, likeness)
        known = np.flatnonzero((held_folds == fold) & (stands >= 0))
        if len(known):
            logits[known] = left.logits(stands[known])
            similarity[known] = _similarity(likeness[:, stands[known]], centroids)
        new = np.flatnonzero((held_folds == fold) & (stands < 0))
        if len(new):
            reading = _read(reader.near([held[position].text for position in new.tolist()]), left.votes, centroids)
            logits[new], similarity[new] = reading.logits, reading.similarity
    return Reading(logits, similarity)


def _targets(rows: Sequence[Record], lessons: Lessons, positions: dict[str, int]) -> Matrix:
    """What some rows teach of the lessons, (lessons, labels): zeros where they teach nothing."""
    taught = lessons_of(rows, lessons.labels)
    result = np.zeros(lessons.targets.shape, np.float32)
    known = [(position, row) for row, text in enumerate(taught.texts) if (position := positions.get(text)) is not None]
    if known:
        into, of = zip(*known, strict=True)
        result[list(into)] = taught.targets[list(of)]
    return sparse.csr_matrix(result)


@dataclass(frozen=True, slots=True)
class _LeftOut:
    """A fit on those lessons alone that have a target.

    Attributes:
        targets: (lessons, labels), zeros where a lesson is left out.
        votes: (lessons, labels), zeros there too.
        inner: (lessons, labels) ``B_SS^-1 B_SR Y_R``, zeros where a lesson is not left out.
    """

    targets: Matrix
    votes: Floats
    inner: Floats

    @classmethod
    def of(cls, targets: Matrix, inverse: Floats) -> _LeftOut:
        votes = _product(targets, inverse)
        inner = np.zeros_like(votes)
        out = np.flatnonzero(np.diff(targets.indptr) == 0)
        if len(out):
            inner[out] = linalg.cho_solve(linalg.cho_factor(inverse[np.ix_(out, out)], lower=True), votes[out])
            votes -= inverse[:, out] @ inner[out]
            votes[out] = 0.0
        return cls(targets, votes, inner)

    def logits(self, positions: NDArray[np.int_]) -> NDArray[np.float64]:
        """What it says of some lessons, left out or not.

        The regularised kernel times the votes is ``Y_R - inner``, so the kernel itself need not be multiplied.
        """
        said = self.targets[positions].toarray() - self.inner[positions] - np.float32(RIDGE) * self.votes[positions]
        return np.asarray(said, np.float64)


def _read(near: Floats, votes: Floats, centroids: Matrix) -> Reading:
    return Reading(np.asarray(_kernel(near) @ votes, np.float64), _similarity(near.T, centroids))


def _similarity(near: Floats, centroids: Matrix) -> NDArray[np.float64]:
    """Cosine of each text to the nearest centroid; ``near`` is (lessons, texts)."""
    return np.asarray((centroids.T @ near).max(axis=0), np.float64)


def _kernel(cosine: Floats) -> Floats:
    result = cosine - np.float32(1.0)
    result *= np.float32(BEND)
    return np.asarray(np.exp(result, out=result))  # in place: a large matrix takes longer to get than to fill


def _inverse(likeness: Floats) -> Floats:
    """The inverse of the kernel plus the ridge: symmetric, positive definite."""
    matrix = _kernel(likeness)
    matrix[np.diag_indices_from(matrix)] += np.float32(RIDGE)
    factor, _ = linalg.lapack.spotrf(matrix.T, lower=1, overwrite_a=1)
    lower, _ = linalg.lapack.spotri(factor, lower=1, overwrite_c=1)
    result = np.ascontiguousarray(lower.T)  # its upper half is right
    for start in range(0, len(result), BLOCK):
        end = start + BLOCK
        corner = result[start:end, start:end]
        corner[:] = np.triu(corner) + np.triu(corner, 1).T
        result[end:, start:end] = result[start:end, end:].T
    return result


def _product(targets: Matrix, symmetric: Floats) -> Floats:
    """``symmetric @ targets``, (lessons, labels)."""
    return np.ascontiguousarray((targets.T @ symmetric).T)


def _centroids(targets: Matrix, likeness: Floats) -> Matrix:
    """Each label's targets divided by the length of the sum of its lessons."""
    lengths = np.sqrt(np.asarray(targets.multiply(_product(targets, likeness)).sum(axis=0)).ravel())
    return targets @ sparse.diags_array(1.0 / np.maximum(lengths, 1e-6), dtype=np.float32)


def _thinned(lessons: Lessons) -> Lessons:
    if len(lessons.texts) <= MOST_LESSONS:
        return lessons
    order = sorted(range(len(lessons.texts)), key=lambda position: unit_interval("lesson", lessons.texts[position]))
    chosen = sorted(order[:MOST_LESSONS])
    return Lessons(lessons.labels, tuple(lessons.texts[position] for position in chosen), lessons.targets[chosen])
