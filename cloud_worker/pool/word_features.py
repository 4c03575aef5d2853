"""What the words of a query say of a teacher before it is asked: a linear head over hashed words and word pairs.

Rules:
 * A head is a few thousand numbers; nothing but the query's text goes in.
 * What is said of a row that a head was fitted on comes from heads that have not seen it.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from router.core.arrays import Array, Bools
from router.core.learning.training_rows import FOLDS

if TYPE_CHECKING:  # sklearn is loaded with the first words: `status` reads none, and it takes a second
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import HashingVectorizer

FEATURES = 4096
LEAST_OF_EACH = 20  # rows of the rarer outcome; below it, words say no more than how often a teacher agrees


@dataclass(frozen=True, slots=True)
class WordHead:
    """Log-odds that a teacher agrees with the reference: ``weights`` of the query's words, plus ``bias``.

    Attributes:
        weights: (FEATURES,) float32.
        bias: Of the head.
    """

    weights: NDArray[np.float32]
    bias: float

    def odds(self, texts: Sequence[str]) -> Array:
        """(texts,) log-odds."""
        return np.asarray(vectors_of(texts) @ self.weights + self.bias, np.float64)

    def pack(self) -> str:
        """The weights as text."""
        return base64.b64encode(self.weights.astype("<f4").tobytes()).decode()

    @classmethod
    def unpack(cls, weights: str, bias: float) -> WordHead:
        """What ``pack`` wrote, with its bias."""
        return cls(np.frombuffer(base64.b64decode(weights), "<f4"), bias)


def vectors_of(texts: Sequence[str]) -> csr_matrix:
    """(texts, FEATURES) hashed words and word pairs, each row of length 1."""
    return _vectorizer().transform(texts)


@cache
def _vectorizer() -> HashingVectorizer:
    from sklearn.feature_extraction.text import HashingVectorizer

    return HashingVectorizer(n_features=FEATURES, ngram_range=(1, 2))


def fit_words(texts: Sequence[str], agrees: Bools) -> tuple[WordHead, Array]:
    """A head, and what heads that have not seen a row say of it: (texts,) log-odds.

    Args:
        texts: At least one; equal ones may repeat.
        agrees: (texts,) whether the teacher agreed with the reference.
    """
    rarer = int(min(agrees.sum(), (~agrees).sum()))
    if rarer < LEAST_OF_EACH:
        odds = float(np.log((agrees.sum() + 0.5) / ((~agrees).sum() + 0.5)))
        return WordHead(np.zeros(FEATURES, np.float32), odds), np.full(len(texts), odds)
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    vectors = vectors_of(texts)
    head = LogisticRegression()
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    unseen = cross_val_predict(head, vectors, agrees, cv=folds, method="decision_function")
    head.fit(vectors, agrees)
    return WordHead(head.coef_[0].astype(np.float32), float(head.intercept_[0])), np.asarray(unseen, np.float64)
