"""The one trainer: examples -> a fine-tuned student.

Rules:
 * The loss of a step is the mean over its groups; within one, weighted; within an example, the mean over its tokens.
 * The same examples, schedule and weights give the same student on the same machine; the global random state is left
   as it was.
 * With a rank, only low-rank adapters are trained (LoRA, Hu et al. 2021), and merged before the student is given back:
   a student is one set of weights.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from cloud_worker.language.architectures import Form, LanguageModel
from cloud_worker.language.batching import IGNORED, Batch, Encoded, by_length, collate, encode
from cloud_worker.language.examples import Example, LabelExample
from cloud_worker.language.topk_loss import ABSENT, topk_loss
from router.core.errors import BadInputError, ModelError

Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how hard to train.

    Attributes:
        steps: Updates of the weights.
        batch: Groups in a step.
        rate: Peak learning rate; it rises over the first tenth and falls to zero.
        decay: Weight decay.
        clip: Largest norm of the gradient.
        temperature: Of soft targets, on both sides, above 0.
        rank: Of LoRA adapters; 0 trains all weights.
        seed: Of order and dropout.
    """

    steps: int = 400
    batch: int = 32
    rate: float = 1e-3
    decay: float = 0.01
    clip: float = 1.0
    temperature: float = 1.0
    rank: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("steps", "batch", "rate", "temperature"):
            if getattr(self, name) <= 0:
                raise BadInputError(f"schedule.{name}", f"is {getattr(self, name)}; use a number above 0")
        if self.rank < 0:
            raise BadInputError("schedule.rank", f"is {self.rank}; use 0 for all weights, or the rank of the adapters")


@dataclass(frozen=True, slots=True)
class Fit:
    """What a training run was.

    Attributes:
        steps: Updates made.
        groups: Queries learnt from.
        trained: Weights that were trained.
        first_loss: Mean over the first tenth of the steps.
        last_loss: Mean over the last tenth.
        kept_out: Examples that did not fit the student.
        hardened: Examples whose soft targets did not fit its tokenizer.
        sample: The first example kept out, and why.
    """

    steps: int
    groups: int
    trained: int
    first_loss: float
    last_loss: float
    kept_out: int = 0
    hardened: int = 0
    sample: str = ""


def fit(
    language: LanguageModel,
    examples: Sequence[Example] | Sequence[LabelExample],
    schedule: Schedule,
    progress: Progress | None = None,
) -> Fit:
    """Train a student in place.

    Args:
        language: The student.
        examples: What a recipe gave.
        schedule: How long and how hard.
        progress: Told the share of steps done, in (0, 1].

    Raises:
        ModelError: No example fits the student, or the loss is no number.
    """
    encodings = encode(language, examples)
    if not encodings.groups:
        raise ModelError(
            f"no lesson fits the student ({encodings.kept_out} kept out); {encodings.sample or 'none given'}"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(schedule.seed)
        model, finish = _trainable(language, schedule.rank)
        trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
        losses = _run(model, language, encodings.groups, schedule, progress)
        finish()
    language.model.eval()
    edge = max(1, schedule.steps // 10)
    return Fit(
        schedule.steps,
        len(encodings.groups),
        trained,
        float(np.mean(losses[:edge])),
        float(np.mean(losses[-edge:])),
        encodings.kept_out,
        encodings.hardened,
        encodings.sample,
    )


def _trainable(language: LanguageModel, rank: int) -> tuple[Any, Callable[[], object]]:
    if not rank:
        return language.model, lambda: None
    kind = {Form.CAUSAL: "CAUSAL_LM", Form.SEQ2SEQ: "SEQ_2_SEQ_LM", Form.LABELS: "SEQ_CLS"}[language.form]
    import peft  # two seconds, for adapters alone

    config = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type=kind)
    adapted = peft.get_peft_model(language.model, config)

    def merge() -> None:
        adapted.merge_and_unload()
        language.model.requires_grad_(True)

    return adapted, merge


def _run(
    model: Any,
    language: LanguageModel,
    groups: Sequence[Sequence[Encoded]],
    schedule: Schedule,
    progress: Progress | None,
) -> list[float]:
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=schedule.rate, weight_decay=schedule.decay, fused=True)
    pace = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _pace(step, schedule.steps))
    losses: list[float] = []
    model.train()
    for drawn in _draws(len(groups), schedule):
        rows = [row for position in drawn for row in groups[position]]
        optimiser.zero_grad(set_to_none=True)
        loss = 0.0
        for part in by_length(rows, language.form):
            batch = collate(language, part)
            each = _example_losses(model, batch, language.form, schedule.temperature) * batch.weights
            share = each.sum() / len(drawn)
            share.backward()
            loss += share.item()
        if not math.isfinite(loss):
            raise ModelError(f"the loss is {loss} at step {len(losses) + 1}; lower the learning rate")
        torch.nn.utils.clip_grad_norm_(weights, schedule.clip)
        optimiser.step()
        _step_quietly(pace)
        losses.append(loss)
        if progress is not None:
            progress(len(losses) / schedule.steps)
    return losses


def _example_losses(model: Any, batch: Batch, form: Form, temperature: float) -> torch.Tensor:
    """One loss an example: (rows,)."""
    inputs = dict(batch.inputs)
    if form is Form.SEQ2SEQ:
        inputs["decoder_input_ids"] = model.prepare_decoder_input_ids_from_labels(labels=inputs.pop("labels"))
    logits = model(**inputs).logits  # (rows, positions, vocabulary), or (rows, labels)
    if form is Form.LABELS:
        logits = logits.unsqueeze(1)
    soft = (batch.top != ABSENT).any(-1) & (batch.targets != IGNORED)  # (rows, positions)
    hard = (batch.targets != IGNORED) & ~soft
    losses = torch.zeros(batch.targets.shape)
    losses[hard] = functional.cross_entropy(logits[hard], batch.targets[hard], reduction="none")
    if soft.any():
        top, values, tails = batch.top[soft], batch.log_probabilities[soft], batch.tails[soft]
        losses[soft] = topk_loss(logits[soft], top, values, tails, temperature)
    return losses.sum(1) / (soft | hard).sum(1).clamp(min=1)


def _draws(groups: int, schedule: Schedule) -> Iterator[list[int]]:
    """Positions of the groups of each step: every group once before any comes again."""
    generator = np.random.default_rng(schedule.seed)
    waiting: list[int] = []
    for _ in range(schedule.steps):
        while len(waiting) < schedule.batch:
            waiting += generator.permutation(groups).tolist()
            if groups < schedule.batch and len(waiting) >= groups:
                break
        yield waiting[: schedule.batch]
        waiting = waiting[schedule.batch :]


def _pace(step: int, steps: int) -> float:
    rise = max(1, steps // 10)
    return min((step + 1) / rise, (steps - step) / max(1, steps - rise))


def _step_quietly(pace: torch.optim.lr_scheduler.LambdaLR) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        pace.step()
