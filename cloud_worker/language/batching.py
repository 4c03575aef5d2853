"""Examples -> token ids -> padded tensors.

Rules:
 * Prompt and target are tokenized apart, so that what the student sees before it writes is the same in training and
   in use.
 * An example that is longer than the window is kept out and counted, never cut: half a question teaches a wrong answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from cloud_worker.language.architectures import Form, LanguageModel
from cloud_worker.language.examples import Example, LabelExample, sample_of
from cloud_worker.language.topk_loss import ABSENT
from router.core.domain.query import Distribution
from router.core.errors import ModelError, TooLongError

IGNORED = -100
PART_TOKENS = 60  # of padding that a part of a step must save: what a part costs beside its tokens, on a processor


@dataclass(frozen=True, slots=True)
class Encoded:
    """One example as token ids.

    Attributes:
        prompt: Ids that the student reads.
        target: Ids that it should write, the end token included; empty for a label.
        weight: Its part in the loss.
        soft: A distribution over ids for each target token (for a label: one), or empty.
    """

    prompt: tuple[int, ...]
    target: tuple[int, ...]
    weight: float
    soft: tuple[Distribution, ...] = ()

    def tokens(self, form: Form) -> int:
        """How much of the window it takes."""
        return len(self.prompt) + len(self.target) if form is Form.CAUSAL else max(len(self.prompt), len(self.target))


@dataclass(frozen=True, slots=True)
class Encodings:
    """What can be learnt from.

    Attributes:
        groups: Examples that are drawn together.
        kept_out: Examples longer than the window, or with a label that the head does not have.
        hardened: Examples whose soft targets did not fit the tokenizer, so that their text alone counts.
        sample: The first that was kept out, and why.
    """

    groups: tuple[tuple[Encoded, ...], ...]
    kept_out: int = 0
    hardened: int = 0
    sample: str = ""


def encode_prompt(language: LanguageModel, prompt: str, reserved: int = 0) -> tuple[int, ...]:
    """Token ids of a prompt.

    Args:
        language: Whose tokenizer and window.
        prompt: The text.
        reserved: Tokens that must be left for the answer, for a model that writes on.

    Raises:
        TooLongError: Longer than the window.
    """
    ids = tuple(language.tokenizer(prompt)["input_ids"])
    left = language.window - (reserved if language.form is Form.CAUSAL else 0)
    if len(ids) > left:
        raise TooLongError(f"has {len(ids)} tokens; the model's window leaves {left}")
    return ids


def encode(language: LanguageModel, examples: Sequence[Example] | Sequence[LabelExample]) -> Encodings:
    """Turn examples into ids, in order, groups together.

    Raises:
        ModelError: Examples for a label head given to a student that writes, or the other way round.
    """
    given: list[Example | LabelExample] = list(examples)
    groups: dict[str, list[Encoded]] = {}
    problems: list[str] = []
    hardened = 0
    for position, (example, encoded) in enumerate(zip(given, _encoded(language, given), strict=True)):
        problem = _problem(language, encoded, example)
        if problem:
            problems.append(sample_of(example.prompt, problem))
            continue
        hardened += isinstance(example, Example) and bool(example.alternatives) and not encoded.soft
        own = example.group if isinstance(example, Example) else ""
        groups.setdefault(own or f"#{position}", []).append(encoded)
    return Encodings(
        tuple(tuple(group) for group in groups.values()), len(problems), hardened, problems[0] if problems else ""
    )


def _encoded(language: LanguageModel, examples: Sequence[Example | LabelExample]) -> list[Encoded]:
    if not examples:
        return []
    if any(isinstance(example, LabelExample) != (language.form is Form.LABELS) for example in examples):
        wants = "label distributions" if language.form is Form.LABELS else "texts to write"
        raise ModelError(f"a {language.form.value} student learns from {wants}; choose another recipe")
    prompts = language.tokenizer([example.prompt for example in examples])["input_ids"]
    texts = [example.target if isinstance(example, Example) else "" for example in examples]
    targets = language.tokenizer(texts, add_special_tokens=False)["input_ids"]
    return [_encode_one(language, *parts) for parts in zip(examples, prompts, targets, strict=True)]


def _encode_one(
    language: LanguageModel, example: Example | LabelExample, prompt: list[int], target: list[int]
) -> Encoded:
    if isinstance(example, LabelExample):
        rows = {label: row for row, label in enumerate(language.labels)}
        label = _in_ids(example.distribution, rows)
        return Encoded(tuple(prompt), (), example.weight, (label,) if label is not None else ())
    soft = _soft_tokens(language.tokenizer, example, len(target))
    return Encoded(tuple(prompt), (*target, language.tokenizer.eos_token_id), example.weight, soft)


def _soft_tokens(tokenizer: Any, example: Example, tokens: int) -> tuple[Distribution, ...]:
    if not example.alternatives or len(example.alternatives) not in (tokens, tokens + 1):
        return ()
    rows = {token: tokenizer.convert_tokens_to_ids(token) for step in example.alternatives for token, _ in step.top}
    known = {token: row for token, row in rows.items() if row is not None and row != tokenizer.unk_token_id}
    soft = [_in_ids(step, known) for step in example.alternatives]
    if any(step is None for step in soft):
        return ()
    if len(soft) == tokens:
        soft.append(Distribution(((str(tokenizer.eos_token_id), 0.0),)))
    return tuple(step for step in soft if step is not None)


def _in_ids(distribution: Distribution, rows: dict[str, int]) -> Distribution | None:
    """The same distribution over ids, or ``None`` when one of its names has none."""
    if not distribution.top or any(name not in rows for name, _ in distribution.top):
        return None
    return Distribution(tuple((str(rows[name]), value) for name, value in distribution.top), distribution.tail)


def _problem(language: LanguageModel, encoded: Encoded, example: Example | LabelExample) -> str:
    size = encoded.tokens(language.form)
    if size > language.window:
        return f"has {size} tokens, over the model's window of {language.window}"
    if isinstance(example, LabelExample) and not encoded.soft:
        return "has a label that the student's head does not have"
    return ""


@dataclass(frozen=True, slots=True)
class Batch:
    """Padded tensors of one step.

    Attributes:
        inputs: What the model is called with.
        targets: Ids to predict, (rows, positions), ``IGNORED`` where nothing is.
        weights: Of the rows, (rows,).
        top: Ids of the soft targets, (rows, positions, k), ``ABSENT`` where none.
        log_probabilities: Theirs, (rows, positions, k).
        tails: Their tails, (rows, positions).
    """

    inputs: dict[str, torch.Tensor]
    targets: torch.Tensor
    weights: torch.Tensor
    top: torch.Tensor
    log_probabilities: torch.Tensor
    tails: torch.Tensor


def by_length(rows: Sequence[Encoded], form: Form) -> list[list[Encoded]]:
    """Rows of one step in parts, short and long ones apart, as long as a part saves ``PART_TOKENS`` of padding.

    A few long rows would else make every short one as long.
    """
    ordered = sorted(rows, key=lambda row: row.tokens(form))
    sizes = [row.tokens(form) for row in ordered]
    saved = [position * (sizes[-1] - sizes[position - 1]) for position in range(1, len(rows))]
    best = max(range(len(saved)), key=saved.__getitem__, default=0)
    if not saved or saved[best] <= PART_TOKENS:
        return [ordered]
    return [*by_length(ordered[: best + 1], form), *by_length(ordered[best + 1 :], form)]


def collate(language: LanguageModel, rows: Sequence[Encoded]) -> Batch:
    """Pad rows to one length. Targets stand at the position whose logits predict them."""
    pad = language.tokenizer.pad_token_id or 0
    if language.form is Form.CAUSAL:
        read = [[*row.prompt, *row.target[:-1]] for row in rows]
        wanted = [[IGNORED] * (len(row.prompt) - 1) + list(row.target) for row in rows]
    else:
        read = [list(row.prompt) for row in rows]
        wanted = [list(row.target) or [0] for row in rows]
    inputs = {"input_ids": _padded(read, pad), "attention_mask": _padded([[1] * len(row) for row in read], 0)}
    targets = _padded(wanted, IGNORED)
    if language.form is Form.SEQ2SEQ:
        inputs["labels"] = targets
    weights = torch.tensor([row.weight for row in rows])
    starts = [len(row.prompt) - 1 if language.form is Form.CAUSAL else 0 for row in rows]
    return Batch(inputs, targets, weights, *_soft_tensors(rows, starts, targets.shape[1]))


def _soft_tensors(
    rows: Sequence[Encoded], starts: Sequence[int], positions: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    most = max((len(step.top) for row in rows for step in row.soft), default=0)
    top = torch.full((len(rows), positions, most), ABSENT)
    values = torch.zeros((len(rows), positions, most))
    tails = torch.full((len(rows), positions), -torch.inf)
    for row, (encoded, start) in enumerate(zip(rows, starts, strict=True)):
        for position, step in enumerate(encoded.soft, start):
            size = len(step.top)
            top[row, position, :size] = torch.tensor([int(name) for name, _ in step.top])
            values[row, position, :size] = torch.tensor([value for _, value in step.top])
            tails[row, position] = -torch.inf if step.tail is None else step.tail
    return top, values, tails


def _padded(rows: Sequence[Sequence[int]], fill: int) -> torch.Tensor:
    longest = max(len(row) for row in rows)
    return torch.tensor([[*row, *[fill] * (longest - len(row))] for row in rows])
