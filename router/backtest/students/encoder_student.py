"""A student with a frozen sentence encoder in ONNX and a linear head: what ``encoder-head`` is on a device.

The folder holds ``model.onnx`` (inputs ``input_ids`` and ``attention_mask``, output ``embedding``) and
``tokenizer.json``, as the cloud exports them.

Rules:
 * A text is read once ever: vectors are kept in a file, by the encoder's digest.
 * The head is the one of real students: logistic regression on soft labels, by L-BFGS, fitted anew without each fold,
   with the ridge that the first fold chooses.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from router.backtest.students.minilm_encoder import MINILM, MiniLm
from router.backtest.students.student import Fit
from router.core.arrays import Bools, Floats
from router.core.domain.label_confidence import Reading
from router.core.domain.record import Record
from router.core.errors import ConfigError, ModelError
from router.core.learning.held_out import LabelMeasures
from router.core.learning.ridge_choice import DEFAULT, RIDGES, chosen_ridge
from router.core.learning.training_rows import (
    FOLDS,
    Lessons,
    calibrating,
    fold_of,
    known_labels,
    label_positions,
    lessons_of,
    weights_of,
)
from router.students.feature_cache import Features
from router.students.onnx_student import OnnxEncoder

MODEL_FILE, TOKENIZER_FILE = "model.onnx", "tokenizer.json"
MAX_TOKENS = 64
STEPS = 80  # of L-BFGS at most


@dataclass(frozen=True, slots=True)
class LinearHead:
    """Weights (dimensions, labels), bias (labels,), centroids (labels, dimensions) of length 1."""

    weights: Floats
    bias: Floats
    centroids: Floats

    @classmethod
    def fitted(cls, lessons: Lessons, vectors: Floats, weight: float = DEFAULT) -> Self:
        """Fit on vectors, (lessons, dimensions), with a ridge of this weight."""
        rows, width, labels = len(vectors), vectors.shape[1], lessons.targets.shape[1]
        ridge = weight / (2 * rows)

        def cost(point: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            weights = point[:-labels].reshape(width, labels).astype(np.float32)
            logits = vectors @ weights + point[-labels:].astype(np.float32)
            logits -= logits.max(axis=1, keepdims=True)
            logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
            off = (np.exp(logs) - lessons.targets) / rows
            value = -float((lessons.targets * logs).sum()) / rows + ridge * float((weights**2).sum())
            slope = vectors.T @ off + 2 * ridge * weights
            return value, np.concatenate([slope.ravel(), off.sum(axis=0)]).astype(np.float64)

        start = np.zeros((width + 1) * labels)
        found = minimize(cost, start, jac=True, method="L-BFGS-B", options={"maxiter": STEPS, "maxcor": 10}).x
        sums = lessons.targets.T @ vectors
        centroids = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9)
        weights = found[:-labels].reshape(width, labels).astype(np.float32)
        return cls(weights, found[-labels:].astype(np.float32), centroids)

    def read(self, vectors: Floats) -> Reading:
        """Logits and similarity of vectors, (rows, dimensions)."""
        logits = (vectors @ self.weights + self.bias).astype(np.float64)
        return Reading(logits, (vectors @ self.centroids.T).max(axis=1).astype(np.float64))


@dataclass(frozen=True, slots=True)
class EncodedReader:
    """A fitted student: vectors of texts, and a head."""

    vectors: Callable[[Sequence[str]], Floats]
    head: LinearHead
    cut: Callable[[Sequence[str]], Bools]

    def read(self, texts: Sequence[str]) -> Reading:
        """Logits and similarity of each text."""
        return replace(self.head.read(self.vectors(texts)), cut=self.cut(texts))


class EncoderFitter:
    """Fits heads on the vectors of one log's texts."""

    def __init__(
        self, folder: Path, cache: Path, texts: Sequence[str], progress: Callable[[float], None] = lambda share: None
    ) -> None:
        """Read every text.

        Args:
            folder: With ``model.onnx`` and ``tokenizer.json``, or ``minilm`` for the one that a package carries.
            cache: Folder where vectors are kept.
            texts: Of the log.
            progress: Told the share of texts that have been read.

        Raises:
            ConfigError: The cache can't be written.
            ModelError: The encoder can't be used.
        """
        encoder, digest = _opened(folder)
        file = cache / f"vectors-{digest}.sqlite"
        try:
            with Features(file, encoder.embed) as features:
                self._vectors = dict(zip(texts, features.of(texts, progress), strict=True))
            self._cut = frozenset(text for text in texts if encoder.cuts(text))
        except (OSError, sqlite3.Error) as error:
            raise ConfigError("--cache", str(cache), f"can't be written: {error}") from error

    def fit(self, rows: Sequence[Record]) -> Fit | None:
        """Fit on teachable rows; ``None`` when fewer than two labels have enough of them."""
        labels = known_labels(rows)
        if len(labels) < 2:
            return None
        held = calibrating(rows)
        logits, similarity = np.zeros((len(held), len(labels))), np.zeros(len(held))
        folds = np.array([fold_of(row, FOLDS) for row in held])
        ridge = DEFAULT
        for fold in range(FOLDS):
            own = np.flatnonzero(folds == fold).tolist()
            if not own:
                continue
            lessons = lessons_of([row for row in rows if fold_of(row, FOLDS) != fold], labels)
            vectors, asked = self._of(lessons.texts), self._of([held[position].text for position in own])
            tried = {
                one: LinearHead.fitted(lessons, vectors, one).read(asked) for one in ((ridge,) if fold else RIDGES)
            }
            if not fold:  # the first part of the rows chooses for all
                ridge = _chosen(tried, [held[position] for position in own], labels)
            logits[own], similarity[own] = tried[ridge].logits, tried[ridge].similarity
        lessons = lessons_of(rows, labels)
        reader = EncodedReader(self._of, LinearHead.fitted(lessons, self._of(lessons.texts), ridge), self._are_cut)
        cut = self._are_cut([row.text for row in held])
        return Fit(labels, reader, held, LabelMeasures(labels, Reading(logits, similarity, cut)))

    def _are_cut(self, texts: Sequence[str]) -> Bools:
        return np.array([text in self._cut for text in texts], np.bool_)

    def _of(self, texts: Sequence[str]) -> Floats:
        return np.stack([self._vectors[text] for text in texts])


def _chosen(tried: Mapping[float, Reading], held: Sequence[Record], labels: tuple[str, ...]) -> float:
    said = {ridge: reading.logits for ridge, reading in tried.items()}
    return chosen_ridge(said, label_positions(held, labels), weights_of(held))


def _opened(folder: Path) -> tuple[OnnxEncoder | MiniLm, str]:
    """The encoder, and what its vectors depend on."""
    if str(folder).lower() == MINILM and not folder.is_dir():
        encoder = MiniLm.installed(MAX_TOKENS)
        return encoder, encoder.digest
    digest = _digest(folder)
    return OnnxEncoder.load(folder / MODEL_FILE, folder / TOKENIZER_FILE, MAX_TOKENS), digest


def _digest(folder: Path) -> str:
    """What the vectors depend on: both files, in hex."""
    digest = hashlib.sha256()
    for name in (MODEL_FILE, TOKENIZER_FILE):
        try:
            digest.update((folder / name).read_bytes())
        except OSError as error:
            advice = f"name a folder with {MODEL_FILE} and {TOKENIZER_FILE}, or {MINILM}"
            raise ModelError(f"{folder / name} can't be read: {error.strerror or error}; {advice}") from error
    return digest.hexdigest()[:16]
