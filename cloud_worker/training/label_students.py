"""Lessons -> a fitted student in the device's format, and what it says of rows that it did not train on.

Rules:
 * What follows is measured on the exported file, one text at a time, as on the device.
 * ``compact`` starts from word vectors, or from the task's ``base`` where it names one.
 * ``encoder-head`` is cross-fitted: its head is fitted anew without each fold, and the first fold chooses how strong
   its ridge is. ``compact`` holds a fifth out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from cloud_worker.config.recipe_needs import recipe_of, starts_from_base
from cloud_worker.language.encoder import load_encoder
from cloud_worker.training import compact_student
from cloud_worker.training.compact_student import CompactStudent
from cloud_worker.training.encoder_vectors import exported_vectors
from cloud_worker.training.export import (
    FLOAT32_FILE,
    HEAD_FILE,
    MODEL_FILE,
    TOKENIZER_FILE,
    export_compact,
    exported_reading,
    head_model,
)
from cloud_worker.training.spec import Fitted, Progress, Recipe
from router.core.domain.label_confidence import Reading
from router.core.domain.record import Record
from router.core.domain.task import StudentKind, Task
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
from router.core.release.manifest import StudentSpec

if TYPE_CHECKING:
    from cloud_worker.training.pretrained_student import PretrainedStudent

FEW_SHOT = "few-shot"
NO_QUERIES = "few-shot found no query without an answer to label; the rows that teach were learned as they are"
SOFT, HARD = "soft-labels", "hard-labels"


def targets_of(lessons: Lessons, task: Task) -> Lessons:
    """The lessons as the task's recipe has them learned.

    ``soft-labels``, the default, learns the teacher's whole distribution, flattened by ``options.temperature`` (Hinton,
    Vinyals and Dean 2015; Turc et al. 2019); ``hard-labels`` its first choice as certain. What ``few-shot`` gives is
    soft already.
    """
    temperature = task.options.get("temperature", 1.0) if recipe_of(task) == SOFT else 1.0
    if recipe_of(task) == HARD:
        certain = np.eye(len(lessons.labels), dtype=np.float32)[lessons.targets.argmax(axis=1)]
        return replace(lessons, targets=certain)
    flat = lessons.targets ** np.float32(1.0 / temperature)
    return replace(lessons, targets=flat / flat.sum(axis=1, keepdims=True)) if temperature != 1.0 else lessons


def fit(rows: Sequence[Record], recipe: Recipe, progress: Progress) -> Fitted | None:
    """Fit a student on teachable rows; ``None`` when fewer than two labels have enough of them."""
    torch.set_num_threads(recipe.threads)
    labels = known_labels(rows)
    if len(labels) < 2:
        return None
    makers = {StudentKind.COMPACT: _fit_compact, StudentKind.ENCODER_HEAD: _fit_head}
    fitted = makers[StudentKind(recipe.task.student)](rows, labels, recipe, progress)
    lacks = recipe_of(recipe.task) == FEW_SHOT and not recipe.auxiliary.queries
    return replace(fitted, remark=NO_QUERIES) if lacks else fitted


def _lessons(rows: Sequence[Record], labels: tuple[str, ...], recipe: Recipe) -> Lessons:
    """What rows teach by the task's recipe; with ``few-shot`` also queries that an ensemble tuned on them labels."""
    more: Sequence[Record] = ()
    if recipe_of(recipe.task) == FEW_SHOT:
        from cloud_worker.training.self_labelling import self_labelled  # peft: seconds

        more = self_labelled([row for row in rows if row.answer in labels], recipe)
    return targets_of(lessons_of([*rows, *more], labels), recipe.task)


def _fit_head(rows: Sequence[Record], labels: tuple[str, ...], recipe: Recipe, progress: Progress) -> Fitted:
    texts = [row.text for row in (*rows, *recipe.auxiliary.queries)]
    exported, encoder, by_text = exported_vectors(recipe, texts, lambda share: progress("fitting", 0.6 * share))
    held = calibrating(rows)
    logits = np.zeros((len(held), len(labels)))
    similarity = np.zeros(len(held))
    folds = np.array([fold_of(row, FOLDS) for row in held])
    ridge = DEFAULT
    for fold in range(FOLDS):
        own = np.flatnonzero(folds == fold)
        if len(own):
            lessons = _lessons([row for row in rows if fold_of(row, FOLDS) != fold], labels, recipe)
            asked = [held[position] for position in own]
            read = np.stack([by_text[row.text] for row in asked])
            heads = {one: Head.fitted(lessons, by_text, one) for one in ((ridge,) if fold else RIDGES)}
            if not fold:  # the first part of the rows chooses for all
                said = {one: head.read(read)[0].astype(np.float64) for one, head in heads.items()}
                ridge = chosen_ridge(said, label_positions(asked, labels), weights_of(asked))
            logits[own], similarity[own] = heads[ridge].read(read)
        progress("fitting", 0.6 + 0.3 * (fold + 1) / FOLDS)
    lessons = _lessons(rows, labels, recipe)
    head = Head.fitted(lessons, by_text, ridge)
    data = head_model(head.weights, head.bias, head.centroids)
    spec = StudentSpec(
        kind=StudentKind.ENCODER_HEAD,
        model=MODEL_FILE,
        tokenizer=TOKENIZER_FILE,
        head=HEAD_FILE,
        model_float32=FLOAT32_FILE,
        labels=labels,
        max_tokens=compact_student.MAX_TOKENS,
        version=_version(exported.name.encode(), data),
    )
    files: dict[str, bytes | Path] = {name: exported / name for name in (MODEL_FILE, FLOAT32_FILE, TOKENIZER_FILE)}
    cut = np.array([encoder.cuts(row.text) for row in held], np.bool_)
    measures = LabelMeasures(labels, Reading(logits, similarity, cut))
    return Fitted(spec, {**files, HEAD_FILE: data}, held, measures, list(lessons.texts))


