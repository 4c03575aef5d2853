"""A label student that starts from a pretrained model, whole or truncated, instead of word vectors alone.

Turc, Chang, Lee and Toutanova 2019, "Well-Read Students Learn Better": a compact student that has read before it is
distilled learns more from the same labels. Here its first layers are kept, and a head over the labels is new.

Rules:
 * What a device runs has the compact student's format: logits, and the similarity to the nearest centroid.
 * A text is cut in training where a device cuts it.
 * The same lessons and seed give the same student on the same machine.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from cloud_worker.language.architectures import LanguageModel, load_model
from cloud_worker.language.encoder import location_of
from cloud_worker.language.recipes.soft_labels import label_examples
from cloud_worker.language.trainer import Schedule, fit
from cloud_worker.training import compact_student
from router.core.domain.plain_text import plain_for
from router.core.domain.task import Task
from router.core.learning.training_rows import Lessons

log = logging.getLogger(__name__)

_BATCH = 64


class PretrainedStudent(nn.Module):
    """Token ids -> logits and the highest cosine similarity to a label's centroid."""

    centroids: torch.Tensor

    def __init__(self, language: LanguageModel) -> None:
        """Run ``language``, which has a label head; at most ``max_tokens`` tokens of a text are read."""
        super().__init__()
        self.model = language.model
        self.max_tokens = min(language.window, compact_student.MAX_TOKENS)
        self.register_buffer("centroids", torch.zeros(len(language.labels), language.model.config.hidden_size))

    def read(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(rows, tokens) ids and mask -> logits (rows, labels), means over the tokens (rows, width) of length one."""
        given = self.model(input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True)
        mask = attention_mask.unsqueeze(-1).to(torch.float32)
        states = given.hidden_states[-1] * mask
        return given.logits, functional.normalize(states.sum(1) / mask.sum(1).clamp(min=1.0), dim=-1)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(rows, tokens) -> logits (rows, labels), similarity (rows,)."""
        logits, pooled = self.read(input_ids, attention_mask)
        return logits, (pooled @ self.centroids.T).max(dim=-1).values


def teach(lessons: Lessons, task: Task, seed: int, progress: Callable[[float], None]) -> tuple[PretrainedStudent, Any]:
    """A student of the task's ``base``, taught, and its tokenizer.

    Args:
        lessons: Texts, and what the recipe makes of the teacher's probabilities.
        task: Names the base, the layers to keep, and the training.
        seed: Of the head, the order and the dropout.
        progress: Told the share done, in (0, 1].

    Raises:
        ModelError: The base can't be loaded, or has fewer layers.
    """
    torch.manual_seed(seed)
    language = load_model(location_of(task.base), lessons.labels, task.options.get("layers", 0))
    student = PretrainedStudent(language)
    texts = cut(language.tokenizer, lessons.texts, student.max_tokens)
    schedule = Schedule(**{"seed": seed, **task.options.get("training", {})})
    taught = fit(language, label_examples(texts, lessons.labels, lessons.targets), schedule, progress)
    if taught.kept_out:
        log.warning("task %s: %d lessons don't fit the student; one: %s", task.name, taught.kept_out, taught.sample)
    _set_centroids(student, compact_student.tokenized(language.tokenizer, texts), torch.from_numpy(lessons.targets))
    return student, language.tokenizer


def cut(tokenizer: Any, texts: Sequence[str], most: int) -> list[str]:
    """The texts, without tokens of control, as far as ``most`` tokens go."""
    plain = plain_for(tokenizer)
    texts = [plain(text) for text in texts]
    read = tokenizer(texts, truncation=True, max_length=most, return_offsets_mapping=True)["offset_mapping"]
    return [text[: max(end for _, end in positions)] for text, positions in zip(texts, read, strict=True)]


@torch.inference_mode()
def _set_centroids(student: PretrainedStudent, tokens: Sequence[Any], soft: torch.Tensor) -> None:
    student.eval()
    starts = range(0, len(tokens), _BATCH)
    pooled = torch.cat([student.read(*compact_student.padded(tokens[start : start + _BATCH]))[1] for start in starts])
    student.centroids.copy_(functional.normalize(soft.T @ pooled, dim=-1))
