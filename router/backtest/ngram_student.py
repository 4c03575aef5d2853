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
from scipy import linalg, sparse

from router.backtest.ngrams import HashedTexts, Matrix, Rarity, cosines
from router.backtest.student import Fit
from router.core.arrays import Floats
from router.core.domain.label_confidence import Reading
from router.core.domain.record import Record, unit_interval
from router.core.learning.held_out import LabelMeasures
from router.core.learning.training_rows import FOLDS, Lessons, calibrating, fold_of, known_labels, lessons_of

MOST_LESSONS = 6000
BEND = 2.0  # how much nearer lessons count more
RIDGE = 0.1


@dataclass(frozen=True, slots=True)
class HashedReader:
    """A fitted student.

    Attributes:
        texts: Counts of the log's texts.
        rarity: Of n-grams among the lessons.
        lessons: Their vectors.
        votes: (lessons, labels).
        centroids: (lessons, labels): each label's share in its centroid, which has length 1.
    """

    texts: HashedTexts
    rarity: Rarity
    lessons: Matrix
    votes: Floats
    centroids: Matrix

    def read(self, texts: Sequence[str]) -> Reading:
        """Logits and similarity of each text."""
        return _read(self.near(texts), self.votes, self.centroids)

    def near(self, texts: Sequence[str]) -> Floats:
        """Cosine of each text to each lesson."""
        return cosines(self.rarity.features(self.texts.counts(texts)), self.lessons)


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
        likeness = cosines(vectors, vectors)
        inverse = _inverse(likeness)
        targets = sparse.csr_matrix(lessons.targets)
        reader = HashedReader(self._texts, rarity, vectors, _product(targets, inverse), _centroids(targets, likeness))
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
    places = {text: place for place, text in enumerate(lessons.texts)}
    logits = np.zeros((len(held), len(lessons.labels)))
    similarity = np.zeros(len(held))
    folds = np.array([fold_of(row, FOLDS) for row in held])
    for fold in range(FOLDS):
        own = np.flatnonzero(folds == fold).tolist()
        if not own:
            continue
        targets = _targets([row for row in rows if fold_of(row, FOLDS) != fold], lessons, places)
        votes = _votes_without(targets, inverse)
        near = _near([held[place].text for place in own], places, likeness, reader)
        reading = _read(near, votes, _centroids(targets, likeness))
        logits[own], similarity[own] = reading.logits, reading.similarity
    return Reading(logits, similarity)


def _targets(rows: Sequence[Record], lessons: Lessons, places: dict[str, int]) -> Matrix:
    """What some rows teach of the lessons, (lessons, labels): zeros where they teach nothing."""
    taught = lessons_of(rows, lessons.labels)
    result = np.zeros(lessons.targets.shape, np.float32)
    known = [(place, row) for row, text in enumerate(taught.texts) if (place := places.get(text)) is not None]
    if known:
        into, of = zip(*known, strict=True)
        result[list(into)] = taught.targets[list(of)]
    return sparse.csr_matrix(result)


def _votes_without(targets: Matrix, inverse: Floats) -> Floats:
    """The weights of a fit on those lessons alone that have a target."""
    votes = _product(targets, inverse)
    out = np.flatnonzero(np.diff(targets.indptr) == 0)
    if len(out):
        inner = linalg.cho_solve(linalg.cho_factor(inverse[np.ix_(out, out)], lower=True), votes[out])
        votes -= inverse[:, out] @ inner
        votes[out] = 0.0
    return votes


def _near(texts: Sequence[str], places: dict[str, int], likeness: Floats, reader: HashedReader) -> Floats:
    """Cosine of each text to each lesson, looked up where the text is a lesson."""
    result = np.empty((len(texts), likeness.shape[1]), np.float32)
    known = np.array([places.get(text, -1) for text in texts])
    result[known >= 0] = likeness[known[known >= 0]]
    new = np.flatnonzero(known < 0).tolist()
    if new:
        result[new] = reader.near([texts[place] for place in new])
    return result


def _read(near: Floats, votes: Floats, centroids: Matrix) -> Reading:
    similarity = (centroids.T @ near.T).max(axis=0)
    return Reading(np.asarray(_kernel(near) @ votes, np.float64), np.asarray(similarity, np.float64))


def _kernel(cosine: Floats) -> Floats:
    return np.asarray(np.exp(np.float32(BEND) * (cosine - np.float32(1.0))))


def _inverse(likeness: Floats) -> Floats:
    """The inverse of the kernel plus the ridge: symmetric, positive definite."""
    matrix = _kernel(likeness)
    matrix[np.diag_indices_from(matrix)] += np.float32(RIDGE)
    factor, _ = linalg.lapack.spotrf(matrix.T, lower=1, overwrite_a=1)
    lower, _ = linalg.lapack.spotri(factor, lower=1, overwrite_c=1)
    result = np.tril(lower)
    result += np.tril(lower, -1).T
    return np.ascontiguousarray(result)


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
    order = sorted(range(len(lessons.texts)), key=lambda place: unit_interval("lesson", lessons.texts[place]))
    chosen = sorted(order[:MOST_LESSONS])
    return Lessons(lessons.labels, tuple(lessons.texts[place] for place in chosen), lessons.targets[chosen])