@dataclass(frozen=True, slots=True)
class Head:
    """A linear head: weights (dimensions, labels), bias (labels,), centroids (labels, dimensions)."""

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    centroids: NDArray[np.float32]

    @classmethod
    def fitted(cls, lessons: Lessons, vectors: dict[str, NDArray[np.float32]], weight: float = DEFAULT) -> Head:
        """Multinomial logistic regression on soft labels, by L-BFGS, with a ridge of this weight."""
        features = torch.from_numpy(np.stack([vectors[text] for text in lessons.texts]))
        targets = torch.from_numpy(lessons.targets)
        weights = torch.zeros(features.shape[1], targets.shape[1], requires_grad=True)
        bias = torch.zeros(targets.shape[1], requires_grad=True)
        solver = torch.optim.LBFGS([weights, bias], max_iter=80, history_size=10, line_search_fn="strong_wolfe")
        ridge = weight / (2 * len(features))

        def closure() -> torch.Tensor:
            solver.zero_grad()
            loss = functional.cross_entropy(features @ weights + bias, targets) + ridge * weights.square().sum()
            loss.backward()
            return loss

        solver.step(closure)
        centroids = functional.normalize(targets.T @ features, dim=-1)
        return cls(weights.detach().numpy(), bias.detach().numpy(), centroids.numpy())

    def read(self, vectors: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Logits (rows, labels) and similarity (rows,) of embeddings (rows, dimensions)."""
        return vectors @ self.weights + self.bias, (vectors @ self.centroids.T).max(axis=1)


def _fit_compact(rows: Sequence[Record], labels: tuple[str, ...], recipe: Recipe, progress: Progress) -> Fitted:
    held = calibrating([row for row in rows if fold_of(row, FOLDS) == 0])
    lessons = _lessons([row for row in rows if fold_of(row, FOLDS) != 0], labels, recipe)
    start = _from_pretrained if starts_from_base(recipe.task) else _from_vectors
    student, tokenizer = start(lessons, recipe, progress)
    progress("exporting", 0.0)
    spec = StudentSpec(StudentKind.COMPACT, MODEL_FILE, TOKENIZER_FILE, labels, student.max_tokens, version="new")
    texts = [row.text for row in held]
    files = export_compact(student, spec, tokenizer, texts[:500])
    float32 = FLOAT32_FILE if FLOAT32_FILE in files else ""
    spec = replace(spec, version=_version(*files.values()), model_float32=float32)
    progress("exporting", 0.5)
    return Fitted(
        spec, dict(files), held, LabelMeasures(labels, exported_reading(spec, files, texts)), list(lessons.texts)
    )


def _from_vectors(lessons: Lessons, recipe: Recipe, progress: Progress) -> tuple[CompactStudent, Any]:
    """A taught student that began with a pretrained encoder's word vectors, and its tokenizer."""
    encoder = load_encoder(recipe.encoder)
    torch.manual_seed(recipe.seed)
    vectors = compact_student.reduced_vectors(encoder.model.get_input_embeddings().weight)
    student = CompactStudent(vectors, len(lessons.labels))
    compact_student.train(
        student,
        compact_student.tokenized(encoder.tokenizer, lessons.texts),
        lessons.targets,
        compact_student.Schedule(seed=recipe.seed),
        encoder.tokenizer.unk_token_id,
        lambda share: progress("fitting", share),
    )
    return student, encoder.tokenizer


def _from_pretrained(lessons: Lessons, recipe: Recipe, progress: Progress) -> tuple[PretrainedStudent, Any]:
    """A taught student that began as the task's ``base``, and its tokenizer."""
    from cloud_worker.training import pretrained_student

    return pretrained_student.teach(lessons, recipe.task, recipe.seed, lambda share: progress("fitting", share))


def _version(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:16]
