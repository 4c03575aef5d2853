"""Recorded scores: heads fitted on parts of CLINC150, and what each says of texts that it has not seen."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cloud_worker.encoder import load_encoder
from cloud_worker.refresh.distil import FOLDS, Head
from router.calibration import fit_calibration
from router.confidence import scores
from router.lessons import Lessons

Array = NDArray[np.float64]

SIZES = (250, 500, 1000, 2000, 4000, 7500)  # rows that each head learned from
SEEDS = 3


@dataclass(frozen=True)
class Recorded:
    """Of each head (sizes, seeds): its score of each text, (texts,) in [0, 1], and whether its answer is right."""

    score: NDArray[np.float64]
    right: NDArray[np.bool_]


def data_folder() -> Path | None:
    """CLINC150, ``None`` where it is absent."""
    folder = Path(os.environ.get("HEADRACE_DATA", "../shared/data")) / "clinc150"
    return folder if folder.is_dir() else None


def record(folder: Path, kept: Path | None = None) -> Recorded:
    """Fit the heads and read the texts, about three minutes on one core, or take what was ``kept``."""
    if kept is not None and kept.is_file():
        with np.load(kept) as found:
            return Recorded(found["score"], found["right"])
    made = _recorded(folder)
    if kept is not None:
        np.savez(kept, score=made.score, right=made.right)
    return made


def _recorded(folder: Path) -> Recorded:
    torch.set_num_threads(1)
    encoder = load_encoder("minilm")
    texts, labels = _read(folder / "examples.jsonl")
    asked, truth = _read(folder / "stream.jsonl")
    names = np.unique(labels)
    vectors, queries = encoder.embed(texts), encoder.embed(asked)
    answers, wanted = np.searchsorted(names, labels), np.array([np.searchsorted(names, label) for label in truth])
    score = np.empty((len(SIZES), SEEDS, len(asked)))
    right = np.empty(score.shape, dtype=np.bool_)
    for row, size in enumerate(SIZES):
        for seed in range(SEEDS):
            chosen = np.random.default_rng(seed).permutation(len(texts))[:size]
            found = _judge(vectors[chosen], answers[chosen], queries, tuple(names))
            score[row, seed], right[row, seed] = found[0], found[1] == wanted
            print(f"{size} rows, seed {seed}: {right[row, seed].mean():.3f} right", flush=True)
    return Recorded(score, right)


def _judge(
    vectors: NDArray[np.float32], answers: NDArray[np.int_], queries: NDArray[np.float32], names: tuple[str, ...]
) -> tuple[Array, NDArray[np.int_]]:
    logits, similarity = np.zeros((len(vectors), len(names))), np.zeros(len(vectors))
    fold = np.arange(len(vectors)) % FOLDS
    for number in range(FOLDS):
        held = fold == number
        logits[held], similarity[held] = _fitted(vectors[~held], answers[~held], names).read(vectors[held])
    agrees = logits.argmax(axis=1) == answers
    calibration = fit_calibration(logits, similarity, agrees, np.ones(len(vectors)))
    read, near = _fitted(vectors, answers, names).read(queries)
    return scores(calibration, np.asarray(read, np.float64), np.asarray(near, np.float64)), read.argmax(axis=1)


def _fitted(vectors: NDArray[np.float32], answers: NDArray[np.int_], names: tuple[str, ...]) -> Head:
    texts = tuple(str(row) for row in range(len(vectors)))
    lessons = Lessons(names, texts, np.eye(len(names), dtype=np.float32)[answers])
    return Head.fitted(lessons, dict(zip(texts, vectors, strict=True)))


def _read(path: Path) -> tuple[list[str], list[str]]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [row["text"] for row in rows], [row["label"] for row in rows]
