"""A frozen pretrained encoder with a head fitted on examples: multinomial logistic regression over its vectors.

Rules:
 * The fit is done once and kept under the digest of everything that it depends on; replicas of the teacher load it.
 * Its version is that digest.
 * An answer to a question that it did not read to the end goes out, and is no lesson.
"""

from __future__ import annotations

import hashlib
import io
import time
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloud_worker.language.encoder import Encoder, load_encoder
from cloud_worker.teachers.base import NoAnswer, Progress, Question, TeacherAnswer
from cloud_worker.teachers.labelled_examples import Example, read_examples
from router.core.domain.label_confidence import probabilities
from router.core.domain.query import Distribution
from router.core.errors import DataError
from router.io.atomic_write import write_whole

TOP_LABELS = 10

_RECIPE = "logistic-2"  # changes when the fit does
_INVERSE_REGULARISATION = 60.0
_MOST_STEPS = 1000
_EMBED_AT_ONCE = 256
_STEP = 16  # questions embedded in one go while a batch streams


@dataclass(frozen=True, slots=True)
class Head:
    """A fitted head: (labels, dimensions) weights and (labels,) biases."""

    labels: tuple[str, ...]
    weights: NDArray[np.float64]
    biases: NDArray[np.float64]


class EncoderTeacher:
    """Answers with the likeliest label."""

    threads = 1

    def __init__(self, name: str, encoder: Encoder, head: Head, version: str) -> None:
        """Put ``head`` on ``encoder``."""
        self.name = name
        self.version = version
        self._encoder = encoder
        self._head = head

    def answer(self, questions: Sequence[Question]) -> Iterator[TeacherAnswer | NoAnswer]:
        """Classify the questions, a few at a time; one that is longer than it reads gives no lesson."""
        most = self._encoder.max_tokens
        for start in range(0, len(questions), _STEP):
            began = time.perf_counter()
            texts = [question.text for question in questions[start : start + _STEP]]
            chances = probabilities(self._encoder.embed(texts) @ self._head.weights.T + self._head.biases)
            milliseconds = (time.perf_counter() - began) * 1000 / len(texts)
            for text, row in zip(texts, chances, strict=True):  # row: (labels,)
                distribution = _distribution(self._head.labels, row)
                problem = f"the teacher read only its first {most} tokens" if self._encoder.cuts(text) else ""
                yield TeacherAnswer(distribution.top[0][0], self.version, distribution, milliseconds, problem=problem)


def load_encoder_teacher(
    name: str, model: str, examples: Path, cache: Path, progress: Progress | None = None
) -> EncoderTeacher:
    """The teacher, its head fitted now or taken from ``cache``.

    Args:
        name: As the configuration names it.
        model: The encoder, as ``load_encoder`` takes it.
        examples: File of JSON lines ``{text, label}``.
        cache: Folder of fitted heads.
        progress: Hears how far the fit is.

    Raises:
        ModelError: The encoder can't be loaded.
        DataError: Names the line of the examples that can't be used.
    """
    rows = read_examples(examples)
    encoder = load_encoder(model)
    version = _version(encoder, examples)
    path = cache / f"{version}.npz"
    head = _read_head(path) if path.is_file() else None
    if head is None:
        head = fit_head(encoder, rows, examples, progress or (lambda stage, share: None))
        write_whole(path, _head_bytes(head))
    return EncoderTeacher(name, encoder, head, version)


def fit_head(encoder: Encoder, rows: Sequence[Example], source: Path, progress: Progress) -> Head:
    """Fit a head on the examples ``rows`` of the file ``source``.

    Raises:
        DataError: There is only one label.
    """
    from sklearn.linear_model import LogisticRegression

    labels = sorted({row.label for row in rows})
    if len(labels) < 2:
        raise DataError(str(source), 0, f"has the one label {labels[0]!r}; a teacher needs two or more")
    vectors = _embed(encoder, [row.text for row in rows], progress)
    progress("fitting the head", 0.0)
    model = LogisticRegression(C=_INVERSE_REGULARISATION, max_iter=_MOST_STEPS)
    model.fit(vectors, [row.label for row in rows])
    progress("fitting the head", 1.0)
    return _head(model)


def _head(model: Any) -> Head:
    weights, biases = np.asarray(model.coef_, np.float64), np.asarray(model.intercept_, np.float64)
    if len(model.classes_) == 2:  # one row of odds: spread it over both labels
        weights, biases = np.concatenate([-weights, weights]) / 2, np.concatenate([-biases, biases]) / 2
    return Head(tuple(str(label) for label in model.classes_), weights, biases)


def _embed(encoder: Encoder, texts: Sequence[str], progress: Progress) -> NDArray[np.float32]:
    order = np.argsort([len(text) for text in texts], kind="stable")  # texts of like length waste no padding
    vectors = np.zeros((len(texts), encoder.dimensions), np.float32)
    for start in range(0, len(texts), _EMBED_AT_ONCE):
        positions = order[start : start + _EMBED_AT_ONCE]
        vectors[positions] = encoder.embed([texts[position] for position in positions])
        progress("embedding the examples", (start + len(positions)) / len(texts))
    return vectors


def _version(encoder: Encoder, examples: Path) -> str:
    parts = (_RECIPE, encoder.version, str(encoder.max_tokens), hashlib.sha256(examples.read_bytes()).hexdigest())
    return "encoder-" + hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _head_bytes(head: Head) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, labels=np.array(head.labels), weights=head.weights, biases=head.biases)
    return buffer.getvalue()


def _read_head(path: Path) -> Head | None:
    """The head kept at ``path``, or ``None`` if it can't be read and must be fitted again."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return Head(tuple(str(label) for label in stored["labels"]), stored["weights"], stored["biases"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None


def _distribution(labels: Sequence[str], chances: NDArray[np.float64]) -> Distribution:
    """The likeliest labels and the rest, from (labels,) probabilities."""
    order = np.argsort(-chances, kind="stable")
    chosen, rest = order[:TOP_LABELS], order[TOP_LABELS:]
    logs = np.log(np.clip(chances, 1e-300, 1.0))
    tail = float(np.log(max(float(chances[rest].sum()), 1e-300))) if len(rest) else None
    return Distribution(tuple((labels[position], float(logs[position])) for position in chosen), tail)
