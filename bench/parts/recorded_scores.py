"""Recorded scores: heads fitted on parts of CLINC150, and what each says of texts that it has not seen.

Of each text only what its score is made from is kept: the logit of the true label, in the first place, and the highest
of the others. So a student's answer is either the first label, which is right, or another, which is wrong.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

SIZES = (250, 500, 1000, 2000, 4000, 7500)  # rows that each head learned from
SEEDS = 3
OTHERS = 9  # labels kept beside the true one
TEXTS = 15_000  # that are generated


@dataclass(frozen=True, slots=True)
class Recorded:
    """What each head says of each text.

    Attributes:
        logits: (sizes, seeds, texts, 1 + OTHERS), the true label's first.
        similarity: (sizes, seeds, texts), in [-1, 1].
    """

    logits: Floats
    similarity: Floats


def data_folder() -> Path | None:
    """CLINC150, ``None`` where it is absent."""
    folder = Path(os.environ.get("HEADRACE_DATA", "../shared/data")) / "clinc150"
    return folder if folder.is_dir() else None


def record(folder: Path, kept: Path | None = None) -> Recorded:
    """Fit the heads and read the texts, about three minutes on one core, or take what was ``kept``."""
    if kept is not None and kept.is_file():
        with np.load(kept) as found:
            return Recorded(found["logits"], found["similarity"])
    made = _recorded(folder)
    if kept is not None:
        np.savez(kept, logits=made.logits, similarity=made.similarity)
    return made


def generated(texts: int = TEXTS) -> Recorded:
    """Heads that never were: the more rows one learned from, the more texts it answers right."""
    random = np.random.default_rng(0)
    shape = (len(SIZES), SEEDS, texts, 1 + OTHERS)
    logits = random.normal(size=shape)
    skill = 2.0 + 1.1 * np.log(np.array(SIZES) / SIZES[0])[:, None, None] - 2.0 * random.normal(size=texts)
    logits[..., 0] += skill
    similarity = np.tanh(0.2 * (skill + 2.0 * random.normal(size=shape[:-1])))
    return Recorded(logits.astype(np.float32), similarity.astype(np.float32))


def _recorded(folder: Path) -> Recorded:
    import torch  # seconds, which generated scores don't need

    from cloud_worker.language.encoder import load_encoder
    from cloud_worker.training.label_students import Head
    from router.core.learning.training_rows import Lessons

    torch.set_num_threads(1)
    encoder = load_encoder("minilm")
    texts, labels = _read(folder / "examples.jsonl")
    asked, truth = _read(folder / "stream.jsonl")
    names = np.unique(labels)
    vectors, queries = encoder.embed(texts), encoder.embed(asked)
    targets = np.eye(len(names), dtype=np.float32)[np.searchsorted(names, labels)]
    wanted = np.searchsorted(names, truth)
    logits = np.empty((len(SIZES), SEEDS, len(asked), 1 + OTHERS), np.float32)
    similarity = np.empty(logits.shape[:-1], np.float32)
    for row, size in enumerate(SIZES):
        for seed in range(SEEDS):
            chosen = np.random.default_rng(seed).permutation(len(texts))[:size]
            keys = tuple(str(position) for position in chosen)
            lessons = Lessons(tuple(names), keys, targets[chosen])
            said, near = Head.fitted(lessons, dict(zip(keys, vectors[chosen], strict=True))).read(queries)
            logits[row, seed], similarity[row, seed] = _first_the_true_one(np.asarray(said), wanted), near
            right = (logits[row, seed].argmax(axis=1) == 0).mean()
            print(f"{size} rows, seed {seed}: {right:.3f} right", flush=True)
    return Recorded(logits, similarity)


def _first_the_true_one(logits: NDArray[np.floating], wanted: NDArray[np.int_]) -> Floats:
    """The true label's logit and the highest of the others, (texts, 1 + OTHERS)."""
    rows = np.arange(len(logits))
    others = logits.copy()
    others[rows, wanted] = -np.inf
    highest = -np.partition(-others, OTHERS - 1, axis=1)[:, :OTHERS]
    return np.concatenate([logits[rows, wanted][:, None], highest], axis=1).astype(np.float32)


def _read(path: Path) -> tuple[list[str], list[str]]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [row["text"] for row in rows], [row["label"] for row in rows]
