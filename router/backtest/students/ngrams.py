"""Texts -> hashed n-grams: words and pairs of words, and runs of 3 to 5 characters.

Rules:
 * Nothing is learned from a text but how rare its n-grams are, and that from the lessons of a fit alone.
 * A long text counts by its beginning, its end (instructions come first, the question last) and its rarest n-grams, so
   that no log takes hours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.feature_extraction.text import HashingVectorizer

BUCKETS = 2**17  # of words, and as many of characters
MOST_CHARACTERS = 2000  # of a text, half from its beginning and half from its end
MOST_FEATURES = 256  # of a text, the heaviest
MOST_COMMON = 256  # columns that are multiplied as a dense matrix

Matrix = Any  # scipy.sparse.csr_matrix, which has no types


class HashedTexts:
    """Counts of the n-grams of known texts, made once for all fits."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Count the n-grams of each distinct text."""
        distinct = list(dict.fromkeys(texts))
        self._positions = {text: position for position, text in enumerate(distinct)}
        self._counts = _counted(distinct)

    def counts(self, texts: Sequence[str]) -> Matrix:
        """Counts of n-grams, (texts, 2 * BUCKETS)."""
        positions = [self._positions.get(text, -1) for text in texts]
        if -1 in positions:
            return _counted(texts)
        return self._counts[positions]


@dataclass(frozen=True, slots=True)
class Rarity:
    """How much each n-gram tells, (2 * BUCKETS,): the logarithm of one over the share of lessons that have it."""

    weights: NDArray[np.float32]

    @classmethod
    def of(cls, counts: Matrix) -> Rarity:
        """Learn from the lessons' counts, (lessons, 2 * BUCKETS)."""
        having = np.bincount(counts.indices, minlength=counts.shape[1])
        return cls(np.asarray(np.log((1 + counts.shape[0]) / (1 + having)) + 1, np.float32))

    def features(self, counts: Matrix) -> Matrix:
        """Vectors of length 1, half of it words and half characters; (texts, 2 * BUCKETS)."""
        weighted = counts.astype(np.float32)
        weighted.data = (1 + np.log(weighted.data)) * self.weights[weighted.indices]
        weighted = _heaviest(weighted)
        halves = [_unit(weighted[:, :BUCKETS]), _unit(weighted[:, BUCKETS:])]
        return _unit(sparse.hstack(halves, format="csr"))


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Vectors of length 1 that others are held against, in the form in which that is fast.

    Most of what two texts share are few n-grams that many texts have: those are multiplied as a dense matrix.

    Attributes:
        common: Columns that most of the vectors have.
        dense: (vectors, common columns).
        rare: All other columns, (2 * BUCKETS, vectors).
    """

    common: NDArray[np.int_]
    dense: NDArray[np.float32]
    rare: Matrix

    @classmethod
    def of(cls, vectors: Matrix) -> Neighbours:
        """Set some vectors out, (vectors, 2 * BUCKETS)."""
        having = np.bincount(vectors.indices, minlength=vectors.shape[1])
        most = np.argsort(-having, kind="stable")[:MOST_COMMON]
        common = np.sort(most[having[most] > 1])
        return cls(common, _dense(vectors, common), _without(vectors, common).T.tocsr())

    def cosines(self, some: Matrix, rows_at_once: int = 1000) -> NDArray[np.float32]:
        """Cosine similarity of other vectors of length 1 to each of these: (some, vectors)."""
        result = _dense(some, self.common) @ self.dense.T
        rest = _without(some, self.common)
        for start in range(0, some.shape[0], rows_at_once):
            result[start : start + rows_at_once] += (rest[start : start + rows_at_once] @ self.rare).toarray()
        return np.asarray(result)


def _dense(vectors: Matrix, columns: NDArray[np.int_]) -> NDArray[np.float32]:
    return np.ascontiguousarray(vectors[:, columns].toarray())


def _without(vectors: Matrix, columns: NDArray[np.int_]) -> Matrix:
    """The vectors with zeros in some columns."""
    out = np.zeros(vectors.shape[1], np.bool_)
    out[columns] = True
    kept = ~out[vectors.indices]
    starts = np.append(0, np.cumsum(kept))[vectors.indptr]
    return sparse.csr_matrix((vectors.data[kept], vectors.indices[kept], starts), shape=vectors.shape)


def _counted(texts: Sequence[str]) -> Matrix:
    cut = [_cut(text) for text in texts]
    given = {"n_features": BUCKETS, "alternate_sign": False, "norm": None, "dtype": np.float32}
    words = HashingVectorizer(ngram_range=(1, 2), token_pattern=r"\w+", **given)
    characters = HashingVectorizer(analyzer="char_wb", ngram_range=(3, 5), **given)
    return sparse.hstack([words.transform(cut), characters.transform(cut)], format="csr")


def _cut(text: str) -> str:
    half = MOST_CHARACTERS // 2
    return text if len(text) <= MOST_CHARACTERS else f"{text[:half]} {text[-half:]}"


def _heaviest(matrix: Matrix) -> Matrix:
    """The matrix with at most ``MOST_FEATURES`` values a row."""
    for row in np.flatnonzero(np.diff(matrix.indptr) > MOST_FEATURES):
        values = matrix.data[matrix.indptr[row] : matrix.indptr[row + 1]]
        values[np.argpartition(-values, MOST_FEATURES)[MOST_FEATURES:]] = 0.0
    matrix.eliminate_zeros()
    return matrix


def _unit(matrix: Matrix) -> Matrix:
    """Each row divided by its length; a row of zeros stays one."""
    lengths = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    return sparse.diags_array(1.0 / np.maximum(lengths, 1e-9), dtype=np.float32) @ matrix
