"""The compact student: a small transformer, distilled end to end from a teacher's soft labels.

Hinton et al. 2015 (soft labels), started from a reduced copy of a pretrained encoder's word vectors (a truncated start,
Turc et al. 2019, "Well-Read Students Learn Better").

Rules:
 * Two layers, 128 wide; with a vocabulary of 30,522 that makes 4.4 million parameters.
 * The same lessons and seed give the same student on the same machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from router.core.domain.plain_text import plain_for

WIDTH = 128
LAYERS = 2
HEADS = 2
MAX_TOKENS = 64

Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how hard to train.

    Attributes:
        epochs: Passes over the lessons.
        least_steps: Steps at least, however few lessons there are.
        batch: Lessons in a step.
        rate: Peak learning rate.
        vector_rate: Peak learning rate of the word vectors.
        word_dropout: Share of words hidden in each step, in [0, 1).
        seed: Of weights, order and dropout.
    """

    epochs: int = 14
    least_steps: int = 250
    batch: int = 64
    rate: float = 3e-3
    vector_rate: float = 1e-3
    word_dropout: float = 0.1
    seed: int = 0


class CompactStudent(nn.Module):
    """Token ids -> logits and the highest cosine similarity to a label's centroid."""

    centroids: torch.Tensor
    max_tokens = MAX_TOKENS

    def __init__(self, vectors: torch.Tensor, labels: int) -> None:
        """Start from word vectors (words, WIDTH) for ``labels`` labels."""
        super().__init__()
        self.words = nn.Embedding.from_pretrained(vectors.clone(), freeze=False)
        self.positions = nn.Parameter(torch.zeros(MAX_TOKENS, WIDTH))
        self.norm = nn.LayerNorm(WIDTH)
        self.layers = nn.ModuleList(_Layer() for _ in range(LAYERS))
        self.head = nn.Linear(WIDTH, labels)
        self.register_buffer("centroids", torch.zeros(labels, WIDTH))

    def embed(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """(rows, tokens) ids and mask -> (rows, WIDTH) means over the tokens."""
        mask = attention_mask.to(torch.float32).unsqueeze(-1)
        states = self.norm(self.words(input_ids) + self.positions[: input_ids.shape[1]])
        for layer in self.layers:
            states = layer(states, attention_mask)
        return (states * mask).sum(1) / mask.sum(1).clamp(min=1.0)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(rows, tokens) -> logits (rows, labels), similarity (rows,)."""
        pooled = self.embed(input_ids, attention_mask)
        nearest = functional.normalize(pooled, dim=-1) @ self.centroids.T
        return self.head(pooled), nearest.max(dim=-1).values


class _Layer(nn.Module):
    """One transformer layer, normalised first."""

    def __init__(self) -> None:
        super().__init__()
        self.before_attention = nn.LayerNorm(WIDTH)
        self.before_network = nn.LayerNorm(WIDTH)
        self.mix = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.network = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))
        self.dropout = nn.Dropout(0.1)

    def forward(self, states: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        rows, tokens, _ = states.shape
        mixed = self.mix(self.before_attention(states)).view(rows, tokens, 3, HEADS, WIDTH // HEADS)
        query, key, value = mixed.permute(2, 0, 3, 1, 4).unbind(0)  # each (rows, heads, tokens, width of a head)
        weights = query @ key.transpose(-1, -2) / (WIDTH // HEADS) ** 0.5
        hidden = (1.0 - attention_mask.to(torch.float32))[:, None, None, :] * -1e4
        attended = (functional.softmax(weights + hidden, dim=-1) @ value).transpose(1, 2).reshape(rows, tokens, WIDTH)
        states = states + self.dropout(self.out(attended))
        return states + self.dropout(self.network(self.before_network(states)))


class OneText(nn.Module):
    """A compact student as devices run it: one text at a time, so nothing is padded and nothing is masked.

    It says what the student says, to a float's precision, by half of the nodes: of a run of 80 microseconds most goes
    into nodes, not into numbers.
    """

    def __init__(self, student: CompactStudent) -> None:
        """Run ``student``, which stays as it is."""
        super().__init__()
        self.student = student

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(1, tokens) ids, and a mask of ones -> logits (1, labels), similarity (1,)."""
        student = self.student
        states = student.norm(student.words(input_ids[0]) + student.positions[: attention_mask.shape[1]])
        for layer in student.layers:
            states = _of_one_text(cast("_Layer", layer), states)
        pooled = states.mean(0, keepdim=True)
        nearest = (pooled / pooled.norm(dim=-1, keepdim=True).clamp(min=1e-12)) @ student.centroids.T
        return student.head(pooled), nearest.max(dim=-1).values


def _of_one_text(layer: _Layer, states: torch.Tensor) -> torch.Tensor:
    """(tokens, WIDTH) -> the same after ``layer``."""
    width = WIDTH // HEADS
    mixed = layer.mix(layer.before_attention(states)).view(-1, 3 * HEADS, width).transpose(0, 1)
    query, key, value = mixed.chunk(3)  # each (heads, tokens, width of a head)
    attended = functional.softmax(query @ key.transpose(-1, -2) / width**0.5, dim=-1) @ value
    states = states + layer.out(attended.transpose(0, 1).reshape(-1, WIDTH))
    widen, _, narrow, *_ = layer.network
    wide = widen(layer.before_network(states))
    return states + narrow(wide * (1.0 + torch.erf(wide / 2**0.5)) * 0.5)  # spelt so, the runtime sees one node


def reduced_vectors(vectors: torch.Tensor) -> torch.Tensor:
    """Pretrained word vectors (words, dimensions) reduced to (words, WIDTH) by their principal components.

    Narrower ones are filled up with zeros.
    """
    centred = vectors.detach().float() - vectors.detach().float().mean(0)
    _, _, axes = torch.linalg.svd(centred.T @ centred)
    reduced = centred @ axes[:WIDTH].T
    return functional.pad(reduced / reduced.std(), (0, WIDTH - reduced.shape[1]))


def train(
    student: CompactStudent,
    tokens: Sequence[NDArray[np.int64]],
    targets: NDArray[np.float32],
    schedule: Schedule,
    unknown: int,
    progress: Progress = lambda share: None,
) -> None:
    """Fit ``student`` in place, then set its centroids.

    Args:
        student: Fresh.
        tokens: One array of token ids a lesson.
        targets: (lessons, labels) the teacher's probabilities.
        schedule: How long and how hard.
        unknown: Token id that hides a word.
        progress: Told the share done, in [0, 1].
    """
    vectors = student.words
    known, rows = _narrowed(tokens, unknown)
    student.words = nn.Embedding.from_pretrained(vectors.weight[known].detach().clone(), freeze=False)
    hidden = int(np.searchsorted(known, unknown))
    _fit(student, rows, targets, schedule, hidden, progress)
    with torch.no_grad():
        vectors.weight[known] = student.words.weight
    student.words = vectors
    _set_centroids(student, tokens, torch.from_numpy(targets))
    progress(1.0)


def _narrowed(tokens: Sequence[NDArray[np.int64]], unknown: int) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """The words that occur, and each lesson as positions among them.

    Only those words' vectors can change, and a step over the whole vocabulary costs twenty times as much.
    """
    known = np.unique(np.concatenate([*tokens, np.array([unknown])]))
    return known, [np.searchsorted(known, row) for row in tokens]


def _fit(
    student: CompactStudent,
    tokens: Sequence[NDArray[np.int64]],
    targets: NDArray[np.float32],
    schedule: Schedule,
    unknown: int,
    progress: Progress,
) -> None:
    generator = torch.Generator().manual_seed(schedule.seed)
    torch.manual_seed(schedule.seed)
    soft = torch.from_numpy(targets)
    batches = max(1, -(-len(tokens) // schedule.batch))
    steps = max(schedule.least_steps, schedule.epochs * batches)
    vectors = [student.words.weight]
    others = [weight for name, weight in student.named_parameters() if not name.startswith("words.")]
    optimizer = torch.optim.AdamW(
        [{"params": others, "lr": schedule.rate}, {"params": vectors, "lr": schedule.vector_rate}], weight_decay=0.01
    )
    rates = [schedule.rate, schedule.vector_rate]
    planned = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rates, total_steps=steps, pct_start=0.1)
    student.train()
    order = torch.empty(0, dtype=torch.long)
    for step in range(steps):
        if len(order) < schedule.batch:
            order = torch.cat([order, torch.randperm(len(tokens), generator=generator)])
        chosen, order = order[: schedule.batch], order[schedule.batch :]
        input_ids, mask = padded([tokens[i] for i in chosen.tolist()])
        hide = (torch.rand(input_ids.shape, generator=generator) < schedule.word_dropout) & (mask > 0)
        logits = student.head(student.embed(input_ids.masked_fill(hide, unknown), mask))
        loss = functional.cross_entropy(logits, soft[chosen])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        planned.step()
        if step % 25 == 0:
            progress(step / steps)


@torch.inference_mode()
def _set_centroids(student: CompactStudent, tokens: Sequence[NDArray[np.int64]], soft: torch.Tensor) -> None:
    student.eval()
    pieces = [student.embed(*padded(tokens[start : start + 256])) for start in range(0, len(tokens), 256)]
    pooled = functional.normalize(torch.cat(pieces), dim=-1)
    student.centroids.copy_(functional.normalize(soft.T @ pooled, dim=-1))


def padded(rows: Sequence[NDArray[np.int64]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask, each (rows, longest)."""
    longest = max(len(row) for row in rows)
    input_ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    for position, row in enumerate(rows):
        input_ids[position, : len(row)] = torch.from_numpy(row)
        mask[position, : len(row)] = 1
    return input_ids, mask


def tokenized(tokenizer: Any, texts: Sequence[str]) -> list[NDArray[np.int64]]:
    """Token ids of each text, at most ``MAX_TOKENS``."""
    if not texts:
        return []
    plain = plain_for(tokenizer)
    ids = tokenizer([plain(text) for text in texts], truncation=True, max_length=MAX_TOKENS)["input_ids"]
    return [np.array(row, np.int64) for row in ids]
